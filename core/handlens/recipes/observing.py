"""The range of values that each observer sees in calibration, before it clips or averages them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from handlens.capture.handles import handle_of
from handlens.capture.nodes import is_observer

Range = tuple[float, float] | None
"""The smallest and the largest finite value; None if there was none."""


@contextmanager
def observing(
    prepared: GraphModule, known: Mapping[nn.Module, Range]
) -> Iterator[dict[nn.Module, Range]]:
    """Note the ranges that the observers of activations see while the block runs a prepared graph.

    Args:
        known: What some observers saw already.
    """
    seen = {each: known.get(each) for each in dict(_places(prepared)).values()}

    def see(observer: nn.Module, given: tuple[Any, ...]) -> None:
        value = given[0].detach() if isinstance(given[0], Tensor) else torch.empty(0)
        ends = _ends(value)
        if ends is not None and not all(map(math.isfinite, ends)):
            ends = _ends(value[value.isfinite()])
        if ends is not None:
            before = seen[observer] or ends
            seen[observer] = min(ends[0], before[0]), max(ends[1], before[1])

    hooks = [each.register_forward_pre_hook(see) for each in seen]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def by_place(prepared: GraphModule, seen: Mapping[nn.Module, Range]) -> dict[int | str, Range]:
    """The ranges by the handle of the op whose output is observed, or by the name of the model's input.

    Ops that share an observer have the same range.
    """
    return {place: seen[observer] for place, observer in _places(prepared)}


def _ends(value: Tensor) -> Range:
    if not value.numel():
        return None
    low, high = torch.aminmax(value)
    return float(low), float(high)


def _places(prepared: GraphModule) -> Iterator[tuple[int | str, nn.Module]]:
    for node in prepared.graph.nodes:
        if is_observer(node):
            source = node.args[0]
            while is_observer(source):
                source = source.args[0]
            place = str(source.target) if source.op == "placeholder" else _handle(source)
            if place is not None:
                yield place, attrgetter(node.target)(prepared)


def _handle(source: Node) -> int | None:
    return None if source.op == "get_attr" else handle_of(source)
