"""Plays `modules.shared`: what everything in the host shares."""

import os
import sys
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import torch
from modules import sd_models as _sd_models
from modules._standin import _world
from modules.options import OptionHTML, OptionInfo, options_section
from modules.options import Options as _Options
from modules.paths import data_path, extensions_dir, models_path, script_path
from modules.shared_state import State as _State
from modules.shared_total_tqdm import TotalTQDM as _TotalTQDM
from modules.util import listfiles, natural_sort_key, walk_files
from PIL import Image

__all__ = ["OptionHTML", "OptionInfo", "data_path", "extensions_dir", "listfiles", "models_path", "natural_sort_key", "options_section",
           "script_path", "walk_files"]


class _Shared(ModuleType):
    """The module's own class, so that `shared.sd_model` is always the loaded one."""

    @property
    def sd_model(self):
        """The loaded checkpoint; on A1111 reading it loads one if there is none."""
        return _sd_models.model_data.get_sd_model()

    @sd_model.setter
    def sd_model(self, value):
        if not _world.host.new_backend:
            _sd_models.model_data.set_sd_model(value)


class _Styles:
    """No styles are there: prompts stay as they are."""

    styles: ClassVar[dict] = {}

    def apply_styles_to_prompt(self, prompt, styles):
        """The prompt."""
        return prompt

    def apply_negative_styles_to_prompt(self, prompt, styles):
        """The prompt."""
        return prompt

    def extract_styles_from_prompt(self, prompt, negative_prompt):
        """No styles, and the prompts."""
        return [], prompt, negative_prompt


class _Upscaler:
    """Enlarges with a filter of PIL."""

    def __init__(self, name, filter_kind):
        """Keeps what it is given."""
        self.name, self.data_path, self.scaler, self._filter = name, None, self, filter_kind

    def upscale(self, img, scale, selected_model=None):
        """The picture, `scale` times as large."""
        return img.resize((int(img.width * scale), int(img.height * scale)), self._filter)


_folder = os.path.join(models_path, "Stable-diffusion")
cmd_opts = SimpleNamespace(
    ckpt=os.path.join(_folder, "fake.safetensors"), ckpt_dir=_folder, data_dir=data_path,
    embeddings_dir=os.path.join(data_path, "embeddings"),
    models_dir=models_path, no_prompt_history=False, api=True, api_auth=None, nowebui=False, listen=False, share=False, ui_debug_mode=False,
    enable_insecure_extension_access=False, freeze_settings=False,
)
if not _world.host.neo:
    vars(cmd_opts).update(use_cpu=[], disable_safe_unpickle=False, no_half=False, no_half_vae=False)
if not _world.host.forge:
    vars(cmd_opts).update(lowvram=False, medvram=False, medvram_sdxl=False, xformers=False)

parallel_processing_allowed = True
demo = None
device = torch.device("cpu")
face_restorers = []
restricted_opts = {"samples_filename_pattern", "outdir_samples", "outdir_txt2img_samples", "outdir_img2img_samples", "outdir_grids"}
options_templates = {key: OptionInfo(value, key) for key, value in _world.option_defaults().items()}
opts = _Options(options_templates, restricted_opts)
opts.data["sd_model_checkpoint"] = _sd_models.checkpoint_tiles()[0]
settings_components = None
tab_names = []
latent_upscale_default_mode = "None" if _world.host.neo else "Latent"
latent_upscale_modes = {} if _world.host.neo else {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (bicubic antialiased)": {"mode": "bicubic", "antialias": True},
    "Latent (nearest)": {"mode": "nearest", "antialias": False},
    "Latent (nearest-exact)": {"mode": "nearest-exact", "antialias": False},
}
sd_upscalers = [_Upscaler("None", Image.NEAREST), _Upscaler("Lanczos", Image.LANCZOS), _Upscaler("Nearest", Image.NEAREST)]
hide_dirs = {"visible": True}
prompt_styles = _Styles()
state = _State()
total_tqdm = _TotalTQDM()

sys.modules[__name__].__class__ = _Shared
