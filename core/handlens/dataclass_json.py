"""Dataclasses as JSON data, and back: they are checked against their annotations as they are read.

It knows strings, numbers, truth values, None, literals, tuples, dictionaries with strings as keys,
dataclasses of these, and every ``Text``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from abc import ABC, abstractmethod
from functools import cache
from typing import Any, Literal, TypeVar


class Text(ABC):
    """A dataclass that is a string in JSON: its ``str``."""

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Any:
        """The inverse of ``str``."""


def to_json(value: Any) -> dict[str, Any]:
    """A dataclass as a dictionary that ``json.dumps`` takes."""
    return {key: _written(getattr(value, key)) for key in _fields(value.__class__)}


def _written(value: Any) -> Any:
    if isinstance(value, Text):
        return str(value)
    if dataclasses.is_dataclass(value):
        return to_json(value)
    if isinstance(value, tuple):
        return tuple(map(_written, value))
    if isinstance(value, dict):
        return {key: _written(each) for key, each in value.items()}
    return value


_T = TypeVar("_T")


def from_json(kind: type[_T], data: Any) -> _T:
    """The ``kind`` that ``to_json`` made ``data`` of. Raises ValueError if ``data`` is of another shape."""
    try:
        return typing.cast(_T, _read(kind, data))
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a {kind.__name__}: {error!r}") from error


@cache
def _fields(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(kind: Any, data: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    # On Python 3.10 `tuple[str, ...]` is an instance of `type`, too.
    if origin is None and isinstance(kind, type) and issubclass(kind, Text):
        return kind.parse(data)
    if dataclasses.is_dataclass(kind):
        hints = _fields(typing.cast(type, kind))
        return kind(**{key: _read(hints[key], value) for key, value in data.items()})  # type: ignore[operator]
    if origin is tuple:
        kinds = [arguments[0]] * len(data) if arguments[-1] is Ellipsis else list(arguments)
        if isinstance(data, (str, dict)) or len(kinds) != len(data):
            raise TypeError(f"{data!r} is not a {kind}")
        return tuple(_read(each, value) for each, value in zip(kinds, data))
    if origin is dict:
        return {key: _read(arguments[1], value) for key, value in data.items()}
    if origin is Literal:
        if data not in arguments:
            raise TypeError(f"{data!r} is none of {arguments}")
        return data
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in arguments:
            return None
        kinds = [each for each in arguments if each is not type(None)]
        return _read(type(data) if type(data) in kinds else kinds[0], data)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise TypeError(f"{data!r} is not a {kind}")
    return data
