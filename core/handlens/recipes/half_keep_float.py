"""``keep_float`` in a half precision graph: the ops to keep are replaced by those of the float graph."""

from __future__ import annotations

import operator

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    example,
    graph_modules,
    in_half,
    is_floating,
    op_name,
    placeholders,
    value_of,
)
from handlens.comparison.memory import Memory, aliased_by, written_by
from handlens.comparison.quantized_values import is_added_cast


def keep_float(actual: GraphModule, reference: GraphModule, kept: frozenset[int]) -> None:
    """Compute the ops with the handles ``kept`` in float, in place, in the bodies of control flow, too.

    ``reference`` is the float graph. Casts are added around each op that is kept.
    """
    pairs = list(zip(graph_modules(actual), graph_modules(reference)))
    for half, full in pairs:
        _Keeper(half, full, kept).keep(is_body=full is not reference)


def add_cast(source: Node, like: Tensor) -> Node:
    """Add a node that casts the value of ``source`` to the type of ``like``, an example of the result."""
    cast = source.graph.call_function(torch.ops.aten.to.dtype, (source, like.dtype))
    cast.meta["val"] = like
    return cast


class _Keeper:
    """Replaces the ops of one half precision graph that are kept.

    Memory that an op changes in place stays in half precision, and so do views of it, unless kept ops alone
    read it. A kept op that writes to such memory computes in float, and its result is rounded.
    """

    def __init__(self, half: GraphModule, reference: GraphModule, kept: frozenset[int]) -> None:
        self._half, self._reference, self._kept = half, reference, kept
        self._memory = Memory(reference)
        self._twins: dict[Node, Node] = {}
        """By op of the float graph, its counterpart in the half precision graph."""
        self._float: dict[Node, Node] = {}
        """By op of the float graph that is kept, and by constant, its copy in the half precision graph."""

    def keep(self, is_body: bool) -> None:
        by_handle = {handle_of(node): node for node in self._half.graph.nodes}
        by_name = {node.target: node for node in self._half.graph.find_nodes(op="get_attr")}
        for node in self._reference.graph.nodes:
            handle = handle_of(node)
            if handle is not None and handle in by_handle:
                self._twins[node] = by_handle[handle]
            elif node.op == "get_attr" and node.target in by_name and self._stays_half(node):
                self._twins[node] = by_name[node.target]
        ops = [each for each in self._twins.items() if each[0].op != "get_attr"]
        for node, twin in zip(
            placeholders(self._reference),
            placeholders(self._half),
        ):
            if is_body:
                self._twins[node] = twin
            elif self._stays_half(node):
                self._twins[node] = next((each for each in twin.users if is_added_cast(each)), twin)
            else:
                # The model is called with its inputs in float.
                self._float[node] = twin
        for node, twin in ops:
            if self._is_kept(node):
                with self._half.graph.inserting_before(twin):
                    self._replace(node, twin)
        self._half.graph.lint()
        self._half.recompile()

    def _stays_half(self, node: Node) -> bool:
        """True if a value is in memory that is changed in place and that other ops than kept ones know."""
        if not self._memory.is_written(node):
            return False
        names = self._memory.names(node)
        known_to = {*names, *(user for each in names for user in each.users)}
        return any(each.op != "get_attr" and handle_of(each) not in self._kept for each in known_to)

    def _is_kept(self, node: Node) -> bool:
        if node.target is operator.getitem:
            # A getitem computes nothing. It is kept if the op is whose output it picks.
            return node.args[0] in self._float
        if self._stays_half(node) and not written_by(node) and any(aliased_by(node)):
            return False
        return handle_of(node) in self._kept

    def _replace(self, node: Node, twin: Node) -> None:
        copy = self._copy(node)
        lowered = add_cast(copy, example(twin)) if is_floating(twin) else copy
        for source in written_by(node):
            if (other := self._twins.get(source)) is not None:
                self._half.graph.call_function(torch.ops.aten.copy_.default, (other, copy))
                lowered = other
        self._twins[node] = lowered
        # A cast of the op's output that gives float needs no rounding before it.
        for user in [each for each in twin.users if op_name(each) in ("to", "_to_copy")]:
            if handle_of(user) is not None and not in_half(user):
                user.replace_input_with(twin, copy)
        twin.replace_all_uses_with(lowered)
        self._half.graph.erase_node(twin)
        if self._stays_half(node):
            # By the time that an op reads the memory, something else may have been written to it.
            del self._float[node]

    def _copy(self, node: Node) -> Node:
        self._float[node] = self._half.graph.node_copy(node, self._in_float)
        return self._float[node]

    def _in_float(self, source: Node) -> Node:
        """The value of a node of the float graph, in float, in the half precision graph."""
        if source in self._float:
            return self._float[source]
        if source in self._twins:
            twin = self._twins[source]
            return add_cast(twin, example(source)) if is_floating(source) else twin
        copy = self._copy(source)
        if source.op == "get_attr":
            copy.target = f"float_{source.name}"
            setattr(self._half, copy.target, value_of(source))
        return copy
