"""Small ControlNets for the played hosts: where they are found, what they read from a job, and what they leave on the model is as with the real ones.

A ControlNet adds its weight times a tenth of its control picture's mean brightness (0..1) to all latents.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from standin import World
from standin.model import FakePatcher
from torch import Tensor

MODELS = ("control_canny [aabbccdd]", "control_inpaint [11223344]")
MARK = 1024.0


@dataclass(kw_only=True)
class Record:
    """What the ControlNets did.

    pictures, masks: what they took from jobs, uint8 `[H, W, 3]` and `[H, W]`. units: with which settings. sizes: of the latents that they guided.
    finished: shapes of the pictures that were shown to `postprocess_batch(_list)`. stacked: how many were on the model at once. fails: raised when
    a job begins.
    """

    pictures: list[np.ndarray] = field(default_factory=list)
    masks: list[np.ndarray | None] = field(default_factory=list)
    units: list[Any] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    finished: list[tuple[int, ...]] = field(default_factory=list)
    stacked: list[int] = field(default_factory=list)
    fails: Exception | None = None

    def take(self, p: Any, unit: Any) -> Tensor:
        """What the unit adds to latents, from the job's own picture."""
        if self.fails is not None:
            raise self.fails
        assert getattr(p, "image_mask", None) is None or not p.inpaint_full_res, "the picture would be cut to the mask"
        np.random.seed((int(p.seed) + int(p.subseed)) & 0xFFFFFFFF)
        picture = np.asarray(p.init_images[0].convert("RGB")) if getattr(p, "init_images", None) else unit.image
        self.pictures.append(picture)
        self.masks.append(None if getattr(p, "image_mask", None) is None else np.asarray(p.image_mask))
        self.units.append(unit)
        return torch.tensor(unit.weight * 0.1 * picture.mean() / 255, dtype=torch.float32)


@contextmanager
def installed(world: World) -> Iterator[Record]:
    """The host's ControlNet, on both of its pages."""
    record = Record()
    modules, make = (_forge if world.host.forge else _a1111)(world, record)
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    scripts = [(getattr(world.module("scripts"), f"scripts_{tab}"), make()) for tab in ("txt2img", "img2img")]
    for runner, script in scripts:
        script.filename, script.args_from, script.args_to = "controlnet.py", len(runner.inputs), len(runner.inputs)
        runner.alwayson_scripts.append(script)
        runner.scripts.append(script)
        _forget_callbacks(runner)
    try:
        yield record
    finally:
        for runner, script in scripts:
            runner.alwayson_scripts.remove(script)
            runner.scripts.remove(script)
            _forget_callbacks(runner)
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _forget_callbacks(runner: Any) -> None:
    """Forge Classic keeps none."""
    getattr(runner, "callback_map", {}).clear()


def _module(name: str, **values: Any) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(values)
    return module


def _a1111(world: World, record: Record) -> tuple[dict[str, ModuleType], Any]:
    """The extension sd-webui-controlnet: it finds itself and its units through the job, replaces the job's `sample` and the denoiser's `forward`, and
    marks prompts in their encodings."""
    parser, scripts = world.module("prompt_parser"), world.module("scripts")

    class ControlNetUnit:
        __fields__ = dict.fromkeys(("enabled", "module", "model", "weight", "image", "guidance_start", "guidance_end", "control_mode",
                                    "pixel_perfect", "save_detected_map"))

        def __init__(self, enabled: bool = False, module: str = "none", model: str = "None", weight: float = 1.0, image: Any = None,
                     guidance_start: float = 0.0, guidance_end: float = 1.0, control_mode: str = "Balanced", pixel_perfect: bool = False,
                     save_detected_map: bool = True) -> None:
            if module not in ("none", "canny", "inpaint", "inpaint_global_harmonious"):
                raise ValueError(f"module({module}) not found in supported modules.")
            self.__dict__.update({name: value for name, value in locals().items() if name != "self"})

    def mark_prompt_context(x: Any, positive: bool) -> Any:
        if isinstance(x, list):
            for index, one in enumerate(x):
                x[index] = mark_prompt_context(one, positive)
        elif isinstance(x, parser.MulticondLearnedConditioning):
            x.batch = mark_prompt_context(x.batch, positive)
        elif isinstance(x, parser.ComposableScheduledPromptConditioning):
            x.schedules = mark_prompt_context(x.schedules, positive)
        elif isinstance(x, parser.ScheduledPromptConditioning) and not _marked(x.cond):
            row = torch.full_like(x.cond[:1], MARK if positive else -MARK)
            return parser.ScheduledPromptConditioning(x.end_at_step, torch.cat([row, x.cond]))
        return x

    class UnetHook:
        __module__ = "played_hook"

        def hook(self, model: Any, process: Any, added: Tensor) -> None:
            self.model = model

            def sample(*args: Any, **kwargs: Any) -> Any:
                mark_prompt_context(kwargs["conditioning"], positive=True)
                mark_prompt_context(kwargs["unconditional_conditioning"], positive=False)
                return process.sample_before_CN_hack(*args, **kwargs)

            def forward(latent: Tensor, sigma: Tensor, cond: Tensor, image_cond: Tensor) -> Tensor:
                assert _marked(cond[0]), "prompts are not marked"
                record.sizes.append((latent.shape[3] * 8, latent.shape[2] * 8))
                return model._original_forward(latent, sigma, cond[:, 1:], image_cond) + added

            process.sample_before_CN_hack, process.sample = process.sample, sample
            record.stacked.append(1 + hasattr(model, "_original_forward"))
            model._original_forward, model.forward = model.forward, forward

        def restore(self) -> None:
            if hasattr(self.model, "_original_forward"):
                self.model.forward = self.model._original_forward
                del self.model._original_forward

    class Script(scripts.Script):
        def __init__(self) -> None:
            self.latest_network: Any = None
            self.enabled_units: list[Any] = []
            self.detected_map: list[Any] = []
            self.post_processors: list[Any] = []
            self.default_units: list[Any] = []

        def title(self) -> str:
            return "ControlNet"

        def show(self, is_img2img: bool) -> Any:
            return scripts.AlwaysVisible

        def process(self, p: Any, *args: Any) -> None:
            if self.latest_network is not None:
                self.latest_network.restore()
            found = next(s for s in p.scripts.alwayson_scripts if s.title().lower() == "controlnet")
            units = [unit for unit in p.script_args[found.args_from:found.args_to] if isinstance(unit, ControlNetUnit)] or found.default_units
            self.enabled_units = [unit for unit in units if unit.enabled]
            self.latest_network = None
            for unit in self.enabled_units:
                if unit.model not in MODELS:
                    raise RuntimeError(f"model not found: {unit.model}")
                self.latest_network = UnetHook()
                self.latest_network.hook(p.sd_model.model.diffusion_model, p, record.take(p, unit))

        def before_process_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
            assert p.rng is not None

        def postprocess_batch(self, p: Any, *args: Any, **kwargs: Any) -> None:
            if self.enabled_units:
                record.finished.append(tuple(kwargs["images"][0].shape))

        def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
            self.enabled_units.clear()
            if self.latest_network is not None:
                processed.images.extend([])
                self.latest_network.restore()
                self.latest_network = None

    code = _module("internal_controlnet.external_code", ControlNetUnit=ControlNetUnit, get_models=lambda: list(MODELS),
                   get_modules=lambda alias_names=False: ["none", "canny", "inpaint_global_harmonious" if alias_names else "inpaint"])
    return {"internal_controlnet.external_code": code, "played_hook": _module("played_hook", mark_prompt_context=mark_prompt_context)}, Script


def _marked(cond: Tensor) -> bool:
    return bool(((cond[0].abs() - MARK).abs() < 1e-3).all())


@dataclass
class ForgeUnit:
    """A unit of Forge's: a dataclass among the script's arguments."""

    enabled: bool = True
    module: str = "None"
    model: str = "None"
    weight: float = 1.0
    image: Any = None
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    pixel_perfect: bool = False
    control_mode: Any = "Balanced"
    save_detected_map: bool = True


def _forge(world: World, record: Record) -> tuple[dict[str, ModuleType], Any]:
    """The built-in of Forge and its kin: prepared when a job begins, put on a copy of the denoiser before every sampling."""
    scripts = world.module("scripts")
    preprocessors = {"None": SimpleNamespace(), "canny": SimpleNamespace(), "inpaint_global_harmonious": SimpleNamespace()}

    class ControlNetForForgeOfficial(scripts.Script):
        def __init__(self) -> None:
            self.current_params: dict[int, Tensor] = {}

        def title(self) -> str:
            return "ControlNet"

        def show(self, is_img2img: bool) -> Any:
            return scripts.AlwaysVisible

        def process(self, p: Any, *args: Any, **kwargs: Any) -> None:
            self.current_params = {}
            for index, unit in enumerate(self._units(args)):
                assert preprocessors[unit.module] is not None and unit.model in MODELS
                assert "inpaint" not in unit.module or p.image_mask is not None, "an inpainting preprocessor without a mask"
                self.current_params[index] = record.take(p, unit)

        def process_before_every_sampling(self, p: Any, *args: Any, **kwargs: Any) -> None:
            for index, _ in enumerate(self._units(args)):
                record.sizes.append((kwargs["noise"].shape[3] * 8, kwargs["noise"].shape[2] * 8))
                added = self.current_params[index]
                unet = p.sd_model.forge_objects.unet
                record.stacked.append(len(unet.controls) + 1)
                p.sd_model.forge_objects.unet = FakePatcher((*unet.controls, lambda x, added=added: x + added))

        def postprocess_batch_list(self, p: Any, pp: Any, *args: Any, **kwargs: Any) -> None:
            for _ in self._units(args):
                record.finished.append(tuple(pp.images[0].shape))

        def postprocess(self, p: Any, processed: Any, *args: Any) -> None:
            self.current_params = {}

        @staticmethod
        def _units(args: Any) -> list[Any]:
            return [replace(unit) for unit in args if isinstance(unit, ForgeUnit) and unit.enabled]

    code = _module("lib_controlnet.external_code", ControlNetUnit=ForgeUnit)
    state = _module("lib_controlnet.global_state", get_all_controlnet_names=lambda: ["None", *MODELS],
                    get_all_preprocessor_names=lambda: list(preprocessors), get_preprocessor=preprocessors.get)
    return {"lib_controlnet.external_code": code, "lib_controlnet.global_state": state}, ControlNetForForgeOfficial
