"""A per-tensor quantize op and the dequantize op after it, as one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from handlens.comparison.measuring import blocks, flat


class FakeQuantizer(nn.Module):
    """Computes what the pair of ops computes, to the bit, in a fraction of its time.

    A tensor that its arithmetic is not known to be the same for (another dtype, NaN, of which every
    processor makes another integer) goes through the pair itself.
    """

    def __init__(self, quantize: Any, dequantize: Any, arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self._quantize, self._dequantize, self._arguments = quantize, dequantize, arguments
        self.scale, self.zero_point, self.quant_min, self.quant_max = arguments[:4]

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value that comes out."""
        low, high = self.quant_min - self.zero_point, self.quant_max - self.zero_point
        return low * self.scale, high * self.scale

    def forward(self, value: Tensor) -> Tensor:
        if value.dtype != torch.float32 or not value.numel():
            return self._pair(value)
        result = torch.empty_like(value)
        if result.stride() != value.stride():
            return self._pair(value)
        source, target = flat(value, result)
        if target.data_ptr() != result.data_ptr():
            return self._pair(value)
        parts = [self.into(*each).sum() for each in zip(blocks(source), blocks(target))]
        if bool(torch.stack(parts).sum().isnan()):
            return self._pair(value)
        return result

    def into(self, value: Tensor, out: Tensor) -> Tensor:
        """The quantized float32 values, written to ``out``. What is NaN stays NaN."""
        torch.mul(value, 1.0 / self.scale, out=out)
        # Adding a zero point of zero matters, too: integers know no negative zero.
        out.round_().add_(self.zero_point).clamp_(self.quant_min, self.quant_max)
        if self.zero_point:
            out.sub_(self.zero_point)
        return out.mul_(self.scale)

    def _pair(self, value: Tensor) -> Tensor:
        quantized = self._quantize(value, *self._arguments)
        result: Tensor = self._dequantize(quantized, *self._arguments)
        return result
