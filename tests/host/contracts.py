"""Reads what each host offers, and finds what the extension uses that some host does not offer.

The files say, per host: its modules with functions, classes and names, its options and labels. They lie outside of the
repository; tests skip where they are absent. Names that a host makes at run time are not in them: see `RUNTIME_NAMES`.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

HOST_NAMES = ("a1111-1.10.1", "forge", "reforge", "forge-classic", "forge-neo")
FOLDER = Path(os.environ.get("DETAILER_WEBUI_CONTRACTS") or Path(__file__).resolve().parents[3] / "shared" / "webui-contracts")
"""Where the files lie; the environment variable names another place."""

RUNTIME_NAMES: dict[str, dict[str, str]] = {
    "modules.devices": dict.fromkeys(
        ("randn", "randn_local", "randn_like", "randn_without_seed", "manual_seed"), "modules.rng sets them when it is imported"),
    "modules.shared": {"cmd_opts": "parsed from the command line", "sd_model": "a property of the module's class",
                       "hide_dirs": "imported", "total_tqdm": "set on start"},
    "modules.shared:cmd_opts": dict.fromkeys(
        ("api", "ckpt_dir", "data_dir", "embeddings_dir", "listen", "models_dir", "no_prompt_history", "share"),
        "options of the command line that all hosts share"),
}
"""Names that exist on a running host although no source file defines them there, with the reason."""

UNREAD_MODULES = {"modules.call_queue": "its `queue_lock` is what every host's web server gives to its API"}
"""Modules that every host has although the files do not tell of them, with the reason."""

_JOBS = ("modules.processing:StableDiffusionProcessing", "modules.processing:StableDiffusionProcessingTxt2Img",
         "modules.processing:StableDiffusionProcessingImg2Img")
_JOB_RUNTIME = {"batch_index": "set while pictures are finished", "__class__": "Python", "__dict__": "Python"}
_BY_PARAMETER = {"p": _JOBS, "processed": ("modules.processing:Processed",), "mba": ("modules.scripts:MaskBlendArgs",)}
_BY_NAME = {"modules.shared:state": ("modules.shared_state:State",), "modules.shared:total_tqdm": ("modules.shared_total_tqdm:TotalTQDM",)}
_OPTIONS_CLASS = "modules.options:Options"
_TOLERANT = {"ImportError", "ModuleNotFoundError", "AttributeError", "Exception", "TypeError"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a signature; `default` is source text, None if there is none."""

    name: str
    kind: str
    default: str | None


def parse_signature(text: str) -> list[Parameter]:
    """The parameters of a signature such as `(self, x, *args, y=1)`; annotations are dropped."""
    function = ast.parse(f"def f{text}: pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    args = function.args
    plain = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [*[None] * (len(plain) - len(args.defaults)), *args.defaults]
    result = [Parameter(arg.arg, "plain", _source(default)) for arg, default in zip(plain, defaults, strict=True)]
    if args.vararg:
        result.append(Parameter(args.vararg.arg, "*", None))
    result += [Parameter(arg.arg, "keyword", _source(value)) for arg, value in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        result.append(Parameter(args.kwarg.arg, "**", None))
    return result


def _source(node: ast.expr | None) -> str | None:
    return None if node is None else ast.unparse(node)


@dataclass(frozen=True)
class Contract:
    """What one host offers. `modules` is the file's own structure."""

    host: str
    modules: dict[str, dict[str, Any]]
    options: dict[str, str]
    sampler_labels: list[str]
    scheduler_labels: list[tuple[str, str]]
    pins: dict[str, str | None] = field(default_factory=dict)

    def has_module(self, module: str) -> bool:
        """Whether the host has the module (or package) of that name."""
        return module in self.modules or any(name.startswith(f"{module}.") for name in self.modules)

    def names(self, module: str) -> set[str]:
        """Every name that the module offers, submodules and run-time names included."""
        found = self.modules.get(module, {})
        names = {name for part in ("functions", "classes", "constants", "names") for name in found.get(part, ())}
        names |= {name[len(module) + 1:].split(".")[0] for name in self.modules if name.startswith(f"{module}.")}
        return names | set(RUNTIME_NAMES.get(module, ())) if names else names

    def signature(self, module: str, name: str) -> list[Parameter] | None:
        """The parameters of a function, or None if it is not known as a function."""
        text = self.modules.get(module, {}).get("functions", {}).get(name)
        return None if text is None else parse_signature(text)

    def get_class(self, reference: str) -> dict[str, Any] | None:
        """The class `module:name`, or None."""
        module, name = reference.split(":")
        return self.modules.get(module, {}).get("classes", {}).get(name)

    def class_tree(self, reference: str) -> Iterator[dict[str, Any]]:
        """The class and its bases of the same module, the class first."""
        found = self.get_class(reference)
        if found is not None:
            yield found
            for base in found.get("bases", ()):
                yield from self.class_tree(f"{reference.split(':')[0]}:{base}")

    def attributes(self, reference: str) -> set[str]:
        """Every attribute of a class's instances, those of its bases in the same module included."""
        parts = ("fields", "methods", "properties", "instance_attributes")
        return {name for found in self.class_tree(reference) for part in parts for name in found.get(part, ())}

    def is_open(self, reference: str) -> bool:
        """Whether the class has a base that the contract does not describe, so that not all of its attributes are known."""
        module = reference.split(":")[0]
        return any(self.get_class(f"{module}:{base}") is None for found in self.class_tree(reference) for base in found.get("bases", ()))

    def constructor(self, reference: str) -> list[Parameter] | None:
        """The parameters of a class's constructor without `self`; None if it is not known."""
        tree = list(self.class_tree(reference))
        for found in tree:
            if "__init__" in found.get("methods", {}):
                return parse_signature(found["methods"]["__init__"])[1:]
        if not tree or not any("dataclass" in mark for mark in tree[0].get("decorators", ())):
            return None
        fields: dict[str, Parameter] = {}
        for found in reversed(tree):
            for name, about in found.get("fields", {}).items():
                if about["type"] is not None and "init=False" not in (about["default"] or ""):
                    fields[name] = Parameter(name, "plain", about["default"])
        return list(fields.values())


def available() -> bool:
    """Whether the files are there."""
    return all((FOLDER / f"{host}.json").is_file() for host in HOST_NAMES)


def load(host: str) -> Contract:
    """What a host offers.

    Raises: FileNotFoundError if its file is absent.
    """
    data = json.loads((FOLDER / f"{host}.json").read_text(encoding="utf-8"))
    return Contract(host=host, modules=data["modules"], options=dict(data["options"]), sampler_labels=data["sampler_labels"],
                    scheduler_labels=[(name, label) for name, label in data["scheduler_labels"]], pins=data["pins"])


def load_all() -> list[Contract]:
    """What every host offers."""
    return [load(host) for host in HOST_NAMES]


def check_usage(source_files: Iterable[Path | str], contracts: Sequence[Contract]) -> list[str]:
    """What the sources use that some host does not offer, as `file:line: what, on which hosts`.

    Seen are: imports of `modules...`, attributes of imported modules and classes, `shared.opts.KEY`, `shared.state.X`,
    attributes of `p`, `processed`, `mba` and of `self` in subclasses of jobs, and arguments of calls of what was imported.
    Not reported is what is guarded: in a `try` that catches ImportError or AttributeError, after `hasattr`, by `getattr`
    with a default, or under TYPE_CHECKING. Attributes that the sources set themselves count as known.
    """
    trees = [(str(path), ast.parse(Path(path).read_text(encoding="utf-8"))) for path in source_files]
    own = _OwnNames(tree for _, tree in trees)
    problems: list[str] = []
    for path, tree in trees:
        finder = _UsageFinder(path, contracts, own)
        finder.visit(tree)
        problems += finder.problems
    return sorted(set(problems))


class _OwnNames:
    """What the sources define themselves: attributes that they set on jobs, options that they register."""

    def __init__(self, trees: Iterable[ast.Module]) -> None:
        self.attributes: set[str] = set()
        self.options: set[str] = set()
        for tree in trees:
            for node in ast.walk(tree):
                self._note(node)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            self.attributes.add(node.attr)
        elif isinstance(node, ast.Call):
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name == "setattr":
                self.attributes.update(texts)
            elif name == "add_option":
                self.options.update(texts)


class _UsageFinder(ast.NodeVisitor):
    """Walks one file. A name is known as "module", "module:name" or, for options, as `_OPTIONS`."""

    def __init__(self, path: str, contracts: Sequence[Contract], own: _OwnNames) -> None:
        self.problems: list[str] = []
        self._path, self._contracts, self._own = path, contracts, own
        self._known: dict[str, str] = {}
        self._typed: list[dict[str, tuple[str, ...]]] = [{}]
        self._own_class: list[set[str]] = []
        self._tolerated: list[set[str] | None] = []

    @cached_property
    def _all_modules(self) -> set[str]:
        return {module for contract in self._contracts for module in contract.modules}

    # what is tolerated

    def _guarded(self, name: str) -> bool:
        return any(names is None or name in names for names in self._tolerated)

    def _within(self, guard: set[str] | None, nodes: Iterable[ast.AST]) -> None:
        self._tolerated.append(guard)
        for node in nodes:
            self.visit(node)
        self._tolerated.pop()

    def visit_Try(self, node: ast.Try) -> None:
        """A `try` that catches a missing name guards its body."""
        caught = {part for handler in node.handlers for part in _exception_names(handler.type)}
        self._within(None if caught & _TOLERANT else set(), node.body)
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_With(self, node: ast.With) -> None:
        """`suppress(AttributeError)` guards its body."""
        caught = {name for item in node.items if isinstance(item.context_expr, ast.Call)
                  for argument in item.context_expr.args for name in _exception_names(argument)}
        for item in node.items:
            self.visit(item)
        self._within(None if caught & _TOLERANT else set(), node.body)

    def visit_If(self, node: ast.If) -> None:
        """`if hasattr(x, "name")` guards the name; nothing counts under TYPE_CHECKING, except that names become known."""
        if "TYPE_CHECKING" in ast.unparse(node.test):
            self._within(None, (*node.body, *node.orelse))
        else:
            self.visit(node.test)
            self._within(_tested_names(node.test), (*node.body, *node.orelse))

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """The same for `a if hasattr(x, "name") else b`."""
        self._within(_tested_names(node.test), (node.test, node.body, node.orelse))

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """The same for `hasattr(x, "name") and x.name`."""
        self._within(_tested_names(node), node.values)

    # what names mean

    def visit_Import(self, node: ast.Import) -> None:
        """`import modules.x as y`."""
        for alias in node.names:
            if alias.name.split(".")[0] == "modules":
                self._require_module(alias.name, node)
                self._known[alias.asname or "modules"] = alias.name if alias.asname else "modules"

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from modules.x import y`."""
        if node.level or (node.module or "").split(".")[0] != "modules":
            return
        assert node.module is not None
        if node.module != "modules":
            self._require_module(node.module, node)
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            if submodule in self._all_modules:
                self._require_module(submodule, node)
                self._known[alias.asname or alias.name] = submodule
            elif node.module == "modules" and submodule not in UNREAD_MODULES:
                self._report(node, submodule, "is in no contract", self._contracts)
            elif node.module != "modules":
                self._require_name(node.module, alias.name, node)
                self._known[alias.asname or alias.name] = f"{node.module}:{alias.name}"

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Parameters named `p`, `processed`, `mba`, or annotated with a class of the host, are instances of it."""
        self._visit_function(node, ())

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """The same for a coroutine."""
        self._visit_function(node, ())

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, self_classes: tuple[str, ...]) -> None:
        typed = dict(self._typed[-1])
        for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
            classes = self._parameter_classes(arg)
            if classes:
                typed[arg.arg] = classes
            else:
                typed.pop(arg.arg, None)
        if self_classes and node.args.args:
            typed[node.args.args[0].arg] = self_classes
        self._typed.append(typed)
        self.generic_visit(node)
        self._typed.pop()

    def _parameter_classes(self, arg: ast.arg) -> tuple[str, ...]:
        meant = self._resolve(arg.annotation) if arg.annotation is not None else None
        if meant is not None and ":" in meant:
            return _JOBS if meant == _JOBS[0] else (meant,)
        plain = arg.annotation is None or ast.unparse(arg.annotation) in ("Any", "object")
        return _BY_PARAMETER.get(arg.arg, ()) if plain else ()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """`self` in a subclass of a host's class has that class's attributes, and the subclass's own."""
        bases = tuple(meant for meant in map(self._resolve, node.bases) if meant is not None and ":" in meant)
        self._own_class.append(_class_names(node))
        for part in (*node.decorator_list, *node.bases, *node.keywords, *node.body):
            if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)) and "staticmethod" not in map(ast.unparse, part.decorator_list):
                self._visit_function(part, bases)
            else:
                self.visit(part)
        self._own_class.pop()

    def _resolve(self, node: ast.expr | None) -> str | None:
        """What an expression means, as "module" or "module:name", or None."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                return self._resolve(ast.parse(node.value, mode="eval").body)
            except SyntaxError:
                return None
        if isinstance(node, ast.Name):
            return self._known.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        owner = self._resolve(node.value)
        if owner is None or ":" in owner:
            return None
        submodule = f"{owner}.{node.attr}"
        return submodule if submodule in self._all_modules or any(x.startswith(f"{submodule}.") for x in self._all_modules) \
            else f"{owner}:{node.attr}"

    # what is checked

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """An attribute that is read must exist."""
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            self._require_attribute(node.value, node.attr, node)

    def visit_Call(self, node: ast.Call) -> None:
        """A call must fit the signature; `getattr` without a default reads an attribute."""
        self.generic_visit(node)
        is_getattr = isinstance(node.func, ast.Name) and node.func.id == "getattr"
        if is_getattr and len(node.args) == 2 and isinstance(node.args[1], ast.Constant):
            self._require_attribute(node.args[0], str(node.args[1].value), node)
        meant = self._resolve(node.func)
        if meant is not None and ":" in meant:
            self._require_fit(meant, node)

    def _require_attribute(self, owner: ast.expr, name: str, node: ast.AST) -> None:
        if name.startswith("__"):
            return
        meant = self._resolve(owner)
        if meant is not None and ":" not in meant:
            submodule = f"{meant}.{name}"
            self._require_module(submodule, node) if submodule in self._all_modules else self._require_name(meant, name, node)
        elif meant == "modules.shared:opts":
            self._require_option(name, node)
        elif meant == "modules.shared:cmd_opts":
            if name not in RUNTIME_NAMES[meant]:
                self._report(node, f"shared.cmd_opts.{name}", "is not known to exist on every host", self._contracts)
        elif meant is not None:
            self._require_member(_BY_NAME.get(meant, (meant,)), name, node)
        elif isinstance(owner, ast.Name) and owner.id in self._typed[-1]:
            own = self._own_class[-1] if self._own_class and owner.id == "self" else set()
            if name not in own:
                self._require_member(self._typed[-1][owner.id], name, node)

    def _require_module(self, module: str, node: ast.AST) -> None:
        if module not in UNREAD_MODULES:
            self._report(node, module, "is not there", [x for x in self._contracts if not x.has_module(module)])

    def _require_name(self, module: str, name: str, node: ast.AST) -> None:
        if module != "modules":
            lacking = [x for x in self._contracts if x.has_module(module) and name not in x.names(module)]
            self._report(node, f"{module}.{name}", "does not exist", lacking)

    def _require_option(self, name: str, node: ast.AST) -> None:
        if name in self._own.options:
            return
        lacking = [x for x in self._contracts if name not in x.options and name not in x.attributes(_OPTIONS_CLASS)]
        self._report(node, f"shared.opts.{name}", "is no option", lacking)

    def _require_member(self, classes: tuple[str, ...], name: str, node: ast.AST) -> None:
        if name in _JOB_RUNTIME or name in self._own.attributes or name.startswith("_"):
            return
        # a reference that no contract knows as a class is a function or a plain value: nothing is known of its attributes
        knowing = [x for x in self._contracts
                   if any(x.get_class(one) is not None for one in classes) and not any(map(x.is_open, classes))]
        lacking = [x for x in knowing if not any(name in x.attributes(one) for one in classes)]
        self._report(node, f"{classes[-1].split(':')[1]}.{name}", "does not exist", lacking)

    def _require_fit(self, meant: str, node: ast.Call) -> None:
        module, name = meant.split(":")
        lacking: dict[str, list[Contract]] = {}
        for contract in self._contracts:
            parameters = contract.signature(module, name) or contract.constructor(meant)
            complaint = "" if parameters is None else _misfit(parameters, node)
            if complaint:
                lacking.setdefault(complaint, []).append(contract)
        for complaint, hosts in lacking.items():
            self._report(node, f"{name}(...)", complaint, hosts)

    def _report(self, node: ast.AST, what: str, complaint: str, lacking: Sequence[Contract]) -> None:
        if lacking and not self._guarded(what.split(".")[-1]):
            hosts = ", ".join(contract.host for contract in lacking)
            self.problems.append(f"{self._path}:{getattr(node, 'lineno', 0)}: {what} {complaint} (on {hosts}); guard it")


def _exception_names(node: ast.expr | None) -> set[str]:
    """The names of caught exceptions; a bare `except` catches everything."""
    if node is None:
        return {"Exception"}
    return {part.attr if isinstance(part, ast.Attribute) else part.id
            for part in ast.walk(node) if isinstance(part, (ast.Attribute, ast.Name))}


def _class_names(node: ast.ClassDef) -> set[str]:
    """What a class body defines: methods, fields and plain names."""
    names = {part.name for part in node.body if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))}
    targets = [target for part in node.body if isinstance(part, ast.Assign) for target in part.targets]
    targets += [part.target for part in node.body if isinstance(part, ast.AnnAssign)]
    return names | {target.id for target in targets if isinstance(target, ast.Name)}


def _tested_names(test: ast.expr) -> set[str]:
    """The names that a condition asks `hasattr` for."""
    return {str(part.args[1].value) for part in ast.walk(test)
            if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == "hasattr"
            and len(part.args) == 2 and isinstance(part.args[1], ast.Constant)}


def _misfit(parameters: list[Parameter], call: ast.Call) -> str:
    """Why a call does not fit a signature, or ""; what `*` and `**` bring along is not known and fits."""
    starred = any(isinstance(arg, ast.Starred) for arg in call.args)
    double_starred = any(keyword.arg is None for keyword in call.keywords)
    names = {one.name for one in parameters if one.kind in ("plain", "keyword")}
    given = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
    kinds = {one.kind for one in parameters}
    plain = [one for one in parameters if one.kind == "plain"]
    if "**" not in kinds and given - names:
        return f"does not take {', '.join(sorted(given - names))}"
    if "*" not in kinds and not starred and len(call.args) > len(plain):
        return f"takes only {len(plain)} positional arguments"
    needed = {one.name for one in plain[len(call.args):] if one.default is None}
    needed |= {one.name for one in parameters if one.kind == "keyword" and one.default is None}
    if needed - given and not starred and not double_starred:
        return f"needs {', '.join(sorted(needed - given))}"
    return ""
