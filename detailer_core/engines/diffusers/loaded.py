"""A model with all that is kept beside it."""

from __future__ import annotations

from .control import ControlShelf
from .lora import LoraKey, LoraRack
from .model import Model
from .options import ModelOptions
from .text import Encoded, PromptCache, make_text_encoder
from .vae import Vae


class Loaded:
    """A loaded model with its VAE, its reader of prompts and what was read, its LoRAs and ControlNets."""

    def __init__(self, model: Model, options: ModelOptions) -> None:
        self.model, self.options = model, options
        self.vae = Vae(model, options.vae_tiling)
        self.text = make_text_encoder(model.pipe, model.family)
        self.prompts = PromptCache()
        self.loras = LoraRack(model, options.lora_folders)
        self.controls = ControlShelf(model, options.control_folders)
        self._key: LoraKey = ()

    def use_loras(self, key: LoraKey) -> None:
        """Switch these LoRAs on. Raises: EngineError as `LoraRack.use` does."""
        self.loras.use(key)
        self._key = key

    def encoded(self, prompt: str, *, negative: bool) -> Encoded:
        """The prompt as this model reads it with the LoRAs that are on; each is read once."""
        return self.prompts.get((prompt, negative, self._key), lambda: self.text.encode(prompt, negative))
