"""What a comparison asks of the nodes of a graph: what an op does, reads, and where its channels are."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental import symbolic_shapes
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from handlens.capture.handles import (
    handle_of,
    is_dequantize,
    is_quantize,
    is_quantize_or_dequantize,
)
from handlens.comparison.memory import bodies, written_by
from handlens.comparison.quantizers import value_of

# Ops that give the values of one input, all or some of them.
_SELECTS = {
    "view", "_unsafe_view", "reshape", "flatten", "squeeze", "squeeze_", "unsqueeze", "unsqueeze_",
    "permute", "transpose", "transpose_", "t", "expand", "expand_as", "contiguous", "clone", "slice",
    "select", "split", "split_with_sizes", "chunk", "getitem", "index_select", "gather", "flip", "repeat",
    "pixel_shuffle", "alias", "unbind", "narrow", "movedim", "swapaxes", "detach",
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d",
}  # fmt: skip

# Ops whose output values are a selection of their input values: they commute with a quantizer.
_MOVES_VALUES = _SELECTS | {"cat", "stack", "relu", "relu_"}

_WEIGHTED = {"conv1d", "conv2d", "conv3d", "linear"}

# Ops whose output is memory of its own, and never that of an input.
_FRESH = _WEIGHTED | {
    "add", "mul", "relu", "relu6", "hardtanh", "pad", "layer_norm", "matmul", "bmm",
}  # fmt: skip

SUMS = {"add", "sub", "where"}
"""Ops at whose output the noises of their inputs add as they are."""

HALF = (torch.float16, torch.bfloat16)

# The namespaces whose ops say of themselves whether they throw dice.
_TAGGED = {"aten", "prim", "prims", "quantized_decomposed", "torchao"}


def op_name(node: Node) -> str:
    """The name of a node's op without its overload; empty where it calls none."""
    if node.target is operator.getitem:
        return "getitem"
    return node.target._opname if isinstance(node.target, torch._ops.OpOverload) else ""


def moves_values(node: Node) -> bool:
    """Whether the output values of an op are a selection of its input values."""
    return op_name(node) in _MOVES_VALUES


def selects(node: Node) -> bool:
    """Whether an op gives the values of one input, all or some of them."""
    return op_name(node) in _SELECTS


def owns_memory(node: Node) -> bool:
    """Whether the output of an op is certain to be memory of its own, and never that of an input."""
    return op_name(node) in _FRESH


def is_random(node: Node) -> bool:
    """Whether an op may throw dice, by itself or in the bodies that it calls."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return any(is_random(each) for body in bodies(node) for each in value_of(body).graph.nodes)
    if node.target.namespace not in _TAGGED:
        # Few who write an op of their own say that it throws dice.
        return True
    return torch.Tag.nondeterministic_seeded in node.target.tags and not _is_idle_dropout(node)


def _is_idle_dropout(node: Node) -> bool:
    if op_name(node) == "scaled_dot_product_attention":
        dropout = node.args[4] if len(node.args) > 4 else node.kwargs.get("dropout_p", 0.0)
        return isinstance(dropout, float) and dropout == 0.0
    return op_name(node).rstrip("_") == "dropout" and node.args[2] is False


def has_effect(node: Node) -> bool:
    """Whether it matters what an op comes before and after."""
    return bool(written_by(node)) or is_random(node) or _opens_vmap(node)


def _opens_vmap(node: Node) -> bool:
    """Whether a node begins or ends a stretch of ops that are mapped over a dimension."""
    return getattr(node.target, "__module__", "") == "torch._functorch.predispatch"


def live(model: GraphModule) -> set[Node]:
    """The nodes that the output of a graph, or an effect, comes of."""
    pending = [each for each in model.graph.nodes if each.op == "output" or has_effect(each)]
    found: set[Node] = set()
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending += node.all_input_nodes
    return found


def placeholders(model: GraphModule) -> list[Node]:
    return [node for node in model.graph.nodes if node.op == "placeholder"]


def output(model: GraphModule) -> Node:
    node: Node = next(iter(reversed(model.graph.nodes)))
    return node


def quantizers(node: Node) -> list[Node]:
    """The quantize nodes of an op's output that are read again."""
    return [
        each
        for each in node.users
        if is_quantize(each) and each.args[0] is node and any(map(is_dequantize, each.users))
    ]


def origin(node: Node) -> Node:
    """What a quantize or dequantize node has quantized, whatever that is quantized through."""
    while is_quantize_or_dequantize(node):
        node = node.args[0]  # type: ignore[assignment]
    return node


def cast_input(node: Node) -> Node | None:
    """The input of a graph that a node casts for the graph's own sake."""
    source = uncast(node)
    return source if node is not source and source.op == "placeholder" else None


def reads_constant(node: Node) -> bool:
    """Whether a node is the dequantized value of a weight, a constant or an input of the model."""
    return is_dequantize(node) and origin(node).op in ("get_attr", "placeholder")


def only_moves(node: Node, quantize: Node) -> bool:
    """Whether all that ``node`` does is to take values from one quantizer to an equal one."""
    if not moves_values(node):
        return False
    mine = _parameters(quantize)
    inputs = [each for each in node.all_input_nodes if is_dequantize(each) or is_floating(each)]
    return bool(inputs) and all(
        is_dequantize(each) and _parameters(each) == mine for each in inputs
    )


def _parameters(node: Node) -> tuple[Any, ...]:
    return tuple(node.args[1:6])


def constant_value(dequantize: Node) -> Tensor | None:
    """What a dequantize node gives, if only constants go into it."""
    chain: list[Node] = []
    pending = [dequantize]
    while pending:
        node = pending.pop()
        if node.op == "get_attr":
            if not isinstance(value_of(node), Tensor):
                return None
        elif is_quantize_or_dequantize(node):
            chain.append(node)
            pending += node.all_input_nodes
        else:
            return None
    values: dict[Node, Any] = {}

    def value(node: Node) -> Any:
        return value_of(node) if node.op == "get_attr" else values[node]

    with torch.no_grad():
        for node in reversed(chain):
            assert callable(node.target)
            values[node] = node.target(*map_arg(node.args, value), **map_arg(node.kwargs, value))
    result: Tensor = values[dequantize]
    return result


def other_constants(reference: Node, actual: Node) -> bool:
    """Whether the quantized op has a parameter that the reference op has not."""
    theirs = [value_of(each) for each in reference.all_input_nodes if each.op == "get_attr"]
    mine = [value_of(each) for each in actual.all_input_nodes if each.op == "get_attr"]
    return any(not any(_same(a, r) for r in theirs) for a in mine)


def _same(a: Any, b: Any) -> bool:
    if a is b or not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return a is b or not isinstance(a, Tensor)
    if type(a) is not type(b) or a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.data_ptr() == b.data_ptr() or torch.equal(a, b)


def weight(reference: Node, actual: Node, constants: Mapping[Node, Tensor]) -> Tensor | None:
    """The weight of an op whose quantized side has another one, output channels first.

    ``constants`` are those of the quantized graph that are dequantized.
    """
    if op_name(reference) not in _WEIGHTED or len(actual.args) < 2:
        return None
    source = actual.args[1]
    if not isinstance(source, Node):
        return None
    if is_dequantize(source):
        return constants.get(source)
    theirs, mine = value_of(reference.args[1]), value_of(source)
    swapped = isinstance(mine, Tensor) and mine.dtype not in HALF and not _same(mine, theirs)
    return theirs.detach() if swapped and isinstance(theirs, Tensor) else None


def has_shape_of(node: Node, other: Node) -> bool:
    """Whether two values have one shape, as it is written: to ask whether sizes are equal may have no
    answer yet."""
    one, two = _value(node), _value(other)
    if not isinstance(one, Tensor) or not isinstance(two, Tensor):
        return False
    return [*map(str, one.shape)] == [*map(str, two.shape)]


def selections(node: Node) -> set[Any]:
    """The symbols of the sizes of an op's output that depend on data: how many values were selected."""
    return {
        symbol
        for each in pytree.tree_leaves(_value(node))
        if isinstance(each, Tensor)
        for symbol in symbolic_shapes.free_unbacked_symbols(each)
    }


def _value(node: Node) -> Any:
    return node.meta.get("val")


def dtype(node: Node) -> torch.dtype | None:
    """The type of a node's values; of an op with several outputs, that of the first in floating point."""
    tensors = [each for each in pytree.tree_leaves(_value(node)) if isinstance(each, Tensor)]
    floating = [each for each in tensors if each.is_floating_point()]
    return next((each.dtype for each in (*floating, *tensors)), None)


def is_floating(node: Node) -> bool:
    value = _value(node)
    return isinstance(value, Tensor) and value.is_floating_point()


def is_complex(node: Node) -> bool:
    value = _value(node)
    return isinstance(value, Tensor) and value.is_complex()


def is_whole(node: Node) -> bool:
    """Whether a node gives integers or truth values: what values are selected by."""
    value = _value(node)
    return isinstance(value, Tensor) and not (value.is_floating_point() or value.is_complex())


def in_half(node: Node) -> bool:
    return dtype(node) in HALF


def uncast(node: Node) -> Node:
    """What ``node`` is the quantized or dequantized value of, or a cast for the graph's own sake."""
    while is_quantize_or_dequantize(node) or is_cast_between(node):
        node = node.args[0]  # type: ignore[assignment]
    return node


def is_cast_between(node: Node) -> bool:
    """Whether a node casts for the graph's own sake: it stands for no op of the program."""
    return handle_of(node) is None and op_name(node) in ("to", "_to_copy")
