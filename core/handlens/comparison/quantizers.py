"""Quantizers from the arguments of quantize and dequantize nodes: as a report has them, or as a module."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import Node

from handlens.capture.nodes import dtype_name, is_dequantize, value_of
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.report import FloatFormat, Quantizer

Role = Literal["weight", "output", "input"]
Granularity = Literal["per-tensor", "per-channel", "per-group", "per-token"]

# Integers up to here, and sums of two of them, are exact in float32.
_EXACT = 1 << 16


def describe(node: Node, role: Role) -> Quantizer:
    """Describe the quantizer of a quantize or dequantize node."""
    name = node.target._opname  # type: ignore[union-attr]
    args: Any = node.args
    axis = None
    if "affine" in name:
        scale, zero_point, dtype, low, high = args[2:7]
    elif "per_channel" in name and "group" not in name:
        scale, zero_point, axis, (low, high, dtype) = args[1], args[2], args[3], args[4:7]
    else:
        scale, zero_point, low, high, dtype = args[1:6]
    scale, zero_point = value_of(scale), value_of(zero_point)
    if scale is not None and not bool(torch.isfinite(torch.as_tensor(scale)).all()):
        # Calibration has seen infinities.
        scale = None
    return Quantizer(
        role,
        dtype_name(dtype),
        _granularity(name, scale),
        _extent(scale, float),
        _extent(zero_point, int),
        _whole(value_of(low)),
        _whole(value_of(high)),
        None if scale is None else float(torch.as_tensor(scale).double().square().mean().sqrt()),
        axis if isinstance(axis, int) else None,
    )


def cast(role: Role, dtype: torch.dtype) -> Quantizer:
    """The quantizer that stands for a cast to a floating point type."""
    numbers = torch.finfo(dtype)
    significant_bits = 1 - round(math.log2(numbers.eps))
    return Quantizer(
        role,
        dtype_name(dtype),
        "per-value",
        *(None, None, None, None),
        format=FloatFormat(significant_bits, numbers.smallest_normal, numbers.max),
    )


def _granularity(name: str, scale: Any) -> Granularity:
    if "token" in name:
        return "per-token"
    if "group" in name:
        return "per-group"
    if "per_channel" in name:
        return "per-channel"
    if "affine" in name and isinstance(scale, Tensor) and scale.numel() > 1:
        return "per-channel" if scale.squeeze().dim() == 1 else "per-group"
    return "per-tensor"


def fake_quantizer(quantize: Node) -> FakeQuantizer | None:
    """A module for a quantize node and its dequantize nodes; None if its values might differ."""
    ops = torch.ops.quantized_decomposed
    if quantize.target is not ops.quantize_per_tensor.default:
        return None
    arguments = tuple(quantize.args[1:])
    dequantizes = [each for each in quantize.users if is_dequantize(each)]
    plain = all(
        each.target is ops.dequantize_per_tensor.default
        and each.args[1:] == arguments
        and each.kwargs.get("out_dtype") in (None, torch.float32)
        for each in dequantizes
    )
    if not dequantizes or not plain or quantize.kwargs or len(arguments) != 5:
        return None
    integers = [each for each in arguments[1:4] if isinstance(each, int) and abs(each) <= _EXACT]
    if not isinstance(arguments[0], float) or len(integers) != 3:
        return None
    return FakeQuantizer(quantize.target, dequantizes[0].target, arguments)


def _extent(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Tensor):
        low, high = torch.aminmax(value.detach())
        return kind(low), kind(high)
    return kind(value), kind(value)


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
