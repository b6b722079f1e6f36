"""The ``bf16`` and ``fp16`` recipes: the model cast to half precision, weights and activations.

The cast model is exported anew rather than its graph rewritten: code may look at the dtype, and a mask
made of ``torch.finfo(x.dtype).min`` must come out right. Its ops are recognized by what they are and the
source expression that they come from.
"""

from __future__ import annotations

import copy
import operator
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from handlens import report
from handlens.capture import Captured, capture
from handlens.handles import graph_modules, handle_of, set_handle
from handlens.loading import Subject
from handlens.recipes.keeping import kept_handles, module_paths
from handlens.recipes.recipe import Quantized, float_module


@dataclass(frozen=True)
class HalfRecipe:
    """A named half precision."""

    name: str
    dtype: torch.dtype

    def quantize(self, captured: Captured, subject: Subject) -> Quantized:
        """Raises whatever casting and exporting the model raises."""
        kept = kept_handles(captured, subject.keep_float)
        reference = float_module(captured)
        half = self._capture(captured, subject)
        _share_handles(captured, half)
        actual = float_module(half)
        _cast_inputs(actual)
        if kept:
            for theirs, ours in list(zip(graph_modules(actual), graph_modules(reference))):
                _Keeper(theirs, ours, kept).keep(is_body=ours is not reference)
        name = str(self.dtype).removeprefix("torch.")
        quantizer = report.Quantizer("output", name, "per-value", None, None, None, None)
        described = {
            handle: (quantizer,)
            for graph_module in graph_modules(actual)
            for node in graph_module.graph.nodes
            if (handle := handle_of(node)) is not None and self.dtype in _dtypes(node)
        }
        return Quantized(reference, actual, (), described)

    def _capture(self, captured: Captured, subject: Subject) -> Captured:
        model = copy.deepcopy(subject.model).to(self.dtype)
        args, kwargs = pytree.tree_map_only(
            Tensor,
            lambda each: each.to(self.dtype) if each.is_floating_point() else each,
            (subject.args, subject.kwargs),
        )
        with torch.no_grad():
            return capture(model, args, kwargs, subject.dynamic_shapes, captured.strict)


BF16 = HalfRecipe("bf16", torch.bfloat16)
FP16 = HalfRecipe("fp16", torch.float16)


# -- handles ---------------------------------------------------------------------------------------


def _share_handles(captured: Captured, half: Captured) -> None:
    """Give the ops of the second program the handles of those of the first that they stand for."""
    for ours, theirs in zip(graph_modules(captured.program), graph_modules(half.program)):
        handles: dict[Hashable, Iterator[int]] = {
            key: iter([handle for node in nodes if (handle := handle_of(node)) is not None])
            for key, nodes in _by_origin(ours, captured).items()
        }
        for key, nodes in _by_origin(theirs, half).items():
            for node, handle in zip(nodes, handles.get(key, ())):
                set_handle(node, handle)


def _by_origin(model: GraphModule, captured: Captured) -> dict[Hashable, list[Node]]:
    """The ops of a graph by what they are and which expression of which module they come from."""
    found: dict[Hashable, list[Node]] = defaultdict(list)
    for node in model.graph.nodes:
        if node.op not in ("placeholder", "output", "get_attr"):
            # An output of an op with several is the one with the same index.
            index = node.args[1] if node.target is operator.getitem else None
            origin = str(node.target), index, tuple(module_paths(node)), captured.spans(node)
            found[origin].append(node)
    return found


# -- dtypes ----------------------------------------------------------------------------------------


def _cast_inputs(model: GraphModule) -> None:
    """Let a graph that expects inputs in half precision cast those that it is given."""
    placeholders = [node for node in model.graph.nodes if node.op == "placeholder"]
    for node in placeholders:
        if _is_floating(node):
            with model.graph.inserting_after(placeholders[-1]):
                cast = _cast(node, node.meta["val"])
            node.replace_all_uses_with(cast, lambda user, cast=cast: user is not cast)
    model.recompile()


def _cast(source: Node, value: Tensor) -> Node:
    """``source`` cast to the dtype of ``value``, which is what it then is."""
    cast = source.graph.call_function(torch.ops.aten.to.dtype, (source, value.dtype))
    cast.meta["val"] = value
    return cast


def _dtypes(node: Node) -> set[torch.dtype]:
    return {
        each.dtype for each in pytree.tree_leaves(node.meta.get("val")) if isinstance(each, Tensor)
    }


def _is_floating(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


# -- keep_float ------------------------------------------------------------------------------------


class _Keeper:
    """Puts ops of the float graph in place of those of the half precision graph, casts around them."""

    def __init__(self, half: GraphModule, reference: GraphModule, kept: frozenset[int]) -> None:
        self._half, self._reference, self._kept = half, reference, kept
        self._twins: dict[Node, Node] = {}
        """By op of the float graph, what stands for it in the half precision graph."""
        self._float: dict[Node, Node] = {}
        """By op of the float graph that is kept, and by constant, its copy."""

    def keep(self, is_body: bool) -> None:
        by_handle = {handle_of(node): node for node in self._half.graph.nodes}
        for node in self._reference.graph.nodes:
            handle = handle_of(node)
            if handle is not None and handle in by_handle:
                self._twins[node] = by_handle[handle]
        ops = list(self._twins.items())
        # The model is called with its inputs in float, a body with what the graph around it computes.
        inputs = self._twins if is_body else self._float
        inputs |= zip(
            self._reference.graph.find_nodes(op="placeholder"),
            self._half.graph.find_nodes(op="placeholder"),
        )
        for node, twin in ops:
            if self._is_kept(node):
                with self._half.graph.inserting_before(twin):
                    self._replace(node, twin)
        self._half.graph.lint()
        self._half.recompile()

    def _is_kept(self, node: Node) -> bool:
        if node.target is operator.getitem:
            # It computes nothing, and goes with the op whose outputs it picks from.
            return node.args[0] in self._float
        return handle_of(node) in self._kept

    def _replace(self, node: Node, twin: Node) -> None:
        copy = self._copy(node)
        lowered = _cast(copy, twin.meta["val"]) if _is_floating(twin) else copy
        for source in _mutated(node):
            if (other := self._twins.get(source)) is not None:
                self._half.graph.call_function(torch.ops.aten.copy_.default, (other, copy))
        self._twins[node] = lowered
        twin.replace_all_uses_with(lowered)
        self._half.graph.erase_node(twin)

    def _copy(self, node: Node) -> Node:
        self._float[node] = self._half.graph.node_copy(node, self._raised)
        return self._float[node]

    def _raised(self, source: Node) -> Node:
        """A value of the float graph, as far as the half precision graph has it."""
        if source in self._float:
            return self._float[source]
        if source in self._twins:
            twin = self._twins[source]
            return _cast(twin, source.meta["val"]) if _is_floating(source) else twin
        copy = self._copy(source)
        if source.op == "get_attr":
            copy.target = f"float_{source.name}"
            value = operator.attrgetter(str(source.target))(self._reference)
            setattr(self._half, copy.target, value)
        return copy


def _mutated(node: Node) -> list[Node]:
    """The arguments that an op changes in place."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return []
    return [
        value
        for value, argument in zip(node.args, node.target._schema.arguments)
        if isinstance(value, Node) and argument.alias_info and argument.alias_info.is_write
    ]
