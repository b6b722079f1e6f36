"""Import the user's file from its text, saved or not, and take from it what a target says to run."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import linecache
import os
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType, ModuleType
from typing import Any

import torch

from handlens.targets import BOM, Target

Inputs = tuple[tuple[Any, ...], dict[str, Any]]

_KEYS = (
    "model",
    "example_inputs",
    "example_kwargs",
    "dynamic_shapes",
    "calibration",
    "evaluation",
    "recipe",
    "keep_float",
)


class InvalidTarget(Exception):
    """A target that does not give what it should; the message says what it gave and what to do."""


@dataclass(frozen=True)
class Subject:
    """What a target gives: the model, in evaluation mode, and what to run it on."""

    model: torch.nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    dynamic_shapes: Any = None
    calibration: Iterable[Any] = ()
    evaluation: Iterable[Any] = ()
    recipe: str | Callable[[], Any] | None = None
    keep_float: tuple[str | int, ...] = ()
    """Module paths and debug handles of what stays in float; a path stands for all that is below it."""

    def calibration_inputs(self) -> Iterator[Inputs]:
        """Raises InvalidTarget for a batch that is no tuple of inputs."""
        return (_inputs(batch, "calibration") for batch in self.calibration)

    def evaluation_inputs(self) -> Iterator[Inputs]:
        """Raises InvalidTarget for a batch that is no tuple of inputs."""
        return (_inputs(batch, "evaluation") for batch in self.evaluation)


def read(file: str) -> str:
    """The text of a Python file, in the encoding that it declares."""
    with tokenize.open(file) as stream:
        return stream.read()


class _UnsavedFinder(importlib.abc.MetaPathFinder):
    """Finds modules where they are, and executes the texts that an editor has of their files."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = {os.path.realpath(file): text for file, text in texts.items()}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        text = self._texts.get(os.path.realpath(spec.origin)) if spec and spec.origin else None
        if spec is None or spec.origin is None or text is None:
            return None
        remember(spec.origin, text)
        spec.loader = _UnsavedLoader(name, spec.origin, text)
        return spec


class _UnsavedLoader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._text.removeprefix(BOM), self.path, "exec", dont_inherit=True)


def remember(file: str, text: str) -> None:
    """Let tracebacks and spans quote a text that the disk may not have."""
    linecache.cache[file] = (len(text), None, io.StringIO(text, newline=None).readlines(), file)


def load(
    file: str, text: str, search: Iterable[str], unsaved: Mapping[str, str] | None = None
) -> ModuleType:
    """Execute ``text`` as the module that ``file`` is, with the module paths it expects.

    ``search`` are more folders to find its imports in; ``unsaved`` has the texts of those that are not
    to be read from disk. Raises whatever the user's code raises.
    """
    file = os.path.abspath(file)
    remember(file, text)
    if unsaved:
        sys.meta_path.insert(0, _UnsavedFinder(unsaved))
    root, name = _module_name(file)
    sys.path[:0] = [root]
    sys.path.extend(each for each in search if each not in sys.path)
    code = compile(text.removeprefix(BOM), file, "exec", dont_inherit=True)
    package = name.rpartition(".")[0]
    if package:
        importlib.import_module(package)
    # An editor's text need not be in a file that Python would import: a notebook, an untitled one.
    loader = importlib.machinery.SourceFileLoader(name, file)
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(code, module.__dict__)
    if package:
        setattr(sys.modules[package], name.rpartition(".")[2], module)
    return module


def _module_name(file: str) -> tuple[str, str]:
    """The folder from which a file is imported, and its dotted name from there."""
    folder, stem = os.path.dirname(file), os.path.splitext(os.path.basename(file))[0]
    parts = [stem]
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    name = ".".join(parts[:-1] if stem == "__init__" and len(parts) > 1 else parts)
    if name in sys.modules or name in sys.stdlib_module_names:
        # The file shares its name with something that is not to be replaced under everybody's feet.
        name = f"_handlens_target_{stem}"
    return folder, name


def build(target: Target, module: ModuleType) -> Subject:
    """What ``target`` gives. Raises InvalidTarget, and whatever the user's code raises."""
    if target.kind == "function":
        given = getattr(module, target.name)()
    elif target.kind == "class":
        model = getattr(module, target.name)()
        given = {"model": model, "example_inputs": model.example_inputs()}
    else:
        given = {
            key: value if key == "recipe" else _referenced(value)
            for key, value in target.references.items()
        }
        given["keep_float"] = target.keep_float
        for key in target.references.keys() - {"recipe"}:
            if callable(given[key]) and not isinstance(given[key], torch.nn.Module):
                given[key] = given[key]()
    return _subject(target.name, given)


def _referenced(reference: str) -> Any:
    module, _, names = reference.partition(":")
    value: Any = importlib.import_module(module)
    for name in names.split("."):
        if not hasattr(value, name):
            raise InvalidTarget(f"{reference!r}: {module} has no {names}")
        value = getattr(value, name)
    return value


def _subject(name: str, given: Any) -> Subject:
    expected = "return (model, example_inputs), or a mapping with those keys"
    if isinstance(given, Mapping):
        unknown = sorted(map(str, given.keys() - set(_KEYS)))
        if unknown:
            raise InvalidTarget(
                f"{name} has the unknown key {unknown[0]!r}; there are {', '.join(_KEYS)}"
            )
        values = dict(given)
    elif isinstance(given, tuple) and len(given) == 2:
        values = {"model": given[0], "example_inputs": given[1]}
    else:
        raise InvalidTarget(f"{name} returned {_kind(given)}: {expected}")
    if not isinstance(values.get("model"), torch.nn.Module):
        raise InvalidTarget(
            f"{name} gives {_kind(values.get('model'))} as its model, not a torch.nn.Module: {expected}"
        )
    if "example_inputs" not in values:
        raise InvalidTarget(f"{name} gives no example_inputs: {expected}")
    args, _ = _inputs(values["example_inputs"], "example_inputs")
    kwargs = dict(values.get("example_kwargs") or {})
    example = [(args, kwargs)]
    return Subject(
        values["model"].eval(),
        args,
        kwargs,
        values.get("dynamic_shapes"),
        _batches(name, "calibration", values.get("calibration"), example),
        _batches(name, "evaluation", values.get("evaluation"), example),
        values.get("recipe"),
        _keep_float(name, values.get("keep_float")),
    )


def _keep_float(name: str, given: Any) -> tuple[str | int, ...]:
    entries = () if given is None else given
    if not isinstance(entries, (list, tuple, set, frozenset)):
        raise InvalidTarget(
            f"{name} gives {_kind(given)} as keep_float: make it a list of module paths"
        )
    for each in entries:
        if not isinstance(each, (str, int)) or isinstance(each, bool):
            raise InvalidTarget(
                f"{name} has {_kind(each)} in keep_float: give module paths and debug handles"
            )
    return tuple(entries)


def _batches(name: str, key: str, given: Any, example: list[Inputs]) -> Iterable[Any]:
    if given is None:
        return example
    if isinstance(given, torch.Tensor) or not isinstance(given, Iterable):
        raise InvalidTarget(
            f"{name} gives {_kind(given)} as {key}: make it an iterable of input tuples"
        )
    return given


def _inputs(batch: Any, key: str) -> Inputs:
    if isinstance(batch, tuple) and len(batch) == 2 and isinstance(batch[1], dict):
        return tuple(batch[0]), batch[1]
    if isinstance(batch, torch.Tensor):
        return (batch,), {}
    if isinstance(batch, (tuple, list)):
        return tuple(batch), {}
    raise InvalidTarget(f"{key} has {_kind(batch)} where a tuple of inputs is expected")


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
