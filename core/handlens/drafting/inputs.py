"""Finds inputs that a model runs on: guesses from the parameters of ``forward``, corrected by what fails.

Where a layer refuses its input, the layer itself knows what it takes. If that input is one of the model's,
maybe in another view, it gets that shape. If it was computed, the sizes of the inputs are tried.
"""

from __future__ import annotations

import ast
import inspect
import json
import math
import re
import textwrap
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

_BUDGET_S = 20.0
_MOST_CORRECTIONS = 8
_SIDES = (64, 32, 28, 224, 96, 128, 16, 8, 48, 56, 84, 112, 160, 192, 256, 299, 320, 384, 512, 4)
_LENGTHS = (16, 64, 1024, 16_000, 32, 100, 128, 256, 400, 512, 1000, 4000, 8000, 44_100, 8)
_SPATIAL = {1: (1024,), 2: (64, 64), 3: (16, 32, 32)}
_CONVOLUTIONS = (
    (nn.Conv1d, 1), (nn.Conv2d, 2), (nn.Conv3d, 3),
    (nn.ConvTranspose1d, 1), (nn.ConvTranspose2d, 2), (nn.ConvTranspose3d, 3),
)  # fmt: skip


class NoInputs(Exception):
    """No inputs were found; the message says what failed last."""


@dataclass(frozen=True)
class Input:
    """What one input is made of: floats, whole numbers below ``below``, truth values, or a plain number."""

    shape: tuple[int, ...] = (1, 3, 64, 64)
    below: int | None = None
    is_mask: bool = False
    literal: str | None = None

    @property
    def code(self) -> str:
        sizes = ", ".join(map(str, self.shape))
        if self.literal is not None:
            return self.literal
        if self.is_mask:
            return f"torch.ones({sizes}, dtype=torch.bool)"
        if self.below is not None:
            return f"torch.randint(0, {self.below}, ({sizes}{',' * (len(self.shape) == 1)}))"
        return f"torch.randn({sizes})"

    def make(self) -> Any:
        if self.literal is not None:
            return ast.literal_eval(self.literal)
        if self.is_mask:
            return torch.ones(self.shape, dtype=torch.bool)
        if self.below is not None:
            return torch.randint(0, self.below, self.shape)
        return torch.randn(self.shape)


_TOKENS = Input((1, 16), below=100)
# What an input may be if no layer tells.
_OTHERS = (_TOKENS, Input((1, 16)), Input((1, 16, 64)), Input((1, 1, 16_000)), Input(literal="1"))

_Slot = tuple[str, str | None]
"""A parameter of ``forward``, and for one that is a mapping, a key of it."""
_Inputs = dict[_Slot, Input]


@dataclass(frozen=True)
class Found:
    """Code of the example inputs: a tuple, and a mapping of keyword arguments, which may be empty."""

    args: str
    kwargs: str = ""


@dataclass
class _Failure:
    """Why a run of the model failed."""

    error: Exception
    layer: nn.Module | None = None
    """The innermost layer that was running; None if the model's own code was."""
    given: Tensor | None = None
    """The first input of that layer."""
    slots: dict[int, _Slot] = field(default_factory=dict)
    """The inputs of the model by the address of their memory."""


def find_inputs(model: nn.Module) -> Found:
    """Code of inputs that a model runs on. Raises NoInputs."""
    search = _Search(model)
    try:
        inputs = search.find()
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        raise NoInputs(f"{type(error).__name__}: {line}") from error
    return search.code(inputs)


class _Search:
    """Runs a model on one guess after another, in the order in which failures lead to them."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._end = time.monotonic() + _BUDGET_S
        self._parameters = [*_required(model)]
        self._tried: set[str] = set()

    def find(self) -> _Inputs:
        """Inputs that the model runs on. Raises what it raised on the guesses."""
        inputs = dict(self._guesses())
        failure = self._run(inputs)
        if failure is None:
            return inputs
        found = self._corrected(inputs, failure, _MOST_CORRECTIONS)
        if found is None:
            raise failure.error
        return found

    def _corrected(self, inputs: _Inputs, failure: _Failure, most: int) -> _Inputs | None:
        """Inputs that the model runs on, with at most so many corrections; None if none were found."""
        for candidate in self._corrections(inputs, failure):
            if repr(candidate) in self._tried or time.monotonic() > self._end:
                continue
            following = self._run(candidate)
            if following is None:
                return candidate
            # What fails elsewhere has got further.
            is_elsewhere = most > 1 and not _is_same(failure, following)
            if is_elsewhere and (found := self._corrected(candidate, following, most - 1)):
                return found
        return None

    def code(self, inputs: _Inputs) -> Found:
        def of(parameter: inspect.Parameter) -> str:
            keys = {
                key: each.code for (name, key), each in inputs.items() if name == parameter.name
            }
            if None in keys:
                return keys[None]
            items = (f"{json.dumps(key)}: {code}" for key, code in keys.items())
            return f"{{{', '.join(items)}}}"

        by_keyword = [p for p in self._parameters if p.kind is p.KEYWORD_ONLY]
        args = [of(p) for p in self._parameters if p not in by_keyword]
        kwargs = [f'"{p.name}": {of(p)}' for p in by_keyword]
        listed = f"({', '.join(args)}{',' * (len(args) == 1)})"
        return Found(listed, f"{{{', '.join(kwargs)}}}" if kwargs else "")

    def _guesses(self) -> Iterator[tuple[_Slot, Input]]:
        keys = _keys(self._model, [each.name for each in self._parameters])
        for parameter in self._parameters:
            name = parameter.name
            for key in keys.get(name, (None,)):
                yield (name, key), _guess(key or name, parameter.annotation)

    def _run(self, inputs: _Inputs) -> _Failure | None:
        """Run the model. Returns why that failed, or None."""
        self._tried.add(repr(inputs))
        made = {slot: each.make() for slot, each in inputs.items()}
        args, kwargs = [], {}
        for parameter in self._parameters:
            of = {key: value for (name, key), value in made.items() if name == parameter.name}
            value = of.get(None, of)
            if parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        running: list[tuple[nn.Module, Any]] = []
        with _watched(self._model, running), torch.no_grad():
            try:
                self._model(*args, **kwargs)
            except Exception as error:
                layer, given = running[-1] if running else (None, None)
                slots = {
                    value.untyped_storage().data_ptr(): slot
                    for slot, value in made.items()
                    if isinstance(value, Tensor)
                }
                given = given if isinstance(given, Tensor) else None
                return _Failure(error, layer, given, slots)
        return None

    def _corrections(self, inputs: _Inputs, failure: _Failure) -> Iterator[_Inputs]:
        """Other inputs to try after a failure, the most likely ones first."""
        slot = None
        if failure.given is not None:
            slot = failure.slots.get(failure.given.untyped_storage().data_ptr())
        if slot is not None and failure.layer is not None:
            assert failure.given is not None
            for corrected in _as_taken(failure.layer, failure.given, inputs[slot]):
                yield {**inputs, slot: corrected}
        for each, given in inputs.items():
            yield from ({**inputs, each: other} for other in _other_sizes(given))
        for each, given in inputs.items():
            # Inputs that come together often have one shape.
            for other, theirs in inputs.items():
                if other != each and given.shape != theirs.shape:
                    yield {**inputs, other: replace(theirs, shape=given.shape)}
        for each in inputs:
            yield from ({**inputs, each: other} for other in _OTHERS)


@contextmanager
def _watched(model: nn.Module, running: list[tuple[nn.Module, Any]]) -> Iterator[None]:
    """Have ``running`` hold the layers that are running, each with its first input."""
    layers = [
        each
        for each in model.modules()
        if type(each).__module__.startswith("torch.nn.") or not any(each.children())
    ]

    def enter(layer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        running.append((layer, next(iter((*args, *kwargs.values())), None)))

    def leave(*_: Any) -> None:
        running.pop()

    hooks = [each.register_forward_pre_hook(enter, with_kwargs=True) for each in layers]
    hooks += [each.register_forward_hook(leave) for each in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_same(one: _Failure, other: _Failure) -> bool:
    """True if two runs failed at the same place for the same reason."""
    if one.layer is not other.layer:
        return False
    if one.layer is not None:
        return True
    return type(one.error) is type(other.error) and _where(one.error) == _where(other.error)


def _where(error: Exception) -> int:
    """The line of the innermost frame."""
    return traceback.extract_tb(error.__traceback__)[-1].lineno or 0


def _as_taken(layer: nn.Module, given: Tensor, source: Input) -> Iterator[Input]:
    """The input of a model as a layer takes it, which was given a view of it."""
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
        shape = source.shape if source.below is not None else _TOKENS.shape
        yield Input(shape, below=layer.num_embeddings)
        return
    for kind, spatial in _CONVOLUTIONS:
        if isinstance(layer, kind):
            channels = layer.in_channels
            if given.dim() > len(source.shape):
                # The model itself adds the channels.
                yield Input((1, *_SPATIAL[spatial]))
            if given.dim() != spatial + 2:
                yield Input((1, channels, *_SPATIAL[spatial]))
            yield from _with_size(source, given, 1, channels)
            return
    width = _width(layer)
    if width is not None:
        if given.dim() == 2 and len(source.shape) > 2:
            # What is flattened has to have so many values.
            for channels in (1, 3):
                side = math.isqrt(width // channels)
                if side * side * channels == width and len(source.shape) == 4:
                    yield replace(source, shape=(1, channels, side, side))
        yield Input((1, width))
        yield Input((1, 16, width))
        yield from _with_size(source, given, given.dim() - 1, width)


def _width(layer: nn.Module) -> int | None:
    """The size of the last dimension that a layer takes; None if it takes any, or another one counts."""
    for name in ("in_features", "input_size", "embed_dim", "d_model"):
        if isinstance(value := getattr(layer, name, None), int):
            return value
    if isinstance(layer, nn.LayerNorm):
        return int(layer.normalized_shape[-1])
    return None


def _with_size(source: Input, given: Tensor, dim: int, size: int) -> Iterator[Input]:
    """The input with a size in the dimension that is ``dim`` in what the layer was given."""
    if given.dim() != len(source.shape) or dim >= given.dim():
        return
    strides = torch.empty(source.shape).stride()
    same = [i for i, stride in enumerate(strides) if stride == given.stride(dim)]
    same = [i for i in same if source.shape[i] == given.shape[dim]]
    for each in same:
        shape = list(source.shape)
        shape[each] = size
        yield replace(source, shape=tuple(shape))


def _other_sizes(given: Input) -> Iterator[Input]:
    """An input with other sizes of its last dimensions, which are spatial or a length."""
    if given.literal is not None:
        return
    *first, last = given.shape
    if len(given.shape) == 4:
        for side in _SIDES:
            yield replace(given, shape=(*given.shape[:2], side, side))
        yield from (
            replace(given, shape=(given.shape[0], channels, *given.shape[2:]))
            for channels in (1, 3)
        )
    elif len(given.shape) == 3:
        for length in _LENGTHS:
            yield replace(given, shape=(*first, length))
            yield replace(given, shape=(first[0], length, last))
    elif len(given.shape) == 2:
        for length in _LENGTHS:
            yield replace(given, shape=(*first, length))


def _guess(name: str, annotation: Any) -> Input:
    literal = {int: "1", float: "1.0", bool: "True"}.get(annotation)
    if literal is not None:
        return Input(literal=literal)
    if "mask" in name:
        return Input((1, 16), is_mask=True)
    if re.search(r"(^|_)(ids?|idx|index|indices|tokens?)$", name):
        return _TOKENS
    return Input()


def _required(model: nn.Module) -> Iterator[inspect.Parameter]:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for each in inspect.signature(model.forward).parameters.values():
        if each.default is each.empty and each.kind not in variable:
            yield each


def _keys(model: nn.Module, names: Iterable[str]) -> Mapping[str, Sequence[str | None]]:
    """The keys that ``forward`` reads of each parameter that it uses as a mapping."""
    found: dict[str, list[str | None]] = {}
    with suppress(OSError, TypeError, SyntaxError):
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(model).forward)))
        for node in ast.walk(tree):
            name, key = _read_key(node)
            if name in names and key is not None and key not in found.setdefault(name, []):
                found[name].append(key)
    return found


def _read_key(node: ast.AST) -> tuple[str, str | None]:
    """The variable and the key of ``batch["key"]`` or ``batch.get("key")``."""
    value: Any = None
    key: Any = None
    if isinstance(node, ast.Subscript):
        value, key = node.value, node.slice
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and node.args
    ):
        value, key = node.func.value, node.args[0]
    if isinstance(value, ast.Name) and isinstance(key, ast.Constant) and isinstance(key.value, str):
        return value.id, key.value
    return "", None
