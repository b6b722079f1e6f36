"""Finds arguments with which a model class can be made."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# Sizes by what the names of parameters end with, the first that matches; small, so that models are.
_SIZES = (
    (r"(vocab|num_embeddings|vocab_size|n_vocab)", 100),
    (r"(in_channels|in_chans|in_ch|channels_in)", 3),
    (r"(classes|n_classes|num_classes|num_labels|n_out)", 10),
    (r"(heads|n_head|num_heads|nhead|groups|layers|n_layers|num_layers|depth|blocks|stages)", 2),
    (r"(kernel|kernel_size|k)", 3),
    (r"(stride|dilation|padding|repeats|scale|factor|ratio)", 1),
    (r"(length|max_len|seq_len|block_size|context|positions)", 64),
)
_SIZE = 16
_TEXT = {int: _SIZE, float: 0.1, bool: False, str: ""}
# If the sizes by name do not fit each other, all sizes are tried as one of these.
_ALL_AS = (None, 8, 16, 64, 3, 1)


class NotMade(Exception):
    """No arguments were found; the message says which one is missing, or what the class raised."""


def make(kind: type[Any], module: ModuleType) -> tuple[Any, str]:
    """An instance of a class, and the code that makes it in a module. Raises NotMade."""
    problem = NotMade(f"{kind.__name__} cannot be made")
    for size in _ALL_AS:
        try:
            return _made(kind, module, size)
        except NotMade:
            raise
        except Exception as error:
            line = (str(error).splitlines() or [""])[0]
            problem = NotMade(f"{kind.__name__} raised {type(error).__name__}: {line}")
            if not _has_sizes(kind):
                break
    raise problem


def _made(kind: type[Any], module: ModuleType, size: int | None) -> tuple[Any, str]:
    values, codes = {}, []
    for parameter in _required(kind):
        value, code = _value(parameter, _annotation(kind, parameter), module, size)
        values[parameter.name] = value
        codes.append(
            code if parameter.kind is parameter.POSITIONAL_ONLY else f"{parameter.name}={code}"
        )
    positional = [p.name for p in _required(kind) if p.kind is p.POSITIONAL_ONLY]
    args = [values.pop(name) for name in positional]
    return kind(*args, **values), f"{_named(kind, module)}({', '.join(codes)})"


def _required(kind: type[Any]) -> Iterator[inspect.Parameter]:
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for each in inspect.signature(kind).parameters.values():
        if each.default is each.empty and each.kind not in variable:
            yield each


def _has_sizes(kind: type[Any]) -> bool:
    return any(True for _ in _required(kind))


def _annotation(kind: type[Any], parameter: inspect.Parameter) -> Any:
    try:
        given = typing.get_type_hints(kind.__init__).get(parameter.name, parameter.annotation)
    except Exception:
        # An annotation may name what is imported for type checkers only.
        given = parameter.annotation
    union = [each for each in typing.get_args(given) if each is not type(None)]
    return union[0] if len(union) == 1 and type(None) in typing.get_args(given) else given


def _value(
    parameter: inspect.Parameter, annotation: Any, module: ModuleType, size: int | None
) -> tuple[Any, str]:
    """A value for a parameter, and its code."""
    name, origin = parameter.name, typing.get_origin(annotation)
    if origin in (list, tuple):
        elements = [each for each in typing.get_args(annotation) if each is not ...]
        count = len(elements) if origin is tuple and ... not in typing.get_args(annotation) else 2
        value: Any = [_size(name, size)] * max(1, count)
        return (value, repr(value)) if origin is list else (tuple(value), repr(tuple(value)))
    if annotation in (float, bool, str):
        return _TEXT[annotation], repr(_TEXT[annotation])
    if annotation is int or annotation is parameter.empty:
        if annotation is parameter.empty and re.search(r"(config|cfg|args|opt)$", name):
            return _configured(name, module, size)
        value = _size(name, size)
        return value, repr(value)
    if isinstance(annotation, type):
        try:
            return _made(annotation, module, size)
        except NotMade:
            raise
        except Exception as error:
            raise NotMade(f"`{name}`, a {annotation.__name__}") from error
    raise NotMade(f"`{name}`, of which the type is not known")


def _configured(name: str, module: ModuleType, size: int | None) -> tuple[Any, str]:
    """The only configuration class of the module."""
    found = [
        each
        for each in vars(module).values()
        if dataclasses.is_dataclass(each)
        and isinstance(each, type)
        and each.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise NotMade(f"`{name}`")
    return _made(found[0], module, size)


def _size(name: str, size: int | None) -> int:
    if size is not None:
        return size
    return next((value for pattern, value in _SIZES if re.search(f"{pattern}$", name)), _SIZE)


def _named(kind: type[Any], module: ModuleType) -> str:
    """What a class is called in a module."""
    for name, value in vars(module).items():
        if value is kind:
            return name
    for name, value in vars(module).items():
        if isinstance(value, ModuleType) and getattr(value, kind.__name__, None) is kind:
            return f"{name}.{kind.__name__}"
    raise NotMade(f"{kind.__name__}, which {module.__name__} does not import")
