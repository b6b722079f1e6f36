"""From inputs as people write them to the arguments of the model's ``forward``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

Inputs = tuple[tuple[Any, ...], dict[str, Any]]

_SEQUENCE = re.compile(r"(typing\.)?(list|sequence|iterable|tuple)\b", re.IGNORECASE)


class Unreadable(Exception):
    """Inputs that ``forward`` does not accept; the message says what it accepts."""


def arranged(
    given: Any,
    model: torch.nn.Module,
    kwargs: Mapping[str, Any] | None = None,
    like: Inputs | None = None,
) -> Inputs:
    """The positional and keyword arguments for a call of ``model``, from inputs as somebody gave them.

    Args:
        given: a tensor, a tuple or list of arguments, a mapping of keyword arguments, or a pair of both:
            ``((x, y), {"mask": m})``. If several readings are possible (a list or a mapping may be an
            argument itself), the signature of ``forward`` decides.
        kwargs: more keyword arguments.
        like: for a batch, the example inputs. A reading with their structure is preferred.

    Raises Unreadable.
    """
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        signature = None
    more = dict(kwargs or {})
    readings = [
        (args, {**named, **more}) for args, named in _readings(given, signature, like is None)
    ]
    if like is not None:
        for each in readings:
            if _structure(each) == _structure(like):
                return each
    for args, named in readings:
        if signature is None or _binds(signature, args, named):
            return args, named
    takes = "" if signature is None else f" forward takes {signature}"
    raise Unreadable(takes.strip())


def arranged_with_more(batch: Any, model: torch.nn.Module, like: Inputs) -> Inputs:
    """Like ``arranged`` for a batch that may have more than the inputs, such as labels.

    The inputs are what has the structure of the example inputs ``like``: all of the batch, its first items,
    its first item, or the items of a mapping that have the names of the example's. Raises Unreadable.
    """
    for part in _parts(batch, like):
        with suppress(Unreadable):
            inputs = arranged(part, model, like=like)
            if _structure(inputs) == _structure(like):
                return inputs
    return arranged(batch, model, like=like)


def _parts(batch: Any, like: Inputs) -> Iterator[Any]:
    yield batch
    if isinstance(batch, Mapping):
        yield {name: batch[name] for name in like[1] if name in batch}
    elif isinstance(batch, (tuple, list)):
        for count in reversed(range(1, len(batch))):
            yield tuple(batch[:count])
        if batch and not isinstance(batch[0], torch.Tensor):
            yield batch[0]


def _readings(
    given: Any, signature: inspect.Signature | None, is_example: bool
) -> Iterator[Inputs]:
    """The ways to read inputs, the likeliest first."""
    if isinstance(given, Mapping):
        if all(isinstance(key, str) for key in given):
            yield (), dict(given)
        if is_example:
            yield (given,), {}
    elif isinstance(given, (tuple, list)):
        if is_example and signature is not None and _takes_one_sequence(signature):
            yield (given,), {}
        if len(given) == 2 and isinstance(given[1], Mapping):
            first, named = given[0], dict(given[1])
            if isinstance(first, (tuple, list)):
                yield tuple(first), named
            elif named and signature is not None and named.keys() <= signature.parameters.keys():
                yield (first,), named
        yield tuple(given), {}
        if isinstance(given, list) and is_example:
            yield (given,), {}
    else:
        yield (given,), {}


def _takes_one_sequence(signature: inspect.Signature) -> bool:
    """True if the only required argument of ``forward`` is annotated as a list or a tuple."""
    required = [
        each for each in signature.parameters.values() if each.default is inspect.Parameter.empty
    ]
    if len(required) != 1 or required[0].annotation is inspect.Parameter.empty:
        return False
    annotation = required[0].annotation
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return _SEQUENCE.match(name) is not None


def _binds(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _structure(inputs: Inputs) -> Any:
    args, kwargs = inputs
    return pytree.tree_structure((args, dict(sorted(kwargs.items()))))


def cloned(value: Any) -> Any:
    """Copy the tensors in a structure. A tensor that occurs twice is copied once."""
    known: dict[int, Tensor] = {}

    def copy_of(tensor: Tensor) -> Tensor:
        if id(tensor) not in known:
            known[id(tensor)] = tensor.clone()
        return known[id(tensor)]

    with torch.no_grad():
        return pytree.tree_map_only(Tensor, copy_of, value)
