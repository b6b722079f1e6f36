"""Runs many graphs that differ little on one batch, and computes only what differs.

The value of a node is known by what it is computed from: its op, and the values that it reads. The results
of one graph are held; another graph begins where it first computes something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    bodies,
    is_dequantize,
    is_quantize,
    is_quantize_or_dequantize,
    output,
    placeholders,
    value_of,
)
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.comparison.memory import Memory, state_restored, written_by
from handlens.comparison.ops import has_effect, is_random
from handlens.comparison.quantized_values import constant_value
from handlens.comparison.quantizers import fake_quantizer
from handlens.comparison.random_state import RandomState
from handlens.loading.inputs import Inputs, cloned


def outputs(model: GraphModule, inputs: Inputs, start: RandomState) -> list[Any]:
    """The leaves of the outputs of a graph for one batch; its state and the batch stay as they are."""
    start.restore()
    args, kwargs = cloned(inputs)
    with state_restored(model), torch.no_grad():
        leaves: list[Any] = cloned(pytree.tree_leaves(model(*args, **kwargs)))
        return leaves


def can_be_reused(model: GraphModule) -> bool:
    """True if the results of a graph's ops depend on what they read alone.

    An op may change an input in place if nothing reads the memory of that input afterwards.
    """
    effects = [node for node in model.graph.nodes if has_effect(node)]
    memory = Memory(model) if effects else None
    for node in effects:
        assert memory is not None
        written = written_by(node)
        if not written or is_random(node) or bodies(node):
            return False
        for source in written:
            for name in memory.names(source):
                later = (each for each in name.users if memory.precedes(node, each))
                if not _comes_from(name, node) and any(each is not node for each in later):
                    return False
    return True


def _comes_from(name: Node, writer: Node) -> bool:
    """True if a node names what ``writer`` writes as the result of ``writer``, or as a view of that."""
    pending, seen = [name], set()
    while pending:
        node = pending.pop()
        if node is writer:
            return True
        if node not in seen:
            seen.add(node)
            pending += node.all_input_nodes
    return False


class Numbering:
    """Numbers the nodes of graphs: nodes that compute the same have the same number."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._named: list[Any] = []
        """What is known by its identity must not be freed."""

    def of(self, model: GraphModule) -> dict[Node, int]:
        """The numbers of the nodes of a graph."""
        numbers: dict[Node, int] = {}
        for index, node in enumerate(model.graph.nodes):
            key: Hashable
            if node.op == "placeholder":
                key = "placeholder", index
            elif node.op == "get_attr":
                key = self._constant(value_of(node))
            else:
                arguments = _hashable((node.args, node.kwargs), numbers)
                key = node.op, node.target, arguments
            numbers[node] = self._numbers.setdefault(key, len(self._numbers))
        return numbers

    def _constant(self, value: Any) -> Hashable:
        if isinstance(value, GraphModule):
            return "body", self.of(value)[output(value)]
        self._named.append(value)
        return "constant", id(value)


class Evaluator:
    """The outputs of graphs on one batch."""

    def __init__(self, inputs: Inputs, start: RandomState) -> None:
        self.leaves = pytree.tree_leaves(inputs)
        """The inputs of the graphs."""
        self._inputs, self._start = inputs, start
        self._constants: dict[int, Any] = {}
        """By number, the values of nodes that depend on constants alone."""
        self._fused: dict[int, FakeQuantizer | None] = {}
        """By number of a dequantize node, what computes it together with its quantize node."""
        self._held: dict[int, Any] = {}

    def outputs(self, model: GraphModule, numbers: dict[Node, int] | None) -> list[Any]:
        """The leaves of the outputs of a graph, whose nodes have these numbers.

        Without numbers, nothing is reused; they may be given if ``can_be_reused`` is true for the graph.
        """
        if numbers is None:
            return outputs(model, self._inputs, self._start)
        return _Run(self, model, numbers).outputs()

    def hold(self, model: GraphModule, numbers: dict[Node, int]) -> list[Any]:
        """Hold the results of a graph's ops from now on, instead of those that were held.

        ``can_be_reused`` must be true for the graph. Quantized values are not held: they are quickly
        computed. Returns the leaves of the outputs.
        """
        results: dict[int, Any] = {}
        leaves = _Run(self, model, numbers).outputs(results)
        self._held = results
        return leaves

    def values(self, model: GraphModule, numbers: dict[Node, int]) -> Callable[[Node], Any]:
        """Gives the values of ops of the graph that is held, and of dequantize ops; else None."""
        run = _Run(self, model, numbers)
        return lambda node: (
            run.value(node) if is_dequantize(node) else self._held.get(numbers[node])
        )

    def value(self, number: int) -> Any:
        """A value that is known already; None for any other."""
        return self._held[number] if number in self._held else self._constants.get(number)

    def quantized(self, node: Node, number: int) -> FakeQuantizer | None:
        """What computes a dequantize node from the value that was quantized; None if there is nothing.

        The value of a node that depends on constants alone is computed here.
        """
        if number not in self._fused:
            source = node.args[0]
            assert isinstance(source, Node)
            value = constant_value(node)
            if value is not None:
                self._constants[number] = value
            is_pair = is_quantize(source) and not source.kwargs
            self._fused[number] = fake_quantizer(source) if is_pair and value is None else None
        return self._fused[number]


class _Run:
    """One run of a graph."""

    def __init__(self, evaluator: Evaluator, model: GraphModule, numbers: dict[Node, int]) -> None:
        self._evaluator, self._model, self._numbers = evaluator, model, numbers
        self._values: dict[Node, Any] = {}

    def outputs(self, results: dict[int, Any] | None = None) -> list[Any]:
        """The leaves of the outputs. ``results`` takes the results of all ops, if it is given."""
        last = output(self._model)
        reads = self._reads(last, everything=results is not None)
        left = Counter(source for sources in reads.values() for source in sources)
        with torch.no_grad():
            for node in self._model.graph.nodes:
                if node not in reads or node is last:
                    continue
                number = self._numbers[node]
                known = self._evaluator.value(number)
                self._values[node] = self._compute(node) if known is None else known
                if results is not None and _is_held(node):
                    results[number] = self._values[node]
                for source in reads[node]:
                    left[source] -= 1
                    if not left[source]:
                        self._values.pop(source, None)
            leaves: list[Any] = cloned(pytree.tree_leaves(map_arg(last.args[0], self._value)))
        return leaves

    def value(self, node: Node) -> Any:
        """The value of one node, computed from those that are known."""
        sources = self._read_by(node)
        known = self._evaluator.value(self._numbers[node])
        if known is None:
            self._values |= {each: self.value(each) for each in sources}
            with torch.no_grad():
                known = self._compute(node)
            for each in sources:
                self._values.pop(each, None)
        return known

    def _reads(self, last: Node, everything: bool) -> dict[Node, list[Node]]:
        """By node to compute, the nodes that are read for that; with ``everything``, those known, too."""
        reads: dict[Node, list[Node]] = {}
        pending = [last]
        while pending:
            node = pending.pop()
            if node in reads:
                continue
            is_known = self._evaluator.value(self._numbers[node]) is not None
            if is_known and not everything:
                continue
            reads[node] = self._read_by(node)
            pending += reads[node]
        return reads

    def _read_by(self, node: Node) -> list[Node]:
        if is_dequantize(node):
            fused = self._evaluator.quantized(node, self._numbers[node])
            if self._evaluator.value(self._numbers[node]) is not None:
                return []
            if fused is not None:
                return node.all_input_nodes[0].all_input_nodes
        return node.all_input_nodes

    def _value(self, node: Node) -> Any:
        return (
            self._values[node]
            if node in self._values
            else self._evaluator.value(self._numbers[node])
        )

    def _compute(self, node: Node) -> Any:
        if node.op == "placeholder":
            return self._evaluator.leaves[placeholders(self._model).index(node)]
        if node.op == "get_attr":
            return value_of(node)
        if is_dequantize(node):
            fused = self._evaluator.quantized(node, self._numbers[node])
            if fused is not None:
                return fused(self._value(node.all_input_nodes[0].all_input_nodes[0]))
        written = written_by(node)
        args, kwargs = map_arg(
            (node.args, node.kwargs),
            lambda each: cloned(self._value(each)) if each in written else self._value(each),
        )
        if node.op == "call_module":
            return self._model.get_submodule(str(node.target))(*args, **kwargs)
        assert callable(node.target)
        return node.target(*args, **kwargs)


def _is_held(node: Node) -> bool:
    return handle_of(node) is not None and not is_quantize_or_dequantize(node)


def _hashable(value: Any, numbers: dict[Node, int]) -> Hashable:
    if isinstance(value, Node):
        return "node", numbers[value]
    if isinstance(value, (list, tuple)):
        return type(value).__name__, tuple(_hashable(each, numbers) for each in value)
    if isinstance(value, dict):
        return tuple((key, _hashable(each, numbers)) for key, each in value.items())
    if isinstance(value, slice):
        return "slice", _hashable((value.start, value.stop, value.step), numbers)
    # 1, 1.0 and True are equal, and are not the same argument.
    return type(value), value
