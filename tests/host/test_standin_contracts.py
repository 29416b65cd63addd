"""The stand-in offers nothing that a host does not have, and the extension uses nothing that a host does not offer."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import contracts
import pytest
import standin

REPOSITORY = Path(__file__).resolve().parents[2]
needs_contracts = pytest.mark.skipif(not contracts.available(), reason=f"the hosts' contracts are not in {contracts.FOLDER}")
every_host = pytest.mark.parametrize("host", contracts.HOST_NAMES)


UNCOVERED = {
    "modules.api": "a package without contents",
    **contracts.UNREAD_MODULES,
    "modules.sd_hijack": "not read by the contracts; A1111, reForge and Forge Classic import its `model_hijack` in `modules.processing`",
}
"""Modules of the stand-in that the contracts do not cover, with the reason."""


@pytest.fixture
def contract(host: str) -> contracts.Contract:
    """What the host of this test offers."""
    return contracts.load(host)


def played_modules() -> dict[str, ModuleType]:
    """The modules that the stand-in offers, without its private ones."""
    return {name: module for name, module in sys.modules.items()
            if name.startswith("modules.") and module is not None and "._" not in name}


def offered(module: ModuleType) -> dict[str, Any]:
    """The public names of a played module, without what it imports from outside of the host."""
    names = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {name: value for name, value in names.items() if name != "TYPE_CHECKING" and not _is_foreign(value)}


def _is_foreign(value: Any) -> bool:
    if isinstance(value, ModuleType):
        return not value.__name__.startswith("modules")
    if type(value).__module__ in ("typing", "__future__"):
        return True
    source = getattr(value, "__module__", None) if inspect.isclass(value) or inspect.isroutine(value) else None
    return source is not None and not source.startswith("modules")


def shape(function: Any) -> list[tuple[str, str, Any]]:
    """Name, kind and default of each parameter of a real function, as it is written in the stand-in: gradio wraps it, and it may itself
    take another's signature by `functools.wraps`, which the contracts do not follow."""
    written = inspect.unwrap(function, stop=lambda one: "standin" in one.__code__.co_filename)
    kinds = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**", inspect.Parameter.KEYWORD_ONLY: "keyword"}
    return [(one.name, kinds.get(one.kind, "plain"), "none" if one.default is inspect.Parameter.empty else ("is", one.default))
            for one in inspect.signature(written, follow_wrapped=False).parameters.values()]


def agrees(mine: list[tuple[str, str, Any]], theirs: list[contracts.Parameter]) -> bool:
    """Whether two signatures agree; a default that is no literal in the contract agrees with any default."""
    if [one[:2] for one in mine] != [(one.name, one.kind) for one in theirs]:
        return False
    return all(_default_agrees(one[2], other.default) for one, other in zip(mine, theirs, strict=True))


def _default_agrees(mine: Any, theirs: str | None) -> bool:
    if mine == "none" or theirs is None:
        return mine == "none" and theirs is None
    try:
        return bool(mine[1] == ast.literal_eval(theirs))
    except ValueError:
        return True


@needs_contracts
@every_host
def test_every_module_and_name_exists(host: str, contract: contracts.Contract, tmp_path: Path) -> None:
    """Modules and names that the stand-in offers are in the host's contract."""
    with standin.install(host=host, tmp_path=tmp_path):
        extra = [name for name in played_modules() if name not in UNCOVERED and name not in contract.modules]
        extra += [f"{name}.{public}" for name, module in played_modules().items() if name in contract.modules
                  for public in offered(module) if public not in contract.names(name)]
    assert extra == []


@needs_contracts
@every_host
def test_functions_have_the_hosts_signature(host: str, contract: contracts.Contract, tmp_path: Path) -> None:
    """Functions take the same parameters with the same defaults as the host's."""
    wrong = []
    with standin.install(host=host, tmp_path=tmp_path):
        for name, module in played_modules().items():
            for public, value in offered(module).items():
                theirs = contract.signature(name, public) if inspect.isfunction(value) else None
                if theirs is not None and not agrees(shape(value), theirs):
                    wrong.append(f"{name}.{public}{inspect.signature(value)}")
                if inspect.isfunction(value) and theirs is None and public not in contract.modules[name].get("names", ()) \
                        and public not in contracts.RUNTIME_NAMES.get(name, ()):
                    wrong.append(f"{name}.{public} is no function of the host")
    assert wrong == []


@needs_contracts
@every_host
def test_classes_have_the_hosts_members(host: str, contract: contracts.Contract, tmp_path: Path) -> None:
    """Classes have no method, field or property that the host's have not, and their methods the same signature."""
    wrong = []
    with standin.install(host=host, tmp_path=tmp_path):
        for name, module in played_modules().items():
            for public, value in offered(module).items():
                if inspect.isclass(value) and contract.get_class(f"{name}:{public}") is not None:
                    wrong += [f"{name}.{public}.{problem}" for problem in class_problems(value, contract, f"{name}:{public}")]
    assert wrong == []


def class_problems(value: type, contract: contracts.Contract, reference: str) -> list[str]:
    """What a class of the stand-in has otherwise than the host's."""
    about = contract.get_class(reference)
    assert about is not None
    known = contract.attributes(reference)
    problems = []
    for name, member in vars(value).items():
        method = about.get("methods", {}).get(name)
        if method is not None and inspect.isfunction(member) and not agrees(shape(member), contracts.parse_signature(method)):
            problems.append(f"{name}{inspect.signature(member)} instead of {method}")
        if not name.startswith(("_", "model_")) and name not in known:  # pydantic 2 puts its own names, model_..., into its classes
            problems.append(f"{name} does not exist")
    return problems


@needs_contracts
@every_host
def test_jobs_take_the_hosts_fields(host: str, contract: contracts.Contract, tmp_path: Path) -> None:
    """Jobs are constructed with exactly the host's fields and defaults, in any order."""
    with standin.install(host=host, tmp_path=tmp_path) as world:
        for name in ("StableDiffusionProcessing", "StableDiffusionProcessingTxt2Img", "StableDiffusionProcessingImg2Img"):
            mine = {one.name: one.default for one in dataclasses.fields(getattr(world.module("processing"), name)) if one.init}
            theirs = contract.constructor(f"modules.processing:{name}")
            assert theirs is not None
            assert set(mine) == {one.name for one in theirs}
            wrong = [one.name for one in theirs
                     if not isinstance(mine[one.name], property) and not _field_agrees(mine[one.name], one.default)]
            assert wrong == []


def _field_agrees(mine: Any, theirs: str | None) -> bool:
    if theirs is None or theirs.startswith("field("):
        return True
    return bool(mine == ast.literal_eval(theirs))


@needs_contracts
@every_host
def test_instances_have_the_hosts_attributes(host: str, contract: contracts.Contract, tmp_path: Path) -> None:
    """What a finished job, its result, its sampler and denoiser hold is known to the host."""
    with standin.install(host=host, tmp_path=tmp_path) as world:
        processing = world.module("processing")
        p = processing.StableDiffusionProcessingTxt2Img(prompt="x", width=16, height=16, steps=1, seed=1, sampler_name="Euler",
                                                             do_not_save_samples=True)
        result = processing.process_images(p)
        sampler = world.module("sd_samplers").create_sampler("Euler", world.model)
        samples = [("modules.processing:StableDiffusionProcessingTxt2Img", p), ("modules.processing:Processed", result),
                   ("modules.sd_samplers_common:Sampler", sampler),
                   ("modules.sd_samplers_cfg_denoiser:CFGDenoiser", sampler.model_wrap_cfg),
                   ("modules.shared_state:State", world.shared.state), ("modules.rng:ImageRNG", p.rng),
                   ("modules.sd_models:CheckpointInfo", world.model.sd_checkpoint_info)]
        extra = [f"{reference}.{name}" for reference, instance in samples for name in vars(instance)
                 if not name.startswith("_") and name not in contract.attributes(reference)
                 and name not in ("training", "batch_index", "sd_model")]
    assert extra == []


@needs_contracts
@every_host
def test_options_have_the_hosts_defaults(host: str, contract: contracts.Contract, tmp_path: Path) -> None:
    """Every option of the stand-in is one of the host's, with the host's default where that is a literal."""
    with standin.install(host=host, tmp_path=tmp_path) as world:
        mine = world.option_defaults()
    assert sorted(set(mine) - set(contract.options)) == []
    assert [key for key, value in mine.items() if not _default_agrees(("is", value), contract.options[key])] == []


@needs_contracts
@every_host
def test_labels_are_the_hosts(host: str, contract: contracts.Contract, tmp_path: Path) -> None:
    """Samplers and schedulers have the host's names and labels, in the host's order."""
    with standin.install(host=host, tmp_path=tmp_path) as world:
        assert world.module("sd_samplers").visible_sampler_names() == contract.sampler_labels
        if contract.scheduler_labels:
            assert [(x.name, x.label) for x in world.module("sd_schedulers").schedulers] == contract.scheduler_labels
        else:
            with pytest.raises(ImportError):
                world.module("sd_schedulers")


@needs_contracts
def test_extension_uses_only_what_every_host_offers() -> None:
    """Names of the host in the extension's own sources exist on all five hosts, or are guarded."""
    sources = [*sorted((REPOSITORY / "detailer_webui").rglob("*.py")), *sorted((REPOSITORY / "scripts").glob("*.py"))]
    problems = contracts.check_usage(sources, contracts.load_all())
    assert problems == [], "\n".join(problems)


USES = [
    ("from modules import sd_schedulers", "modules.sd_schedulers is not there (on forge-classic)"),
    ("try:\n    from modules import sd_schedulers\nexcept ImportError:\n    sd_schedulers = None", ""),
    ("from modules import shared\nshared.opts.no_such_option", "shared.opts.no_such_option is no option"),
    ("from modules.shared import opts\nopts.upcast_attn", "(on forge-neo)"),
    ("from modules import shared\ngetattr(shared.opts, 'upcast_attn', False)", ""),
    ("from modules import shared\ngetattr(shared.opts, 'upcast_attn')", "(on forge-neo)"),
    ("from modules import shared\nif hasattr(shared.opts, 'upcast_attn'):\n    print(shared.opts.upcast_attn)", ""),
    ("from modules import shared\nshared.opts.add_option('mine', None)\nshared.opts.mine", ""),
    ("from modules import shared\nshared.state.skipped, shared.state.job_counter", "State.job_counter does not exist"),
    ("from modules import shared\nshared.cmd_opts.use_cpu", "shared.cmd_opts.use_cpu is not known"),
    ("import modules.shared\nmodules.shared.no_such_name", "modules.shared.no_such_name does not exist"),
    ("from modules.images import no_such_function", "modules.images.no_such_function does not exist"),
    ("from modules import masking\nmasking.get_crop_region_v2(None)", "(on forge-classic)"),
    ("from modules import no_such_module", "modules.no_such_module is in no contract"),
    ("def process(p):\n    return p.no_such_field", "no_such_field does not exist"),
    ("def process(p):\n    p.own_field = 1\n    return p.own_field, p._private, p.batch_size", ""),
    ("def process(p):\n    return p.scheduler", "(on forge-classic)"),
    ("from modules import processing\ndef f(job: processing.StableDiffusionProcessing):\n    job.nothing", "nothing does not exist"),
    ("from modules import processing\nclass A(processing.StableDiffusionProcessingImg2Img):\n    def init(self):\n"
     "        self.nowhere, self.mine\n    def mine(self):\n        return self.nmask", "nowhere does not exist"),
    ("from modules import processing\nprocessing.StableDiffusionProcessingImg2Img(scheduler='x')",
     "does not take scheduler (on forge-classic)"),
    ("from modules import processing\nprocessing.StableDiffusionProcessingImg2Img(**{'scheduler': 'x'})", ""),
    ("from modules import scripts\nscripts.PostprocessImageArgs(None)", "needs index (on forge, forge-neo)"),
    ("from modules import sd_samplers_common\nsd_samplers_common.store_latent()", "needs decoded"),
]


@needs_contracts
@pytest.mark.parametrize(("source", "expected"), USES, ids=range(len(USES)))
def test_check_usage_finds_what_is_missing(source: str, expected: str, tmp_path: Path) -> None:
    """A use that some host does not offer is reported with the hosts, once; a guarded one is not."""
    path = tmp_path / "used.py"
    path.write_text(source, encoding="utf-8")
    problems = contracts.check_usage([path], contracts.load_all())
    assert [expected in problem for problem in problems] == ([True] if expected else [])


def test_parse_signature_drops_annotations() -> None:
    """A signature is read with kinds and defaults, without annotations."""
    found = contracts.parse_signature("(self, x: int, *args, y: str='a', **kwargs)")
    assert [(one.name, one.kind, one.default) for one in found] == [
        ("self", "plain", None), ("x", "plain", None), ("args", "*", None), ("y", "keyword", "'a'"), ("kwargs", "**", None)]
