"""Small files of every kind that the live tests ask a host for, made from one small checkpoint.

    python tests/live/model_files.py CHECKPOINT.safetensors HOST/models

Writes another checkpoint, a VAE, a LoRA and a ControlNet, whose names begin with `live-`. The weights are the checkpoint's with noise from a
fixed seed: they draw nothing sensible, and each is strong enough to be seen in the picture.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

UNET, VAE = "model.diffusion_model.", "first_stage_model."
Weights = dict[str, torch.Tensor]


def noisy(weights: Weights, names: str, share: float) -> Weights:
    """The weights, with noise of this share of their own spread on those whose name has the text in it."""
    draws = torch.Generator().manual_seed(0)
    noise = {name: torch.randn(value.shape, generator=draws).to(value.dtype) * value.float().std().to(value.dtype)
             for name, value in weights.items() if names in name and value.ndim > 1}
    return {name: value + share * noise[name] if name in noise else value for name, value in weights.items()}


def other_vae(weights: Weights) -> Weights:
    """The decoder with other colours."""
    own = {name.removeprefix(VAE): value.clone() for name, value in weights.items() if name.startswith(VAE)}
    own["decoder.conv_out.bias"] = own["decoder.conv_out.bias"] + torch.tensor([0.3, -0.3, 0.0], dtype=own["decoder.conv_out.bias"].dtype)
    return own


def lora(weights: Weights) -> Weights:
    """Rank 4, on what looks at the prompt in the first and the middle block."""
    draws = torch.Generator().manual_seed(1)
    layers: Weights = {}
    for ours, theirs in (("input_blocks.1.1", "down_blocks_0_attentions_0"), ("middle_block.1", "mid_block_attentions_0")):
        for part in ("to_k", "to_v"):
            wide = weights[f"{UNET}{ours}.transformer_blocks.0.attn2.{part}.weight"].float()
            name = f"lora_unet_{theirs}_transformer_blocks_0_attn2_{part}"
            layers[f"{name}.lora_down.weight"] = torch.randn(4, wide.shape[1], generator=draws) * wide.std()
            layers[f"{name}.lora_up.weight"] = torch.randn(wide.shape[0], 4, generator=draws)
            layers[f"{name}.alpha"] = torch.tensor(4.0)
    return layers


def controlnet(weights: Weights) -> Weights:
    """The UNet's first half, with noise in place of the convolutions that would be zero before training."""
    draws = torch.Generator().manual_seed(2)
    half = ("time_embed.", "input_blocks.", "middle_block.")
    net = {f"control_model.{name.removeprefix(UNET)}": value.float() for name, value in weights.items() if name.removeprefix(UNET).startswith(half)}
    widths = [_width(weights, number) for number in range(12)]

    def convolution(name: str, wide_in: int, wide_out: int, side: int, spread: float) -> None:
        net[f"control_model.{name}.weight"] = torch.randn(wide_out, wide_in, side, side, generator=draws) * spread / (wide_in * side * side) ** 0.5
        net[f"control_model.{name}.bias"] = torch.zeros(wide_out)

    for number, wide in enumerate(widths):
        convolution(f"zero_convs.{number}.0", wide, wide, 1, 0.5)
    convolution("middle_block_out.0", widths[-1], widths[-1], 1, 0.5)
    hint = (3, 16, 16, 32, 32, 96, 96, 256, widths[0])
    for number in range(8):
        convolution(f"input_hint_block.{2 * number}", hint[number], hint[number + 1], 3, 2.0)
    return net


def _width(weights: Weights, number: int) -> int:
    """Channels that leave this input block."""
    for inner in ("0.out_layers.3", "0.op", "0"):
        bias = weights.get(f"{UNET}input_blocks.{number}.{inner}.bias")
        if bias is not None:
            return len(bias)
    raise KeyError(number)


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("models", type=Path)
    args = parser.parse_args()
    weights = load_file(args.checkpoint)
    files = {"Stable-diffusion/live-other": noisy(weights, f"{UNET}output_blocks", 0.3), "VAE/live-vae": other_vae(weights),
             "Lora/live-lora": lora(weights), "ControlNet/live-control": controlnet(weights)}
    for name, content in files.items():
        file = args.models / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in content.items()}, file)
        print(file)
    config = args.checkpoint.with_suffix(".yaml")
    if config.is_file():
        shutil.copyfile(config, args.models / "Stable-diffusion/live-other.yaml")


if __name__ == "__main__":
    main()
