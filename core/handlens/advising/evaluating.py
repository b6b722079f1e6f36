"""Runs many graphs that differ little on one batch, and computes only what differs.

The value of a node is known by what it is computed from: its op, and the values that it reads. The results of
one graph are held; another graph begins where it first computes something else.
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
    is_quantize_or_dequantize,
    output,
    placeholders,
    value_of,
)
from handlens.comparison.memory import Memory, state_restored, written_by
from handlens.comparison.ops import has_effect, is_random
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
    memory = Memory(model)
    for node in model.graph.nodes:
        if not has_effect(node):
            continue
        written = written_by(node)
        if not written or is_random(node) or bodies(node):
            return False
        for source in written:
            for name in memory.names(source):
                later = [each for each in (name, *name.users) if memory.precedes(node, each)]
                if any(not _reads_through(each, node) for each in later if each is not node):
                    return False
    return True


def _reads_through(reader: Node, writer: Node) -> bool:
    """True if a node sees the memory that ``writer`` writes as the result of ``writer``."""
    pending, seen = [reader], set()
    while pending:
        node = pending.pop()
        if node is writer:
            return True
        if node not in seen:
            seen.add(node)
            pending += node.all_input_nodes
    return False


class Evaluator:
    """The outputs of graphs on one batch."""

    def __init__(self, inputs: Inputs, start: RandomState, reuses: bool) -> None:
        """With ``reuses``, results are held; ``can_be_reused`` must be true for every graph."""
        self._inputs, self._start, self._reuses = inputs, start, reuses
        self.leaves = pytree.tree_leaves(inputs)
        self._numbers: dict[Hashable, int] = {}
        self._constants: list[Any] = []
        """What is named by its identity must not be freed."""
        self._held: dict[int, Any] = {}
        self.computed = 0
        """How many ops were computed so far."""

    def outputs(self, model: GraphModule) -> list[Any]:
        """The leaves of the outputs of a graph."""
        if not self._reuses:
            return outputs(model, self._inputs, self._start)
        return self._run(model, self._number(model), None)

    def hold(self, model: GraphModule) -> dict[Node, Any]:
        """Hold the results of a graph's ops from now on, instead of those that were held.

        Quantized values are not held: they are quickly computed. Returns the results by node.
        """
        numbers = self._number(model)
        results: dict[int, Any] = {}
        self._run(model, numbers, results)
        self._held = results
        return {node: results[number] for node, number in numbers.items() if number in results}

    def _number(self, model: GraphModule) -> dict[Node, int]:
        """The numbers of the nodes of a graph: nodes that compute the same have the same."""
        numbers: dict[Node, int] = {}
        for index, node in enumerate(model.graph.nodes):
            key: Hashable
            if node.op == "placeholder":
                key = "placeholder", index
            elif node.op == "get_attr":
                key = self._constant(value_of(node))
            else:
                key = (
                    node.op,
                    node.target,
                    _hashable(node.args, numbers),
                    _hashable(node.kwargs, numbers),
                )
            numbers[node] = self._numbers.setdefault(key, len(self._numbers))
        return numbers

    def _constant(self, value: Any) -> Hashable:
        if isinstance(value, GraphModule):
            return "body", self._number(value)[output(value)]
        self._constants.append(value)
        return "constant", id(value)

    def _run(
        self, model: GraphModule, numbers: dict[Node, int], results: dict[int, Any] | None
    ) -> list[Any]:
        last = output(model)
        needed = self._needed(model, numbers, last, results is not None)
        left = Counter(source for node in needed for source in node.all_input_nodes)
        values: dict[Node, Any] = {}

        def value(node: Node) -> Any:
            return values[node] if node in values else self._held[numbers[node]]

        with torch.no_grad():
            for node in needed:
                if node.op == "output":
                    break
                if numbers[node] in self._held:
                    values[node] = self._held[numbers[node]]
                else:
                    values[node] = self._compute(node, value)
                if results is not None and _is_held(node):
                    results[numbers[node]] = values[node]
                for source in node.all_input_nodes:
                    left[source] -= 1
                    if not left[source]:
                        values.pop(source, None)
            found: list[Any] = cloned(pytree.tree_leaves(map_arg(last.args[0], value)))
        return found

    def _needed(
        self, model: GraphModule, numbers: dict[Node, int], last: Node, holds: bool
    ) -> list[Node]:
        """The nodes to compute, in their order."""
        needed: set[Node] = set()
        pending = [last]
        while pending:
            node = pending.pop()
            if node in needed or (numbers[node] in self._held and not holds):
                continue
            needed.add(node)
            pending += node.all_input_nodes
        return [node for node in model.graph.nodes if node in needed]

    def _compute(self, node: Node, value: Callable[[Node], Any]) -> Any:
        model = node.graph.owning_module
        assert model is not None
        if node.op == "placeholder":
            return self.leaves[placeholders(model).index(node)]
        if node.op == "get_attr":
            return value_of(node)
        written = written_by(node)
        args, kwargs = map_arg(
            (node.args, node.kwargs),
            lambda each: cloned(value(each)) if each in written else value(each),
        )
        self.computed += 1
        if node.op == "call_module":
            return model.get_submodule(str(node.target))(*args, **kwargs)
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
