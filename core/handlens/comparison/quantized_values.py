"""What lies between the ops of a quantized graph: quantize, dequantize and cast nodes, and constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    HALF,
    is_dequantize,
    is_floating,
    is_quantize,
    is_quantize_or_dequantize,
    op_name,
    value_of,
)
from handlens.comparison.ops import has_weight, moves_values


def output_quantizers(node: Node) -> list[Node]:
    """The quantize nodes of an op's output whose dequantized values are read."""
    return [
        each
        for each in node.users
        if is_quantize(each) and each.args[0] is node and any(map(is_dequantize, each.users))
    ]


def unquantized(node: Node) -> Node:
    """The node whose value a chain of quantize and dequantize nodes ending in ``node`` has quantized."""
    while is_quantize_or_dequantize(node):
        node = node.args[0]  # type: ignore[assignment]
    return node


def is_added_cast(node: Node) -> bool:
    """True if a recipe added a node to cast a value: it stands for no op of the program."""
    return handle_of(node) is None and op_name(node) in ("to", "_to_copy")


def original(node: Node) -> Node:
    """The node whose value arrives at ``node`` through quantize and dequantize nodes and added casts."""
    while is_quantize_or_dequantize(node) or is_added_cast(node):
        node = node.args[0]  # type: ignore[assignment]
    return node


def is_cast_input(node: Node) -> bool:
    """True if a node is an input of the graph after a cast that a recipe added."""
    source = original(node)
    return node is not source and source.op == "placeholder"


def reads_constant(node: Node) -> bool:
    """True if a node is the dequantized value of a weight, a constant or an input of the model."""
    return is_dequantize(node) and unquantized(node).op in ("get_attr", "placeholder")


def only_moves(node: Node, quantize: Node) -> bool:
    """True if all that ``node`` does is to move values from one quantizer to an equal one."""
    if not moves_values(node):
        return False
    own = _parameters(quantize)
    inputs = [each for each in node.all_input_nodes if is_dequantize(each) or is_floating(each)]
    return bool(inputs) and all(is_dequantize(each) and _parameters(each) == own for each in inputs)


def _parameters(node: Node) -> tuple[Any, ...]:
    return tuple(node.args[1:6])


def constant_value(dequantize: Node) -> Tensor | None:
    """The value of a dequantize node that depends on constants only; None for any other."""
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


def has_other_constants(reference: Node, actual: Node) -> bool:
    """True if the quantized op has a parameter that the reference op does not have."""
    theirs = [value_of(each) for each in reference.all_input_nodes if each.op == "get_attr"]
    mine = [value_of(each) for each in actual.all_input_nodes if each.op == "get_attr"]
    return any(not any(_is_same(a, r) for r in theirs) for a in mine)


def weight(reference: Node, actual: Node, constants: Mapping[Node, Tensor]) -> Tensor | None:
    """The weight of an op that has another one in the quantized graph, output channels first.

    It is the dequantized weight, one of ``constants``, if a dequantize node gives it; else the float one.
    """
    if not has_weight(reference) or len(actual.args) < 2:
        return None
    source = actual.args[1]
    if not isinstance(source, Node):
        return None
    if is_dequantize(source):
        return constants.get(source)
    theirs, mine = value_of(reference.args[1]), value_of(source)
    swapped = isinstance(mine, Tensor) and mine.dtype not in HALF and not _is_same(mine, theirs)
    return theirs.detach() if swapped and isinstance(theirs, Tensor) else None


def _is_same(a: Any, b: Any) -> bool:
    if a is b or not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return a is b or not isinstance(a, Tensor)
    if type(a) is not type(b) or a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.data_ptr() == b.data_ptr() or torch.equal(a, b)
