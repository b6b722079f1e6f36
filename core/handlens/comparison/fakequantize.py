"""A per-tensor quantize op and the dequantize op after it, as one module."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_batchedtensor

from handlens.comparison.blocks import blocks, flat


class FakeQuantizer(nn.Module):
    """Computes what the pair of ops computes, to the bit, in a fraction of its time.

    Values for which the results might differ go through the pair of ops: other types than float32, and NaN,
    which every processor converts to another integer.
    """

    def __init__(self, quantize: Any, dequantize: Any, arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self._quantize, self._dequantize, self._arguments = quantize, dequantize, arguments
        self.scale, zero_point, quant_min, quant_max = arguments[:4]
        self._low, self._high = float(quant_min - zero_point), float(quant_max - zero_point)
        # Torch makes a tensor of a number at every call, which takes as long as a block of a small tensor.
        self._inverse, self._zero = (
            torch.tensor(1.0 / self.scale, dtype=torch.float32),
            torch.zeros(()),
        )

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value that the module can give."""
        return self._low * self.scale, self._high * self.scale

    def forward(self, value: Tensor, in_place: bool = False) -> Tensor:
        """Quantize and dequantize values. If ``in_place``, the result overwrites ``value``."""
        if value.dtype != torch.float32 or not value.numel() or is_batchedtensor(value):
            return self._pair(value)
        result = value if in_place else torch.empty_like(value)
        if result.stride() != value.stride():
            return self._pair(value)
        source, target = flat(value, result)
        if target.data_ptr() != result.data_ptr():
            return self._pair(value)
        for source_block, target_block in zip(blocks(source), blocks(target)):
            # The sum is NaN if one of the values is.
            if math.isnan(float(source_block.sum())):
                target_block.copy_(self._pair(source_block))
            else:
                self.into(source_block, target_block)
        return result

    def into(self, value: Tensor, out: Tensor) -> Tensor:
        """Quantize and dequantize float32 values into ``out``. NaN stays NaN."""
        torch.mul(value, self._inverse, out=out)
        out.round_().clamp_(self._low, self._high)
        # Added to zero, because an integer cannot be a negative zero.
        return torch.add(self._zero, out, alpha=self.scale, out=out)

    def _pair(self, value: Tensor) -> Tensor:
        quantized = self._quantize(value, *self._arguments)
        result: Tensor = self._dequantize(quantized, *self._arguments)
        return result
