"""A latent engine without a model, for tests: every number can be worked out by hand, and batches equal single runs.

Its encoder averages blocks of 8x8 pixels (channels 0 to 2; channel 3 is their mean), its decoder repeats each latent pixel 8x8, and its sampler
is one of a few formulas. With the sampler `half`, `seeded` or `masked` it is the stand-in that the golden data was made with
(golden/README.md, "do_detail cases"); with `noisy` it is a small diffusion-like loop that uses noise, steps, masks and differential thresholds.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from detailer_core.engines.base import Capabilities, Control, Redrawn, WaveRequest
from detailer_core.engines.latent import redraw_latent
from detailer_core.engines.latent_masks import differential_mask, differential_threshold, to_latent_size
from detailer_core.errors import EngineError, EngineMemoryError
from detailer_core.hooks import CycleInput
from detailer_core.image_ops import resample_mask
from detailer_core.plan import SegmentPlan
from detailer_core.sampling import Sampling


@dataclass(kw_only=True)
class StubEngine:
    """formula: half, seeded, masked or noisy. fits: most segments that "fit into memory". stop_after: calls of the sampler before an interrupt."""

    formula: str = "noisy"
    limit: int = 64
    fits: int = 1 << 30
    stop_after: int = 1 << 30
    fail_at: frozenset[int] = frozenset()
    calls: list[tuple[CycleInput, WaveRequest]] = field(default_factory=list)
    encoded: list[tuple[int, int]] = field(default_factory=list)
    waves: list[int] = field(default_factory=list)

    name = "stub"
    capabilities = Capabilities(inpaint_model=True, refiner=True, checkpoint=True, inversion=True, control=True, regions=True, sigmas=True)
    memory_key = "stub"
    size_multiple = 8

    def wave_limit(self, sampling: Sampling) -> int:
        """As set."""
        return self.limit

    def wave_key(self, item: SegmentPlan) -> Hashable:
        """All may meet."""
        return None

    def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        """Through the shared loop."""
        self.waves.append(len(request.seeds))
        if len(self.waves) in self.fail_at:
            raise EngineError("the stub was told to fail")
        if len(request.seeds) > self.fits:
            raise EngineMemoryError(f"{len(request.seeds)} segments do not fit, {self.fits} would")
        redrawn = redraw_latent(self, request, control)
        # A ControlNet without a preprocessor shows the crops themselves.
        return redrawn if request.sampling.control is None else replace(redrawn, control_bchw=request.images_bchw)

    def encode(self, request: WaveRequest) -> Tensor:
        """8x8 means of the pictures, cut centred to multiples of 8; channel 3 is the mean of the colours."""
        height, width = request.images_bchw.shape[-2:]
        self.encoded += [(height, width)] * len(request.seeds)
        top, left = (height % 8) // 2, (width % 8) // 2
        cut = request.images_bchw[..., top : top + height // 8 * 8, left : left + width // 8 * 8]
        if 0 in cut.shape:
            raise EngineError(f"a picture of {width}x{height} pixels is too small")
        means = F.avg_pool2d(cut, 8)
        return torch.cat([means, means.mean(1, keepdim=True)], 1)

    def noise(self, request: WaveRequest, latents_bchw: Tensor, seeds: tuple[int, ...], cycle: int) -> Tensor:
        """Normal noise, one generator a segment."""
        return torch.cat([torch.randn(1, *latents_bchw.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds]).to(latents_bchw)

    def sample(self, request: WaveRequest, given: CycleInput) -> Tensor | None:
        """One pass."""
        if len(self.calls) >= self.stop_after:
            return None
        self.calls.append((given, request))
        z = given.latents_bchw
        if self.formula == "noisy":
            return self._noisy(request, given)
        y = z * 0.5 + 0.25
        if self.formula == "seeded":
            offsets = torch.tensor([((s % 16) - 8) * 0.01 for s in given.seeds]).to(z)
            return y + offsets[:, None, None, None]
        if self.formula == "masked" and given.sampling.noise_mask:
            masks = to_latent_size(self.given_masks(request), z)
            return y * masks + given.outside * (1 - masks)
        return y

    def _noisy(self, request: WaveRequest, given: CycleInput) -> Tensor:
        x, steps = given.latents_bchw + given.noise_bchw * given.sampling.denoise, self._steps(given)
        for t in range(steps, 0, -1):
            denoised = self._denoised(x, request, given, t)
            x = denoised + (x - denoised) * ((t - 1) / t)
        return x

    def invert(self, request: WaveRequest, given: CycleInput) -> Tensor:
        """Noise that leads `_noisy` back to the latents before its last step: each step is solved for what it came from, not only estimated.

        The step there is x' = D(x) + (x - D(x)) * (t - 1) / t; D depends on x by 0.05 at most, so that repeating x = (x' - D(x) / t) * t / (t - 1)
        comes to rest. Noise level 1 is taken for the latents themselves.
        """
        z = x = given.latents_bchw
        for t in range(2, self._steps(given) + 1):
            after = x
            for _ in range(12):
                x = (after - self._denoised(x, request, given, t) / t) * (t / (t - 1))
        return (x - z) / given.sampling.denoise if given.sampling.denoise else torch.zeros_like(z)

    def _steps(self, given: CycleInput) -> int:
        return max(1, int(given.sampling.steps * given.sampling.denoise))

    def _denoised(self, x: Tensor, request: WaveRequest, given: CycleInput, t: int) -> Tensor:
        """What the "model" takes x for at noise level t, the kept part blended in."""
        z, strength = given.outside, given.sampling.denoise
        masks = to_latent_size(request.noise_masks, z)
        targets = torch.tensor([(sum(p.encode()) % 97) / 97 for p in request.prompts]).to(z)[:, None, None, None]
        targets = self._regional(targets.expand_as(z), request)
        if given.sampling.control is not None:
            targets = targets + 0.2 * given.sampling.control.weight
        denoised = torch.lerp(z, targets, 0.5 * strength) + 0.05 * torch.tanh(x - z)
        threshold = differential_threshold(float(t), float(self._steps(given)), 0.0)
        keep = differential_mask(masks, threshold) if given.sampling.differential else masks
        return denoised * keep + z * (1 - keep)

    def _regional(self, targets: Tensor, request: WaveRequest) -> Tensor:
        """The targets of the prompts, with each region's own inside its mask."""
        rows = list(targets.unbind(0))
        for row, regions in enumerate(request.regions):
            for region in regions:
                mask = to_latent_size((region.mask_hw[None, None],), targets)[0] * region.weight
                rows[row] = rows[row] * (1 - mask) + (sum(region.prompt.encode()) % 97) / 97 * mask
        return torch.stack(rows)

    def given_masks(self, request: WaveRequest) -> tuple[Tensor | None, ...]:
        """The noise masks as the sampler got them: an inpainting model's are at pixel size and cut as the picture is (REFERENCE item 34)."""
        if not request.sampling.inpaint_model:
            return request.noise_masks
        height, width = request.images_bchw.shape[-2:]
        top, left = (height % 8) // 2, (width % 8) // 2
        sized = [None if m is None else resample_mask(m, (width, height)) for m in request.noise_masks]
        return tuple(None if m is None else m[..., top : top + height // 8 * 8, left : left + width // 8 * 8] for m in sized)

    def decode(self, request: WaveRequest, latents_bchw: Tensor) -> Tensor:
        """Each latent pixel 8x8 times."""
        return latents_bchw[:, :3].repeat_interleave(8, -1).repeat_interleave(8, -2).clamp(0, 1)
