"""What the quantize and dequantize nodes of a converted graph say about their quantizers."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import Node

from handlens.report import Quantizer

Role = Literal["weight", "output", "input"]


def describe(node: Node, role: Role) -> Quantizer:
    """The quantizer behind a quantize or dequantize node of the decomposed operators."""
    name = node.target._opname  # type: ignore[union-attr]
    channels = "per_channel" in name
    scale, zero_point = (_value(each) for each in node.args[1:3])
    low, high, dtype = node.args[4:7] if channels else node.args[3:6]
    return Quantizer(
        role,
        str(dtype).removeprefix("torch."),
        "per-channel" if channels else "per-group" if "group" in name else "per-tensor",
        _extent(scale, float),
        _extent(zero_point, int),
        int(_value(low)),
        int(_value(high)),
    )


def limits(quantizer: Quantizer) -> tuple[float, float] | None:
    """The smallest and largest value that rounding still keeps within a per-tensor quantizer's range."""
    if quantizer.granularity != "per-tensor":
        return None
    if quantizer.scale is None or quantizer.zero_point is None:
        return None
    if quantizer.quant_min is None or quantizer.quant_max is None:
        return None
    scale, zero_point = quantizer.scale[0], quantizer.zero_point[0]
    return (
        (quantizer.quant_min - zero_point - 0.5) * scale,
        (quantizer.quant_max - zero_point + 0.5) * scale,
    )


def _value(argument: Any) -> Any:
    """A literal argument, or the constant tensor that a node stands for; None if it is computed."""
    if not isinstance(argument, Node):
        return argument
    if argument.op != "get_attr":
        return None
    value: Any = argument.graph.owning_module
    for name in str(argument.target).split("."):
        value = getattr(value, name)
    return value


def _extent(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Tensor):
        low, high = torch.aminmax(value.detach())
        return kind(low), kind(high)
    return kind(value), kind(value)
