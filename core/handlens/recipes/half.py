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
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from handlens import report
from handlens.capture.export import Captured, capture
from handlens.capture.handles import handle_of, own_metadata, set_handle
from handlens.capture.nodes import (
    dtype_name,
    example,
    example_tensors,
    graph_modules,
    in_half,
    is_floating,
    module_paths,
    op_name,
    placeholders,
    value_of,
)
from handlens.comparison.memory import Memory, aliased_by, written_by
from handlens.comparison.quantized_values import is_added_cast
from handlens.loading.subject import Subject
from handlens.recipes.keeping import kept_handles
from handlens.recipes.leftovers import KEPT, with_regions
from handlens.recipes.recipe import CastFailed, Quantized, float_module

# An op at the noise floor has 56 dB in bfloat16. In float16 it has 74 dB, but few miss the 50 dB of a deep
# float16 model, so the thresholds of bfloat16 hold for both.
_THRESHOLDS = report.Thresholds(25.0, 35.0, 45.0)


@dataclass(frozen=True)
class HalfRecipe:
    """A named half precision."""

    name: str
    dtype: torch.dtype
    thresholds: report.Thresholds = _THRESHOLDS

    def quantize(self, captured: Captured, subject: Subject) -> Quantized:
        """Raises CastFailed."""
        kept = kept_handles(captured, subject.keep_float)
        reference = float_module(captured)
        half = self._capture(captured, subject)
        _share_handles(captured, half)
        actual = float_module(half)
        _cast_inputs(actual)
        if kept:
            for theirs, ours in list(zip(graph_modules(actual), graph_modules(reference))):
                _Keeper(theirs, ours, kept).keep(is_body=ours is not reference)
        name = dtype_name(self.dtype)
        quantizer = report.Quantizer("output", name, "per-value", None, None, None, None)
        before = {
            handle: _dtypes(node)
            for node, _ in with_regions(reference)
            if (handle := handle_of(node)) is not None
        }
        after = {
            handle: _dtypes(node)
            for node, _ in with_regions(actual)
            if (handle := handle_of(node)) is not None
        }
        in_float = {
            handle: _why(dtypes, after.get(handle, set()), self.dtype, handle in kept)
            for handle, dtypes in before.items()
            if self.dtype in dtypes or self.dtype not in after.get(handle, ())
        }
        described = {handle: (quantizer,) for handle in after if handle not in in_float}
        return Quantized(
            reference,
            actual,
            (),
            described,
            in_float,
            quantized_by=(
                report.QuantizedBy(f"Module.to({self.dtype})", "torch", torch.__version__),
            ),
        )

    def _capture(self, captured: Captured, subject: Subject) -> Captured:
        model = copy.deepcopy(subject.model).to(self.dtype)
        args, kwargs = pytree.tree_map_only(
            Tensor,
            lambda each: each.to(self.dtype) if each.is_floating_point() else each,
            (subject.args, subject.kwargs),
        )
        try:
            return capture(model, args, kwargs, subject.dynamic_shapes, captured.strict)
        except Exception as error:
            raise CastFailed(error, dtype_name(self.dtype)) from error


BF16 = HalfRecipe("bf16", torch.bfloat16)
FP16 = HalfRecipe("fp16", torch.float16)


def _why(before: set[torch.dtype], after: set[torch.dtype], half: torch.dtype, kept: bool) -> str:
    """Why a cast leaves an op as it is."""
    if kept:
        return KEPT
    name = dtype_name(half)
    if half in before:
        return f"it computes in {name} already"
    if not any(each.is_floating_point for each in before):
        return "it has no floating point output"
    if not after:
        return "the cast model has no such op"
    return f"the cast model computes it in {', '.join(map(dtype_name, after))}"


# -- handles ---------------------------------------------------------------------------------------


def _share_handles(captured: Captured, half: Captured) -> None:
    """Give the ops of the second program the handles of those of the first that they stand for."""
    own_metadata(half.program)
    for ours, theirs in zip(graph_modules(captured.program), graph_modules(half.program)):
        handles: dict[Hashable, Iterator[int]] = {
            key: iter([handle for node in nodes if (handle := handle_of(node)) is not None])
            for key, nodes in _by_origin(ours, captured).items()
        }
        for key, nodes in _by_origin(theirs, half).items():
            for node, handle in zip(nodes, handles.get(key, ())):
                set_handle(node, handle)
        _share_by_readers(ours, theirs)


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


def _share_by_readers(model: GraphModule, half: GraphModule) -> None:
    """Give the ops of a cast graph that have no handle yet those of the ops whose place they take: what
    one op reads as the same argument in both graphs is the same value, whichever op computes it.

    Code that looks at the dtype may call another kernel in half precision.
    """
    twins = {handle: node for node in model.graph.nodes if (handle := handle_of(node)) is not None}
    free = twins.keys() - {handle_of(node) for node in half.graph.nodes}
    for reader in reversed(half.graph.nodes):
        if (shared := handle_of(reader)) is None:
            continue
        twin = twins[shared]
        theirs, their_spec = pytree.tree_flatten((reader.args, reader.kwargs))
        ours, our_spec = pytree.tree_flatten((twin.args, twin.kwargs))
        if their_spec != our_spec:
            continue
        for node, other in zip(theirs, ours):
            if not (isinstance(node, Node) and isinstance(other, Node)):
                continue
            handle = handle_of(other)
            alike = reader.target == twin.target or node.target == other.target
            if (
                handle in free
                and handle_of(node) is None
                and alike
                and _shapes(node) == _shapes(other)
            ):
                set_handle(node, handle)
                free.remove(handle)


def _shapes(node: Node) -> list[tuple[Any, ...]]:
    return [tuple(each.shape) for each in example_tensors(node)]


# -- dtypes ----------------------------------------------------------------------------------------


def _cast_inputs(model: GraphModule) -> None:
    """Let a graph that expects inputs in half precision cast those that it is given."""
    inputs = placeholders(model)
    for node in inputs:
        if is_floating(node):
            with model.graph.inserting_after(inputs[-1]):
                cast = _cast(node, example(node))
            node.replace_all_uses_with(cast, partial(operator.is_not, cast))
    model.recompile()


def _cast(source: Node, value: Tensor) -> Node:
    """``source`` cast to the dtype of ``value``, which is what it then is."""
    cast = source.graph.call_function(torch.ops.aten.to.dtype, (source, value.dtype))
    cast.meta["val"] = value
    return cast


def _dtypes(node: Node) -> set[torch.dtype]:
    return {each.dtype for each in example_tensors(node)}


# -- keep_float ------------------------------------------------------------------------------------


class _Keeper:
    """Puts ops of the float graph in place of those of the half precision graph, casts around them.

    Memory that an op changes in place stays in half precision, and so do views of it, unless only kept ops
    read it: what is written to it is computed in float and rounded.
    """

    def __init__(self, half: GraphModule, reference: GraphModule, kept: frozenset[int]) -> None:
        self._half, self._reference, self._kept = half, reference, kept
        self._memory = Memory(reference)
        self._twins: dict[Node, Node] = {}
        """By op of the float graph, what stands for it in the half precision graph."""
        self._float: dict[Node, Node] = {}
        """By op of the float graph that is kept, and by constant, its copy."""

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
        """Whether a value is in memory that is changed in place, and that not only kept ops know."""
        if not self._memory.is_written(node):
            return False
        names = self._memory.names(node)
        known_to = {*names, *(user for each in names for user in each.users)}
        return any(each.op != "get_attr" and handle_of(each) not in self._kept for each in known_to)

    def _is_kept(self, node: Node) -> bool:
        if node.target is operator.getitem:
            # It computes nothing, and goes with the op whose outputs it picks from.
            return node.args[0] in self._float
        if self._stays_half(node) and not written_by(node) and any(aliased_by(node)):
            return False
        return handle_of(node) in self._kept

    def _replace(self, node: Node, twin: Node) -> None:
        copy = self._copy(node)
        lowered = _cast(copy, example(twin)) if is_floating(twin) else copy
        for source in written_by(node):
            if (other := self._twins.get(source)) is not None:
                self._half.graph.call_function(torch.ops.aten.copy_.default, (other, copy))
                lowered = other
        self._twins[node] = lowered
        # What is cast on is float all the way.
        for user in [each for each in twin.users if op_name(each) in ("to", "_to_copy")]:
            if handle_of(user) is not None and not in_half(user):
                user.replace_input_with(twin, copy)
        twin.replace_all_uses_with(lowered)
        self._half.graph.erase_node(twin)
        if self._stays_half(node):
            # By the time it is read, it may be something else.
            del self._float[node]

    def _copy(self, node: Node) -> Node:
        self._float[node] = self._half.graph.node_copy(node, self._raised)
        return self._float[node]

    def _raised(self, source: Node) -> Node:
        """A value of the float graph, as far as the half precision graph has it."""
        if source in self._float:
            return self._float[source]
        if source in self._twins:
            twin = self._twins[source]
            return _cast(twin, example(source)) if is_floating(source) else twin
        copy = self._copy(source)
        if source.op == "get_attr":
            copy.target = f"float_{source.name}"
            value = value_of(source)
            setattr(self._half, copy.target, value)
        return copy
