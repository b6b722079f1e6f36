"""Histograms as ``torch.histc`` makes them, to the bit, in a quarter of the time.

``torch.histc`` takes some ten nanoseconds a value, and half of a calibration with histogram observers is
spent there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Of fewer values, torch makes a histogram as quickly.
_WORTHWHILE = 1 << 12
# Values of a block, which stays in the cache.
_BLOCK = 1 << 17
# torch counts in single precision, and stops there.
_MOST = 1 << 24
# torch counts in as many threads as there are, and this module in one.
_FEW_THREADS = 8


@contextmanager
def quick_histograms() -> Iterator[None]:
    """While the block runs, ``torch.histc`` is quick at what observers ask for."""
    original = torch.histc

    def histc(*args: Any, **kwargs: Any) -> Tensor:
        is_an_observer_s = len(args) == 2 and kwargs.keys() == {"min", "max"}
        counted = (
            _counted(args[0], args[1], kwargs["min"], kwargs["max"]) if is_an_observer_s else None
        )
        return original(*args, **kwargs) if counted is None else counted

    torch.histc = histc
    try:
        yield
    finally:
        torch.histc = original


def _counted(value: Tensor, bins: int, low: object, high: object) -> Tensor | None:
    """How many values are in each of ``bins`` bins between two ends.

    Returns None if torch shall count.
    """
    if (
        not isinstance(low, Tensor)
        or not isinstance(high, Tensor)
        or {each.dtype for each in (value, low, high)} != {torch.float32}
        or {each.device.type for each in (value, low, high)} != {"cpu"}
        or not _WORTHWHILE <= value.numel() < _MOST
        or torch.get_num_threads() > _FEW_THREADS
    ):
        return None
    width = high - low
    least, most = torch.aminmax(value)
    # Else values are not finite, outside, all the same, or too far apart to be placed.
    if not (low <= least and most <= high and 0 < width * bins < float("inf")):
        return None
    flat = value.reshape(-1)
    counts = torch.zeros(bins + 1, dtype=torch.int64)
    scratch = torch.empty(min(_BLOCK, flat.numel()))
    for block in torch.split(flat, _BLOCK):
        # The operations of torch's kernel, each of them rounded as there.
        place = torch.sub(block, low, out=scratch[: block.numel()]).mul_(bins).div_(width)
        counts += torch.bincount(place.to(torch.int32), minlength=bins + 1)
    # The last bin has its upper end, too.
    counts[bins - 1] += counts[bins]
    return counts[:bins].to(torch.float32)
