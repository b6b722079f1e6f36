"""Where the float model itself begins to give NaN or Inf, and whether that matters.

An infinity is often intended, such as −Inf in a mask before a softmax. It matters once NaN is made of it,
or if it comes out of the model. NaN that the model replaces (``nan_to_num``, ``where``, ``masked_fill``) or
does not select is intended, too. It matters if it comes out of the model, or if it decides something: in a
comparison, in the index of a maximum, in a cast to integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from handlens.capture.handles import handle_of
from handlens.capture.nodes import bodies, graph_modules, op_name, operands, output, value_of
from handlens.failures.failing_ops import run_watched
from handlens.loading.inputs import Inputs

# Ops that test for NaN, or for equality, which NaN never has: torch.isfinite is exported as such tests.
_ASKS = {"isnan", "isinf", "isfinite", "isposinf", "isneginf", "signbit", "eq", "ne"}


@dataclass(frozen=True)
class Source:
    """An op, constant or input that gives NaN or Inf without having read any of that kind."""

    order: int
    """Its place in the order of the run."""
    value: Literal["NaN", "Inf", "-Inf"]
    node: Node
    count: int
    """How many of the ``values`` of ``node`` are NaN or Inf."""
    values: int
    of: frozenset[Source] = frozenset()
    """The infinities that went into NaN."""

    @property
    def is_op(self) -> bool:
        return handle_of(self.node) is not None

    @property
    def is_meant(self) -> bool:
        """True if an infinity was written down, in the model or its inputs, and not computed."""
        numbers = pytree.tree_leaves((self.node.args, self.node.kwargs))
        return not self.is_op or any(
            isinstance(each, float) and not math.isfinite(each) for each in numbers
        )


_NOTHING: frozenset[Source] = frozenset()


@dataclass
class _Sources:
    """The sources of the NaN and of the infinities in a value."""

    nan: frozenset[Source] = _NOTHING
    infinity: frozenset[Source] = _NOTHING


@dataclass
class Trace:
    """The sources of NaN and Inf in all values of one run of a graph."""

    mattering: list[Source] = field(default_factory=list)
    """The sources of NaN that matter, in the order of the run, then those of infinities."""
    readers: dict[Source, Node] = field(default_factory=dict)
    """By constant or input that holds NaN or Inf, the first op that hands it on."""
    _sources: dict[Node, _Sources] = field(default_factory=dict)

    def of(self, handle: int) -> list[Source]:
        """The sources of NaN and infinities in the output of an op, those of NaN first."""
        for node, found in self._sources.items():
            if handle_of(node) == handle:
                return [*_ordered(found.nan), *_ordered(found.infinity)]
        return []


def trace_non_finite(model: GraphModule, inputs: Inputs) -> Trace:
    """Run a float graph on copies of its inputs, and trace where NaN and Inf begin.

    Raises whatever the graph raises.
    """
    tracer = _Tracer(model)
    try:
        run_watched(model, inputs, tracer.record)
    finally:
        tracer.end()
    return tracer.trace


class _Tracer:
    def __init__(self, model: GraphModule) -> None:
        self.trace = Trace()
        self._model = model
        self._sources = self.trace._sources
        self._order = 0
        self._mattering: set[Source] = set()
        self._given_by = dict(_given_by(model))

    def record(self, node: Node, value: object) -> None:
        self._order += 1
        read = [self._sources[each] for each in self._read_by(node) if each in self._sources]
        nan = _NOTHING.union(*(each.nan for each in read))
        infinity = _NOTHING.union(*(each.infinity for each in read))
        if node.op == "output":
            if node.graph is self._model.graph:
                self._mattering |= nan | infinity
            self._sources[node] = _Sources(nan, infinity)
            return
        nans, infinities, sign, total = _counted(value)
        found = _Sources()
        if nans:
            found.nan = nan or frozenset({Source(self._order, "NaN", node, nans, total, infinity)})
        if infinities:
            found.infinity = infinity or frozenset(
                {Source(self._order, sign, node, infinities, total)}
            )
        for each in found.nan | found.infinity:
            if not each.is_op and handle_of(node) is not None:
                self.trace.readers.setdefault(each, node)
        if nan and not nans and _decides(node, value):
            self._mattering |= nan
        self._sources[node] = found

    def end(self) -> None:
        nan = [each for each in self._mattering if each.value == "NaN"]
        self.trace.mattering = [*_ordered(nan), *_ordered(self._mattering.difference(nan))]

    def _read_by(self, node: Node) -> Iterable[Node]:
        if node.op == "placeholder":
            return self._given_by.get(node, ())
        inside = [output(value_of(body)) for body in bodies(node)]
        return inside or node.all_input_nodes


def _ordered(sources: Iterable[Source]) -> list[Source]:
    return sorted(sources, key=lambda each: each.order)


def _given_by(model: GraphModule) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """Yields each input of a body and the nodes its value comes from: an operand, or a loop's last turn."""
    for graph_module in graph_modules(model):
        for node in graph_module.graph.nodes:
            for body in bodies(node):
                for placeholder, operand in operands(node, body):
                    given = (operand,) if isinstance(operand, Node) else ()
                    yield placeholder, (*given, output(value_of(body)))


def _counted(value: object) -> tuple[int, int, Literal["Inf", "-Inf"], int]:
    """How many NaN and infinities a value has, the name of the infinities, and how many numbers it has."""
    nans = infinities = positive = total = 0
    for each in pytree.tree_leaves(value):
        if not isinstance(each, Tensor) or each.layout != torch.strided:
            continue
        if not (each.is_floating_point() or each.is_complex()):
            continue
        total += each.numel()
        if bool(torch.isfinite(each).all()):
            continue
        nan = torch.isnan(each)
        infinite = torch.isinf(each) & ~nan
        nans += int(nan.sum())
        infinities += int(infinite.sum())
        positive += int((infinite & (each.real > 0)).sum())
    return nans, infinities, "-Inf" if infinities and not positive else "Inf", total


def _decides(node: Node, value: object) -> bool:
    """True if an op makes integers or truth values of its inputs without asking for NaN."""
    name = op_name(node)
    asks = name in _ASKS or name.startswith("new_") or name.endswith("_like")
    if asks or (name == "getitem" and not op_name(node.args[0])):  # type: ignore[arg-type]
        return False
    return any(
        not (each.is_floating_point() or each.is_complex())
        for each in pytree.tree_leaves(value)
        if isinstance(each, Tensor)
    )
