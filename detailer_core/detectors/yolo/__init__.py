"""YOLO detectors read from files without executing them; import the submodules, this file loads nothing."""
