"""Waves against one by one, with a real UNet, on whatever device is there. Prints JSON.

Usage: python benchmarks/waves.py [--engine unet] [--segments 8] [--side 256] [--steps 8] [--repeat 3]          (needs the package diffusers)

With `--engine unet` (default) the UNet is all that costs; with `--engine diffusers` it is the project's own engine with a whole model: text encoder,
VAE, guidance (so that the UNet sees each part twice) and differential noise masks. On a GPU the UNet has the shape of Stable Diffusion 1.5 (random
weights, float16); on a CPU it is a small one. Both ways go through the project's own planner and runner with the same segments, seeds and masks; the
pictures must agree, and `worst_difference` says how well (of 255).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "tests"))

import torch
import torch.nn.functional as F
from torch import Tensor

from detailer_core.engines.base import Capabilities, Control, Engine, Redrawn, WaveRequest
from detailer_core.engines.diffusers.options import ModelOptions
from detailer_core.engines.latent import redraw_latent
from detailer_core.engines.latent_masks import to_latent_size
from detailer_core.engines.registry import make_engine
from detailer_core.hooks import CycleInput
from detailer_core.plan import PictureJob, Plan, SegmentPlan, make_plan
from detailer_core.run import run_plan
from detailer_core.sampling import MainGeneration, Sampling
from detailer_core.segments import Segment, Segments
from detailer_core.settings import UnitSettings


class UNetEngine:
    """A deterministic DDIM loop over a UNet with random weights; latents are 8x8 means, so that the UNet is all that costs."""

    name = "unet"
    memory_key = "unet"
    size_multiple = 64
    capabilities = Capabilities(differential=False)

    def __init__(self, unet: Any, device: torch.device, dtype: torch.dtype) -> None:
        self.unet, self.device, self.dtype = unet, device, dtype
        self.text = torch.randn(1, 77, unet.config.cross_attention_dim, generator=torch.Generator().manual_seed(0)).to(device, dtype)
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.kept = torch.cumprod(1 - betas, 0).float()

    def wave_limit(self, sampling: Sampling) -> int:
        """As many as the plan wants."""
        return 64

    def wave_key(self, item: SegmentPlan) -> Hashable:
        """All alike."""
        return None

    def redraw(self, request: WaveRequest, control: Control) -> Redrawn:
        """Through the shared loop."""
        return redraw_latent(self, request, control)

    def encode(self, request: WaveRequest) -> Tensor:
        """8x8 means; channel 3 is their mean."""
        means = F.avg_pool2d(request.images_bchw, 8) * 2 - 1
        return torch.cat([means, means.mean(1, keepdim=True)], 1)

    def noise(self, request: WaveRequest, latents_bchw: Tensor, seeds: tuple[int, ...], cycle: int) -> Tensor:
        """One generator a segment."""
        return torch.cat([torch.randn(1, *latents_bchw.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seeds]).to(latents_bchw)

    @torch.inference_mode()
    def sample(self, request: WaveRequest, given: CycleInput) -> Tensor | None:
        """The last `denoise` share of the steps."""
        z, steps = given.latents_bchw, given.sampling.steps
        times = torch.linspace(999 * given.sampling.denoise, 0, steps + 1).long()
        masks = to_latent_size(request.noise_masks, z)
        x = self.kept[times[0]].sqrt() * z + (1 - self.kept[times[0]]).sqrt() * given.noise_bchw
        for now, then in itertools.pairwise(times):
            a, b = self.kept[now].to(x), self.kept[then].to(x)
            noise = self.unet(x.to(self.dtype), int(now), self.text.expand(len(x), -1, -1)).sample.to(x)
            clean = ((x - (1 - a).sqrt() * noise) / a.sqrt()).clamp(-1, 1)
            clean = clean * masks + z * (1 - masks)
            x = b.sqrt() * clean + (1 - b).sqrt() * noise
        return clean

    def decode(self, request: WaveRequest, latents_bchw: Tensor) -> Tensor:
        """Each latent pixel 8x8 times."""
        return ((latents_bchw[:, :3] + 1) / 2).clamp(0, 1).repeat_interleave(8, -1).repeat_interleave(8, -2)


def make_unet(device: torch.device) -> Any:
    """Stable Diffusion 1.5's UNet on a GPU, a small one on a CPU; random weights from a fixed seed."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    if device.type == "cpu":
        return UNet2DConditionModel(sample_size=32, block_out_channels=(32, 64, 128, 128), cross_attention_dim=256, attention_head_dim=8,
                                    norm_num_groups=16).eval()
    return UNet2DConditionModel(sample_size=64, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768, attention_head_dim=8).eval()


def diffusers_engine(device: torch.device, dtype: torch.dtype, folder: Path) -> Engine:
    """The engine `diffusers` with `make_unet`'s UNet and a text encoder and VAE of fitting size, saved and loaded again as a user's model is."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from tiny_models import clip, clip_tokenizer

    unet = make_unet(device)
    wide = (128, 256, 512, 512) if device.type == "cuda" else (16, 16, 32, 32)
    vae = AutoencoderKL(block_out_channels=wide, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                        latent_channels=4, layers_per_block=2 if device.type == "cuda" else 1, norm_num_groups=16, sample_size=512)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    pipe = StableDiffusionPipeline(vae=vae, text_encoder=clip(unet.config.cross_attention_dim), tokenizer=clip_tokenizer(folder / "clip"), unet=unet,
                                   scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.to(dtype).save_pretrained(folder / "model")
    return make_engine("diffusers", ModelOptions(model=str(folder / "model"), precision="fp16" if dtype == torch.float16 else "fp32"))


def plan_of(count: int, side: int, engine: Engine, device: torch.device, steps: int, together: bool) -> tuple[Tensor, Plan]:
    """A picture with `count` parts that do not touch each other, and its plan."""
    picture = torch.rand(1, 3, side // 8, count * side // 8, generator=torch.Generator().manual_seed(1)).to(device)
    picture = F.interpolate(picture, scale_factor=8, mode="bicubic").clamp(0, 1)
    quarter = side // 4
    mask = torch.zeros(side, side)
    mask[quarter:-quarter, quarter:-quarter] = 1
    items = tuple(Segment(bbox_xyxy=(i * side + quarter, quarter, (i + 1) * side - quarter, side - quarter),
                          crop_xyxy=(i * side, 0, (i + 1) * side, side), mask_hw=mask) for i in range(count))
    settings = replace(UnitSettings(), guide_size=side, guide_size_for="crop", max_size=side, steps=steps, sampler="Euler",
                       noise_mask_feather=20 if engine.capabilities.differential else 0, denoise=0.5, wave_pixels=2**28 if together else 0)
    jobs = [PictureJob(segments=Segments(size_wh=(count * side, side), items=items), main=MainGeneration(seed=1))]
    return picture, make_plan(jobs, settings, policy=engine)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", choices=("unet", "diffusers"), default="unet")
    parser.add_argument("--segments", type=int, default=8)
    parser.add_argument("--side", type=int, default=0, help="pixels; default 512 on a GPU, 256 on a CPU")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    with tempfile.TemporaryDirectory() as folder:
        engine = UNetEngine(make_unet(device).to(device, dtype), device, dtype) if args.engine == "unet" else \
            diffusers_engine(device, dtype, Path(folder))
    side = args.side or (256 if device.type == "cpu" else 512)
    seconds: dict[str, list[float]] = {"waves": [], "one_by_one": []}
    pictures: dict[str, Tensor] = {}
    for turn in range(args.repeat + 1):
        for way in seconds:
            picture, plan = plan_of(args.segments, side, engine, device, args.steps, together=way == "waves")
            started = time.perf_counter()
            pictures[way] = run_plan([picture], plan, engine).pictures[0].cpu()
            if turn:
                seconds[way].append(time.perf_counter() - started)
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(json.dumps({"engine": args.engine, "device": name, "dtype": str(dtype), "segments": args.segments, "side": side, "steps": args.steps,
                      "seconds": {k: round(v, 4) for k, v in medians.items()}, "times_faster": round(medians["one_by_one"] / medians["waves"], 3),
                      "worst_difference": round(float((pictures["waves"] - pictures["one_by_one"]).abs().max() * 255), 4)}, indent=1))


if __name__ == "__main__":
    main()
