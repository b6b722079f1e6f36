"""Aliasing: which nodes of a graph share memory, and which of that memory ops change in place.

A node may be another name for memory that an input, a constant or an earlier op owns: a view, a slice, an
op's own input. A write through one name is seen through all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from handlens.capture.nodes import bodies, is_quantize_or_dequantize, operands, value_of

# Ops that may return an input, or memory of it, although their schemas do not say so.
_MAY_RETURN_INPUT = {
    "_unsafe_view", "alpha_dropout", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_tensors",
    "cartesian_prod", "chain_matmul", "chalf", "combinations", "conj_physical", "data", "diag", "dropout",
    "einsum", "feature_alpha_dropout", "feature_dropout", "flatten_dense_tensors", "gradient", "meshgrid",
    "pad", "sum_to_size", "tensordot", "to_dense", "to_sparse", "type_as", "unflatten_dense_tensors",
    "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes",
}  # fmt: skip

# Ops that may change the running statistics they are given: the name of the argument that decides, and the
# positions of the statistics.
_UPDATES_STATISTICS = {"batch_norm": ("training", 3, 4), "instance_norm": ("use_input_stats", 3, 4)}

_COMPOSED = "CompositeImplicitAutograd"


class Memory:
    """Which nodes of a graph name the same memory. Memory is told by its roots: see ``_of``."""

    def __init__(self, model: GraphModule) -> None:
        self._roots: dict[Node, frozenset[Hashable]] = {}
        self._first_write: dict[Hashable, Node] = {}
        self._order: dict[Node, int] = {}
        for place, node in enumerate(model.graph.nodes):
            self._order[node] = place
            self._roots[node] = self._of(node)
            for each in written_by(node):
                for root in self._roots[each]:
                    self._first_write.setdefault(root, node)

    def is_written(self, node: Node) -> bool:
        """True if an op of the graph changes memory that ``node`` names."""
        return not self._first_write.keys().isdisjoint(self._roots[node])

    def shares(self, one: Node, other: Node) -> bool:
        """True if two nodes name, or may name, the same memory."""
        return not self._roots[one].isdisjoint(self._roots[other])

    def precedes(self, one: Node, other: Node) -> bool:
        """True if a node comes before another one in the graph."""
        return self._order[one] < self._order[other]

    def names(self, node: Node) -> list[Node]:
        """All nodes that name, or may name, the memory of ``node``."""
        return [each for each in self._roots if self.shares(each, node)]

    def is_uninitialized(self, node: Node) -> bool:
        """True if the memory of a node is allocated, and nothing was written to it before the node."""
        roots = self._roots[node]
        return bool(roots) and all(
            isinstance(root, Node)
            and is_uninitialized(root)
            and (root not in self._first_write or self.precedes(node, self._first_write[root]))
            for root in roots
        )

    def _of(self, node: Node) -> frozenset[Hashable]:
        """The roots of a node: the nodes whose ops allocated its memory, or the storage of a constant."""
        if node.op == "get_attr":
            value = value_of(node)
            # Two names of one tensor, and tensors that are views of one, share what is written.
            return frozenset(((id(node) if value is None else _storage(value)),))
        aliased = list(aliased_by(node))
        found = frozenset(root for each in aliased for root in self._roots[each])
        return found if aliased and not _may_copy(node) else found | {node}


def _storage(value: Any) -> Hashable:
    try:
        return "storage", value.untyped_storage().data_ptr()
    except Exception:
        # A tensor subclass has no storage of its own, a module none at all.
        return "object", id(value)


def aliased_by(node: Node) -> Iterator[Node]:
    """The inputs of a node whose memory its output may share."""
    target = node.target
    if node.op not in ("call_function", "call_module"):
        return
    if isinstance(target, torch._ops.OpOverload):
        yield from _aliased_by_op(node, target)
    elif target is operator.getitem:
        yield from node.all_input_nodes[:1]
    elif getattr(target, "__name__", "") != "linear":
        # Regions, and modules such as observers, may return their inputs.
        yield from node.all_input_nodes


def _aliased_by_op(node: Node, op: torch._ops.OpOverload) -> Iterator[Node]:
    if is_quantize_or_dequantize(node):
        return
    returned = {
        name
        for each in op._schema.returns
        if each.alias_info
        for name in each.alias_info.before_set
    }
    if returned:
        for argument, value in _arguments(node, op):
            if argument.alias_info and returned & set(argument.alias_info.before_set):
                yield from _nodes(value)
    elif op._opname in _MAY_RETURN_INPUT or (op.namespace != "aten" and _is_composed(op)):
        yield from node.all_input_nodes


def _is_composed(op: torch._ops.OpOverload) -> bool:
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    return bool(has_kernel(op.name(), _COMPOSED))  # type: ignore[no-untyped-call]


def _may_copy(node: Node) -> bool:
    """True if an op that may return an input may return a copy instead."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return target is not operator.getitem
    # ``reshape`` and ``to`` are composed, ``view`` and ``slice`` are not.
    return _is_composed(target) and not target._schema.is_mutable


def written_by(node: Node) -> list[Node]:
    """The inputs of a node that the node changes in place, by itself or in the bodies that it calls."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        found = [
            each
            for argument, value in _arguments(node, target)
            if argument.alias_info and argument.alias_info.is_write
            for each in _nodes(value)
        ]
        return found + _statistics(node, target)
    found = []
    for body in bodies(node):
        memory = Memory(value_of(body))
        pairs = operands(node, body)
        for placeholder, operand in pairs:
            if memory.is_written(placeholder) and isinstance(operand, Node):
                found.append(operand)
    return list(dict.fromkeys(found))


def _statistics(node: Node, op: torch._ops.OpOverload) -> list[Node]:
    if op._opname not in _UPDATES_STATISTICS:
        return []
    flag, *places = _UPDATES_STATISTICS[op._opname]
    given = {argument.name: value for argument, value in _arguments(node, op)}
    values = [node.args[place] for place in places if place < len(node.args)]
    return [each for each in values if isinstance(each, Node)] if given.get(flag) is True else []


def _arguments(node: Node, op: torch._ops.OpOverload) -> Iterator[tuple[Any, Any]]:
    for place, argument in enumerate(op._schema.arguments):
        if place < len(node.args):
            yield argument, node.args[place]
        elif argument.name in node.kwargs:
            yield argument, node.kwargs[argument.name]


def _nodes(value: Any) -> list[Node]:
    return [each for each in pytree.tree_leaves(value) if isinstance(each, Node)]


# -- uninitialized memory --------------------------------------------------------------------------

_ZEROS = {
    torch.ops.aten.empty_like.default: torch.ops.aten.zeros_like.default,
    torch.ops.aten.new_empty.default: torch.ops.aten.new_zeros.default,
    torch.ops.aten.empty.memory_format: torch.ops.aten.zeros.default,
}


def is_uninitialized(node: Node) -> bool:
    """True if an op allocates memory without filling it."""
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target in _ZEROS


def initialize(model: GraphModule) -> None:
    """Fill memory that a graph allocates with zeros, so that two runs do not differ by its old content."""
    for node in model.graph.nodes:
        if is_uninitialized(node):
            if node.target is torch.ops.aten.empty.memory_format:
                node.kwargs = {k: v for k, v in node.kwargs.items() if k != "memory_format"}
            node.target = _ZEROS[node.target]


@contextmanager
def state_restored(model: GraphModule) -> Iterator[None]:
    """Restore the constants that a graph changes in place to their values before the block."""
    memory = Memory(model)
    before = [
        (value, value.detach().clone())
        for node in model.graph.nodes
        if node.op == "get_attr" and memory.is_written(node)
        if isinstance(value := value_of(node), Tensor)
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for value, was in before:
                value.copy_(was)
