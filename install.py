"""Run by the host when it starts: installs only what is missing, and never another version of what the host has."""

from __future__ import annotations

import importlib.util

import launch

# import name -> package; every supported host brings these, so as a rule nothing happens here.
NEEDED = {"cv2": "opencv-python", "kornia": "kornia", "safetensors": "safetensors", "tqdm": "tqdm", "yaml": "PyYAML"}

for module, package in NEEDED.items():
    if importlib.util.find_spec(module) is None:
        # --no-deps: what the package would pull in could change a version that the host has pinned.
        launch.run_pip(f"install --no-deps {package}", f"{package} for Detailer")
