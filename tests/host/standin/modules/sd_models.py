"""Plays `modules.sd_models`: two fake checkpoints, one of them loaded."""

import os

from modules import paths
from modules._standin import _world

model_dir = "Stable-diffusion"
checkpoints_list = {}
checkpoint_aliases = {}
model_path = os.path.join(paths.models_path, model_dir)


class CheckpointInfo:
    """A checkpoint's names."""

    def __init__(self, filename):
        """Keeps what it is given."""
        self.filename = filename
        self.name = os.path.basename(filename)
        self.name_for_extra = self.model_name = os.path.splitext(self.name)[0]
        self.hash = self.shorthash = f"{sum(map(ord, self.name)):010x}"
        self.sha256 = self.shorthash * 6
        self.metadata = {}
        self.is_safetensors = True
        self.title = f"{self.name} [{self.shorthash}]"
        self.short_title = f"{self.name_for_extra} [{self.shorthash}]"
        self.ids = [self.hash, self.name, self.name_for_extra, self.title, self.short_title]

    def register(self):
        """Makes the checkpoint findable by each of its names."""
        checkpoints_list[self.title] = self
        checkpoint_aliases.update(dict.fromkeys(self.ids, self))


def list_models():
    """Fills the list of checkpoints."""
    checkpoints_list.clear()
    checkpoint_aliases.clear()
    for name in _world.checkpoint_names:
        CheckpointInfo(os.path.join(model_path, name)).register()


def checkpoint_tiles(use_short=False):
    """The titles of the checkpoints."""
    return [info.short_title if use_short else info.title for info in checkpoints_list.values()]


def get_closet_checkpoint_match(search_string):
    """The checkpoint with that name, or whose title has it in, or None."""
    if not search_string:
        return None
    found = checkpoint_aliases.get(search_string)
    return found or next((info for info in checkpoints_list.values() if search_string in info.title), None)


def select_checkpoint():
    """The checkpoint that the options ask for; the first if there is no such."""
    from modules import shared

    return checkpoint_aliases.get(shared.opts.sd_model_checkpoint) or next(iter(checkpoints_list.values()))


def apply_token_merging(sd_model, token_merging_ratio):
    """Notes the ratio on the model; it changes no picture here."""
    sd_model.applied_token_merged_ratio = token_merging_ratio


if _world.host.new_backend:
    class FakeInitialModel:
        """What `shared.sd_model` is before the first picture: no encoder, no checkpoint."""

        if not _world.host.neo:
            def __init__(self):
                """Keeps what it is given."""
                self.cond_stage_model = None
                self.chunk_length = 75

        def get_prompt_lengths_on_ui(self, prompt):
            """The number of words, and of tokens after filling up."""
            return len(prompt.split()), 75

    def forge_model_reload():
        """The model that the options ask for is loaded when this returns, and whether it was loaded now."""
        return _load(select_checkpoint()), True


class SdModelData:
    """Holds the loaded model."""

    def __init__(self):
        """Keeps what it is given."""
        self.sd_model = FakeInitialModel() if _world.host.new_backend else None

    def get_sd_model(self):
        """The loaded model; A1111 loads one if there is none."""
        if self.sd_model is None:
            _load(select_checkpoint())
        return self.sd_model

    if _world.host.new_backend:
        def set_sd_model(self, v):
            """Sets the loaded model."""
            self.sd_model = v
    else:
        def set_sd_model(self, v, already_loaded=False):
            """Sets the loaded model."""
            self.sd_model = v


def _load(info):
    current = model_data.sd_model
    if getattr(current, "sd_checkpoint_info", None) is info:
        return current
    _world.counters.model_loads += 1
    model_data.sd_model = _world.make_model(info)
    from modules import script_callbacks

    script_callbacks.model_loaded_callback(model_data.sd_model)
    return model_data.sd_model


if not _world.host.neo:
    def reload_model_weights(sd_model=None, info=None, forced_reload=False):
        """The model of `info`, or the one that the options ask for; loaded only if it is another than the current."""
        return _load(info or select_checkpoint())


model_data = SdModelData()
list_models()
