"""The fake checkpoint: a text encoder, a denoiser and a VAE that are tiny, deterministic and independent per picture.

Convention: a latent is `N,4,height/8,width/8`; channels 0..2 are the means of red, green, blue in -1..1, channel 3 is
their mean. A conditioning is `77 * chunks, 8`. Everything is float32 on the CPU.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .world import World

PIXELS_PER_LATENT = 8
CHUNK_TOKENS = 75
CHUNK_WIDTH = CHUNK_TOKENS + 2
COND_WIDTH = 8
ENCODER_SIGMA = 0.02
"""How much the encoder's draw moves a latent: about 2.5 of 255 levels, so that a missing seed is seen."""

DATA_SIGMA = 0.3
"""Spread of the pictures that the model "has learned": how much of the noise stays in the result as structure."""


def _generator(text: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(text.encode("utf-8")))


def split_chunks(text: str) -> list[str]:
    """The text in chunks of at most 75 tokens; a token is a word or a comma; at least one chunk."""
    words = text.replace(",", " , ").split()
    return [" ".join(words[start:start + CHUNK_TOKENS]) for start in range(0, max(1, len(words)), CHUNK_TOKENS)]


def encode_chunk(text: str) -> Tensor:
    """Conditioning `77,8` of one chunk: a vector that depends on the text, with a little variation from token to token."""
    draws = torch.randn((CHUNK_WIDTH + 1, COND_WIDTH), generator=_generator(text))
    return draws[:1] + 0.1 * draws[1:]


class Posterior:
    """What A1111's encoder returns: a distribution; `sample` draws from torch's GLOBAL generator, as the real one does."""

    def __init__(self, mean: Tensor) -> None:
        """Keeps what it is given."""
        self.mean = mean

    def sample(self) -> Tensor:
        """A draw, shaped as the latent."""
        return self.mean + ENCODER_SIGMA * torch.randn(self.mean.shape)

    def mode(self) -> Tensor:
        """The most likely latent."""
        return self.mean


class FakeTextEncoder:
    """Counts tokens and chunks as `cond_stage_model` of A1111 does: a token is a word or a comma."""

    chunk_length = CHUNK_TOKENS

    def tokenize_line(self, line: str) -> tuple[list[str], int]:
        """The chunks of a prompt, and its number of tokens."""
        return split_chunks(line), len(line.replace(",", " , ").split())

    def prompt_lengths(self, prompt: str) -> tuple[int, int]:
        """The number of tokens of a prompt, and what it is filled up to."""
        _, count = self.tokenize_line(prompt)
        return count, self.get_target_prompt_token_count(count)

    def get_target_prompt_token_count(self, token_count: int) -> int:
        """The number of tokens after filling the last chunk."""
        return math.ceil(max(token_count, 1) / CHUNK_TOKENS) * CHUNK_TOKENS


class FakeUnet:
    """The denoiser of A1111's checkpoint, whose `forward` extensions replace."""

    def __init__(self, model: FakeModel) -> None:
        """Keeps what it is given."""
        self._model = model

    def forward(self, latent: Tensor, sigma: Tensor, cond: Tensor, image_cond: Tensor) -> Tensor:
        """As `FakeModel.denoise`."""
        return self._model.denoise_plain(latent, sigma, cond, image_cond)


class FakePatcher:
    """Forge's denoiser: copies of it may have more in `controls`, each of which changes what it makes of latents."""

    def __init__(self, controls: tuple[Callable[[Tensor], Tensor], ...] = ()) -> None:
        """Keeps what it is given."""
        self.controls = controls


class ForgeObjects:
    """Forge's parts of a checkpoint."""

    def __init__(self, unet: Any, vae: Any) -> None:
        """Keeps what it is given."""
        self.unet, self.vae = unet, vae

    def shallow_copy(self) -> ForgeObjects:
        """Another object with the same parts."""
        return ForgeObjects(self.unet, self.vae)


class FakeModel:
    """`shared.sd_model`: a checkpoint that draws a colour and a texture which depend on the prompt."""

    is_sdxl = False
    is_sd1 = True
    is_sd2 = False
    is_sd3 = False
    is_sdxl_inpaint = False
    cond_stage_key = "txt"
    latent_channels = 4
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, world: World, checkpoint_info: Any) -> None:
        """Keeps what it is given."""
        self._world = world
        self.sd_checkpoint_info = checkpoint_info
        self.sd_model_hash = checkpoint_info.shorthash
        self.model = SimpleNamespace(conditioning_key="crossattn", diffusion_model=FakeUnet(self))
        self.first_stage_model = SimpleNamespace(dtype=torch.float32)
        self.cond_stage_model = FakeTextEncoder()
        self.networks: dict[str, float] = {}
        if world.host.forge:
            self.forge_objects = ForgeObjects(FakePatcher(), SimpleNamespace(latent_channels=4))
            self.comments: list[str] = []
            self.extra_generation_params: dict[str, Any] = {}
        if world.host.new_backend:
            self.get_prompt_lengths_on_ui = self.cond_stage_model.prompt_lengths

    def ema_scope(self) -> AbstractContextManager[None]:
        """A context in which averaged weights would be used; it does nothing."""
        return nullcontext()

    def get_learned_conditioning(self, texts: list[str]) -> Tensor:
        """Conditionings `N,77*chunks,8`; shorter texts are filled up with empty chunks."""
        self._world.counters.text_encodes += len(texts)
        chunks = [split_chunks(text) for text in texts]
        most = max(map(len, chunks))
        return torch.stack([torch.cat([encode_chunk(c) for c in [*own, *[""] * (most - len(own))]]) for own in chunks])

    def encode_first_stage(self, image: Tensor) -> Any:
        """`N,3,H,W` in -1..1 -> a distribution over latents (A1111), or a latent that is drawn already (Forge's family)."""
        self._world.counters.encodes += image.shape[0]
        rgb = torch.nn.functional.avg_pool2d(image.float(), PIXELS_PER_LATENT)
        posterior = Posterior(torch.cat([rgb, rgb.mean(dim=1, keepdim=True)], dim=1))
        return posterior.sample() if self._world.host.forge else posterior

    def get_first_stage_encoding(self, encoding: Any) -> Tensor:
        """The latent of what `encode_first_stage` returned; A1111 draws here."""
        return encoding.sample() if isinstance(encoding, Posterior) else encoding

    def decode_first_stage(self, latent: Tensor) -> Tensor:
        """`N,4,h,w` -> `N,3,8h,8w` in about -1..1; every latent pixel becomes 8 x 8 equal pixels."""
        self._world.faults.before_decoding(latent.shape[2] * latent.shape[3])
        self._world.counters.decodes += latent.shape[0]
        return latent[:, :3].repeat_interleave(PIXELS_PER_LATENT, dim=2).repeat_interleave(PIXELS_PER_LATENT, dim=3)

    def target(self, cond: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """The latent `4,h,w` that a conditioning `tokens,8` asks for: a colour with a little texture."""
        wish = cond.mean(dim=0) + self._style()
        height, width = size_hw
        rows = torch.linspace(0, math.pi, height)[:, None] * (1 + 2 * wish[4].abs())
        columns = torch.linspace(0, math.pi, width)[None] * (1 + 2 * wish[5].abs())
        texture = 0.03 * torch.sin(rows + wish[6]) * torch.cos(columns + wish[7])
        rgb = 0.1 * torch.tanh(wish[:3])[:, None, None] + texture
        return torch.cat([rgb, rgb.mean(dim=0, keepdim=True)])

    def denoise(self, latent: Tensor, sigma: Tensor, cond: Tensor, image_cond: Tensor) -> Tensor:
        """What the noisy latents `N,4,h,w` look like without noise, one by one.

        sigma: `N`, noise levels. cond: `N,tokens,8`. image_cond: `N,5,h,w` for an inpainting model, else `N,5,1,1`.
        """
        if not self._world.host.forge:
            return self.model.diffusion_model.forward(latent, sigma, cond, image_cond)
        result = self.denoise_plain(latent, sigma, cond, image_cond)
        for control in self.forge_objects.unet.controls:
            result = control(result)
        return result

    def denoise_plain(self, latent: Tensor, sigma: Tensor, cond: Tensor, image_cond: Tensor) -> Tensor:
        """As `denoise`, without what extensions have put on the model."""
        return torch.stack([self._denoise_one(*parts) for parts in zip(latent, sigma, cond, image_cond, strict=True)])

    def _denoise_one(self, latent: Tensor, sigma: Tensor, cond: Tensor, image_cond: Tensor) -> Tensor:
        keep = DATA_SIGMA ** 2 / (DATA_SIGMA ** 2 + sigma ** 2)
        target = self.target(cond, (latent.shape[1], latent.shape[2]))
        if image_cond.shape[1:] == latent.shape[1:]:
            target = target + 0.2 * image_cond[1:] * image_cond[:1]
        return keep * latent + (1 - keep) * target

    def _style(self) -> Tensor:
        style = 0.3 * torch.randn(COND_WIDTH, generator=_generator(self.sd_checkpoint_info.name))
        for name, weight in self.networks.items():
            style = style + weight * torch.randn(COND_WIDTH, generator=_generator(f"network {name}"))
        return style
