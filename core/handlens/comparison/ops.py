"""What an op does: to the values that it reads, to memory, and to what runs before and after it."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from handlens.capture.nodes import bodies, op_name, value_of
from handlens.comparison.memory import written_by

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
_OWNS_MEMORY = _WEIGHTED | {
    "add", "mul", "relu", "relu6", "hardtanh", "pad", "layer_norm", "matmul", "bmm",
}  # fmt: skip

_SUMS = {"add", "sub", "where"}

_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}

# The namespaces whose ops have a tag if they draw random numbers.
_TAGGED = {"aten", "prim", "prims", "quantized_decomposed", "torchao"}


def selects(node: Node) -> bool:
    """True if an op gives the values of one input, all or some of them."""
    return op_name(node) in _SELECTS


def moves_values(node: Node) -> bool:
    """True if the output values of an op are a selection of its input values."""
    return op_name(node) in _MOVES_VALUES


def sums_noise(node: Node) -> bool:
    """True if the noise of an op's inputs arrives at its output as it is, added up."""
    return op_name(node) in _SUMS


def has_weight(node: Node) -> bool:
    """True if an op multiplies its input with a weight whose output channels come first."""
    return op_name(node) in _WEIGHTED


def owns_memory(node: Node) -> bool:
    """True if the output of an op is certain to be memory of its own, and never that of an input."""
    return op_name(node) in _OWNS_MEMORY


def is_random(node: Node) -> bool:
    """True if an op may draw random numbers, by itself or in the bodies that it calls."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return any(is_random(each) for body in bodies(node) for each in value_of(body).graph.nodes)
    if node.target.namespace not in _TAGGED:
        # Few people who write an op of their own tag it.
        return True
    return torch.Tag.nondeterministic_seeded in node.target.tags and not _is_idle_dropout(node)


def _is_idle_dropout(node: Node) -> bool:
    if op_name(node) in _RECURRENT:
        given = {a.name: value for a, value in zip(node.target._schema.arguments, node.args)}  # type: ignore[union-attr]
        return bool(given.get("dropout") == 0.0 or given.get("train") is False)
    if op_name(node) == "scaled_dot_product_attention":
        dropout = node.args[4] if len(node.args) > 4 else node.kwargs.get("dropout_p", 0.0)
        return isinstance(dropout, float) and dropout == 0.0
    return op_name(node).rstrip("_") == "dropout" and node.args[2] is False


def has_effect(node: Node) -> bool:
    """True if it matters what an op runs before and after, beside the ops that it reads."""
    return bool(written_by(node)) or is_random(node) or _opens_vmap(node)


def _opens_vmap(node: Node) -> bool:
    """True if a node begins or ends a stretch of ops that ``vmap`` maps over a dimension."""
    return getattr(node.target, "__module__", "") == "torch._functorch.predispatch"


def live(model: GraphModule) -> set[Node]:
    """The nodes that the output of a graph, or an effect, depends on."""
    pending = [each for each in model.graph.nodes if each.op == "output" or has_effect(each)]
    found: set[Node] = set()
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending += node.all_input_nodes
    return found
