"""The ``int4-weight-only`` recipe: linear layers with 4 bit weights in groups, for CPUs and CUDA.

torchao's kernel for such weights on a CPU has fast code for bfloat16 only: in float32 it takes 30 to 130
times as long as a float layer. Whatever the type of the model, the kernel multiplies and sums in float32,
and rounds once. So do the functions here, which dequantize the weight once for all ops that multiply with
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import torch
import torchao
from torch import Tensor, nn
from torchao.quantization import Int4WeightOnlyConfig

from handlens.capture.nodes import dtype_name
from handlens.recipes.int8 import WEIGHT_ONLY
from handlens.recipes.recipe import UnknownRecipe
from handlens.recipes.weights import Dequantization, WeightFormat, WeightRecipe, scales
from handlens.report import Quantizer, Thresholds

_NAME = "int4-weight-only"
_GROUPS = (128, 64, 32)
_OUTPUTS = 16

# torchao's configuration of 4 bit weights for CPUs, by its names in torchao 0.18, 0.17 and 0.16.
_CONFIGURATIONS = (
    ("torchao.prototype.quantization.int4", "PrototypeInt4WeightOnlyConfig"),
    ("torchao.prototype.quantization.int4", "Int4WeightOnlyOpaqueTensorConfig"),
    ("torchao.prototype.int4_opaque_tensor", "Int4WeightOnlyOpaqueTensorConfig"),
)


def configuration(group_size: int) -> Any:
    """torchao's configuration for 4 bit weights on CPUs. Raises UnknownRecipe if torchao has none."""
    # Int4WeightOnlyConfig has layouts for GPUs only; this one has the same numbers.
    for module, name in _CONFIGURATIONS:
        with suppress(ImportError, AttributeError):
            kind = getattr(import_module(module), name)
            return kind(group_size=group_size, set_inductor_config=False)
    raise UnknownRecipe(
        f"recipe {_NAME} needs the 4 bit weights for CPUs of torchao, and torchao "
        f"{torchao.__version__} has none that Handlens knows"
    )


def _config(layer: nn.Linear, groups: tuple[int, ...] = _GROUPS) -> Any:
    device, dtype = layer.weight.device.type, layer.weight.dtype
    if device not in ("cpu", "cuda"):
        raise UnknownRecipe(
            f"recipe {_NAME} runs on the CPU and on CUDA, and the model is on {layer.weight.device}: "
            "move the model and its inputs to the CPU"
        )
    if device == "cuda" and dtype != torch.bfloat16:
        raise UnknownRecipe(
            f"recipe {_NAME} takes models in bfloat16 on CUDA, where torchao has no kernel for "
            f"{dtype_name(dtype)}: cast the model and its inputs, or move them to the CPU"
        )
    group = next((each for each in groups if layer.in_features % each == 0), None)
    if group is None or layer.out_features % _OUTPUTS:
        return None
    if device == "cuda":
        return Int4WeightOnlyConfig(
            group_size=group, int4_packing_format="tile_packed_to_4d", set_inductor_config=False
        )
    return configuration(group)


def _finest(layer: nn.Linear) -> Any:
    return _config(layer, _GROUPS[-1:])


def _describe(weight: Any) -> tuple[Quantizer, ...]:
    extent, rms = scales(weight.scale_and_zero[..., 0])
    # The zero point is a weight, a floating point number, so there is no integer to report.
    return (Quantizer("weight", "uint4", "per-group", extent, None, 0, 15, rms),)


def _join(weights: Sequence[Any]) -> Tensor:
    first = weights[0]
    rows = sum(each.shape[0] for each in weights)
    joined: Tensor = type(first)(
        torch.cat([each.qdata for each in weights]),
        torch.cat([each.scale_and_zero for each in weights], 1),
        first.block_size,
        torch.Size((rows, first.shape[1])),
    )
    return joined


# How many values are dequantized in one go, so that they stay in the processor's cache.
_VALUES = 1 << 18
# The step that stands for the zero point of a group.
_ZERO = 8
# Kernels pack blocks of at most so many rows.
_ROWS = 64
# The largest difference between two orders of a sum, by the sum of magnitudes.
_TOLERANCE = 1e-4


def dequantize(quantized: Any, weight: Tensor) -> Tensor:
    """The values that the kernel multiplies with, in float32. ``quantized`` was made of ``weight``.

    The integers of a quantized weight are packed as the processor's kernel wants them, so they are computed
    anew as torchao computes them.
    """
    result = torch.empty(weight.shape, dtype=torch.float32)
    group = quantized.block_size[1]
    rows = max(1, _VALUES // weight.shape[1])
    parts = zip(
        torch.split(weight.detach(), rows),
        torch.split(quantized.scale_and_zero.transpose(0, 1), rows),
        torch.split(result, rows),
    )
    for part, scale_and_zero, out in parts:
        scale, zero = scale_and_zero.unsqueeze(-1).unbind(2)
        steps = part.reshape(len(part), -1, group) - (zero - scale * _ZERO)
        steps.div_(scale).round_().clamp_(0, 15).sub_(_ZERO)
        torch.addcmul(zero.float(), steps.float(), scale.float(), out=out.view(len(out), -1, group))
    return result


def linear(x: Tensor, quantized: Any, values: Tensor, bias: Tensor | None = None) -> Tensor:
    """What ``nn.functional.linear(x, quantized, bias)`` gives, but for the order in which it sums."""
    if x.dtype != quantized.dtype:
        # torchao decides whether that can be computed.
        return nn.functional.linear(x, quantized, bias)
    with torch.autocast("cpu", enabled=False):
        y = nn.functional.linear(x.float(), values).to(x.dtype)
    return y if bias is None else y.add_(bias)


def _agrees(quantized: Any, weight: Tensor) -> bool:
    """True if the last rows of a weight, one full block of the kernel among them, give what it gives."""
    if weight.device.type != "cpu":
        # Nothing is slow there.
        return False
    first = max(0, (len(weight) - 1) // _ROWS - 1) * _ROWS
    part = _rows(quantized, first)
    x = torch.arange(weight.shape[1]).sin().to(weight.dtype).unsqueeze(0)
    values = dequantize(part, weight[first:])
    theirs = nn.functional.linear(x, part).float()
    mine = linear(x, part, values).float()
    magnitude = nn.functional.linear(x.float().abs(), values.abs())
    tolerance = _TOLERANCE + torch.finfo(weight.dtype).eps
    return bool(((mine - theirs).abs() <= tolerance * magnitude).all())


def _rows(quantized: Any, first: int) -> Any:
    """The rows of a quantized weight from ``first`` on, which is where a block begins."""
    return type(quantized)(
        quantized.qdata[first:],
        quantized.scale_and_zero[:, first:].contiguous(),
        quantized.block_size,
        torch.Size((quantized.shape[0] - first, quantized.shape[1])),
    )


_DEQUANTIZATION = Dequantization(dequantize, linear, _agrees)

RECIPES = (
    WeightRecipe(
        _NAME,
        WeightFormat(_config, _describe, _join, _DEQUANTIZATION),
        f"4 bit weights need a multiple of {min(_GROUPS)} inputs and of {_OUTPUTS} outputs",
        # An op at the noise floor has about 20 dB: at 0 dB the noise is as loud as the signal.
        Thresholds(0.0, 5.0, 10.0),
        {
            "weight-finer-group": WeightFormat(_finest, _describe, _join, _DEQUANTIZATION),
            "weight-8-bit": WEIGHT_ONLY,
        },
    ),
)
