"""Small models with random weights, saved as diffusers saves them: what they draw means nothing, but every part is there and of its real kind.

Their VAE has four stages as the real ones, so that a picture of 64 pixels has 8x8 latents.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

WIDTH = 32
"""Width of the texts of Stable Diffusion 1, and of XL's and the newer families' first text encoder."""


def save_sd(folder: Path, *, width: int = WIDTH, channels: int = 4, name: str = "StableDiffusionPipeline") -> Path:
    """Stable Diffusion 1. width: of its texts. channels: that its UNet takes, 9 for an inpainting model."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    torch.manual_seed(0)
    pipe = StableDiffusionPipeline(vae=vae(), text_encoder=clip(width), tokenizer=clip_tokenizer(folder.parent / f"{folder.name}-clip"),
                                   unet=unet(width, channels), scheduler=DDIMScheduler(**_schedule(), clip_sample=False), safety_checker=None,
                                   feature_extractor=None, requires_safety_checker=False)
    return _saved(pipe, folder, name)


def save_xl(folder: Path, *, refiner: bool = False) -> Path:
    """Stable Diffusion XL, or its refiner, which has the second text encoder only."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

    torch.manual_seed(1)
    tokenizer = clip_tokenizer(folder.parent / f"{folder.name}-clip")
    ids = 5 if refiner else 6
    net = unet(WIDTH if refiner else 2 * WIDTH, addition_embed_type="text_time", addition_time_embed_dim=8,
               projection_class_embeddings_input_dim=WIDTH + 8 * ids)
    parts: dict[str, Any] = {"vae": vae(), "text_encoder": None if refiner else clip(WIDTH), "text_encoder_2": clip(WIDTH, projection=WIDTH),
                             "tokenizer": None if refiner else tokenizer, "tokenizer_2": tokenizer, "unet": net,
                             "scheduler": EulerDiscreteScheduler(**_schedule())}
    if refiner:
        return _saved(StableDiffusionXLImg2ImgPipeline(**parts, requires_aesthetics_score=True, add_watermarker=False), folder)
    return _saved(StableDiffusionXLPipeline(**parts, add_watermarker=False), folder)


def save_sd3(folder: Path) -> Path:
    """Stable Diffusion 3, without the third text encoder, which may be left out."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(2)
    tokenizer = clip_tokenizer(folder.parent / f"{folder.name}-clip")
    transformer = SD3Transformer2DModel(sample_size=8, patch_size=2, in_channels=16, num_layers=1, attention_head_dim=8, num_attention_heads=4,
                                        joint_attention_dim=2 * WIDTH, caption_projection_dim=32, pooled_projection_dim=2 * WIDTH, out_channels=16,
                                        pos_embed_max_size=32)
    pipe = StableDiffusion3Pipeline(transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
                                    vae=vae(16, shift_factor=0.06), text_encoder=clip(WIDTH, projection=WIDTH), tokenizer=tokenizer,
                                    text_encoder_2=clip(WIDTH, projection=WIDTH), tokenizer_2=tokenizer, text_encoder_3=None, tokenizer_3=None)
    return _saved(pipe, folder)


def save_flux(folder: Path, *, guidance: bool = True) -> Path:
    """Flux. guidance: distilled, as "dev" is."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(3)
    transformer = FluxTransformer2DModel(patch_size=1, in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16,
                                         num_attention_heads=2, joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH,
                                         axes_dims_rope=(4, 4, 8), guidance_embeds=guidance)
    t5 = T5EncoderModel(T5Config(vocab_size=64, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256,
                                                max_image_seq_len=4096)
    pipe = FluxPipeline(transformer=transformer, scheduler=scheduler, vae=vae(16, shift_factor=0.06), text_encoder=clip(WIDTH),
                        tokenizer=clip_tokenizer(folder.parent / f"{folder.name}-clip"), text_encoder_2=t5.eval(),
                        tokenizer_2=t5_tokenizer(folder.parent / f"{folder.name}-t5"))
    return _saved(pipe, folder)


SAVERS: dict[str, Callable[[Path], Path]] = {"sd": save_sd, "xl": save_xl, "sd3": save_sd3, "flux": save_flux}
"""How to save a model, by family."""


def save_control(folder: Path, width: int = WIDTH) -> Path:
    """A ControlNet for `save_sd`, whose zero convolutions are not zero, so that it does something."""
    from diffusers import ControlNetModel

    torch.manual_seed(4)
    net = ControlNetModel(block_out_channels=(16, 32), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), layers_per_block=1,
                          cross_attention_dim=width, attention_head_dim=2, norm_num_groups=8, conditioning_embedding_out_channels=(8, 8, 8, 16))
    for parameter in [*net.controlnet_down_blocks.parameters(), *net.controlnet_mid_block.parameters(),
                      *net.controlnet_cond_embedding.conv_out.parameters()]:
        torch.nn.init.normal_(parameter, std=0.3)
    net.save_pretrained(folder)
    return folder


def save_lora(path: Path, model: Path, *, width: int | None = None) -> Path:
    """A LoRA for all attention layers of the UNet of a saved model. width: that its layers take instead of the model's own text width."""
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(5)
    net = UNet2DConditionModel.from_pretrained(model / "unet", local_files_only=True)
    state: dict[str, torch.Tensor] = {}
    for name, module in net.named_modules():
        if name.endswith(("to_k", "to_v", "to_q")):
            wide = width if width is not None and "attn2" in name and not name.endswith("to_q") else module.weight.shape[1]
            state[f"unet.{name}.lora_A.weight"] = 0.2 * torch.randn(4, wide, generator=generator)
            state[f"unet.{name}.lora_B.weight"] = 0.2 * torch.randn(module.weight.shape[0], 4, generator=generator)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path)
    return path


def vae(channels: int = 4, **more: Any) -> Any:
    """A VAE of the real kind whose weights are set by hand: latents are means of 8x8 pixels (channel 3 is the mean of the colours), and back."""
    from diffusers import AutoencoderKL

    kind = AutoencoderKL(block_out_channels=(16,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                         latent_channels=channels, norm_num_groups=4, layers_per_block=1, sample_size=64, scaling_factor=0.9, **more)
    for parameter in kind.parameters():
        torch.nn.init.zeros_(parameter)  # what is added in blocks and attention is nothing
    for module in kind.modules():
        if isinstance(module, torch.nn.GroupNorm):
            torch.nn.init.ones_(module.weight)
    colours = torch.eye(4, 3)
    colours[3] = 1 / 3
    _spread(kind.encoder.conv_in, colours)
    _spread(kind.decoder.conv_in, torch.eye(4, channels))
    _gather(kind.encoder.conv_out, torch.eye(2 * channels, 4))
    _gather(kind.decoder.conv_out, torch.eye(3, 4))
    for conv in (kind.quant_conv, kind.post_quant_conv):
        conv.weight.data[..., 0, 0] = torch.eye(len(conv.weight))
    for block in kind.encoder.down_blocks:
        for sampler in block.downsamplers or ():
            sampler.conv.weight.data[:, :, :2, :2] = torch.eye(16)[..., None, None] / 4
    for block in kind.decoder.up_blocks:
        for sampler in block.upsamplers or ():
            sampler.conv.weight.data[:, :, 1, 1] = torch.eye(16)
    return kind.eval()


_LIFT = 20.0
"""Each value x goes through the normalisation as lift + x, lift - x, -lift + x, -lift - x, whose mean and deviation hardly depend on x."""


def _spread(conv: Any, matrix: torch.Tensor) -> None:
    """Make a convolution give each of the 4 values that the matrix makes of a pixel in its four forms."""
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])
    conv.weight.data[:, :, 1, 1] = (matrix[:, None] * signs[:, None]).reshape(16, -1)
    conv.bias.data[:] = torch.tensor([_LIFT, _LIFT, -_LIFT, -_LIFT]).repeat(4)


def _gather(conv: Any, matrix: torch.Tensor) -> None:
    """Make a convolution, after normalisation and SiLU, give the matrix times the 4 values."""
    one = torch.sigmoid(torch.tensor(1.0))
    slope = 2 / _LIFT * one * (2 - one)  # of the difference of the first two forms: SiLU' at 1 is s + s (1 - s)
    conv.weight.data[:, :, 1, 1] = (matrix[..., None] * torch.tensor([1.0, -1.0, 0.0, 0.0]) / slope).reshape(len(matrix), 16)


def unet(width: int, channels: int = 4, **more: Any) -> Any:
    """A UNet of two stages."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(sample_size=8, in_channels=channels, block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=width,
                                attention_head_dim=2, norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **more).eval()


def clip(width: int, projection: int = 0) -> Any:
    """A text encoder. projection: width of the text as a whole, 0 = it has none."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(vocab_size=len(_vocabulary()), hidden_size=width, intermediate_size=width, num_hidden_layers=2, num_attention_heads=2,
                            max_position_embeddings=77, projection_dim=projection or width, bos_token_id=0, eos_token_id=1, pad_token_id=1,
                            hidden_act="quick_gelu")
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def clip_tokenizer(folder: Path) -> Any:
    """A tokenizer that knows single characters only."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: place for place, token in enumerate(_vocabulary())}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def t5_tokenizer(folder: Path) -> Any:
    """A tokenizer that knows single characters only."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import T5TokenizerFast

    pieces = ["<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz0123456789 .,:;[]"]
    tokenizer = Tokenizer(models.WordLevel({piece: place for place, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return T5TokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), extra_ids=0, model_max_length=512)


def _vocabulary() -> list[str]:
    letters = [chr(code) for code in range(33, 127)]
    return ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]


def _schedule() -> dict[str, Any]:
    """The noise of Stable Diffusion's training."""
    return {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def _saved(pipe: Any, folder: Path, name: str = "") -> Path:
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(folder, safe_serialization=True)
    if name:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": name}), encoding="utf-8")
    return folder
