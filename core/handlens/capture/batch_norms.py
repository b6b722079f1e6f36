"""What a batch norm gives, told by its input alone.

Export asks a decomposition of twenty ops for the shape of every batch norm, which takes a quarter of the
time that a convolutional network takes to export.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table

_OP = torch.ops.aten._native_batch_norm_legit_no_training.default
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@contextmanager
def quick_batch_norms() -> Iterator[None]:
    """While the block runs, torch knows what a common batch norm gives without decomposing it."""
    decomposed = decomposition_table.get(_OP)
    if decomposed is None:
        yield
        return

    # Torch looks at the function's name and module.
    @functools.wraps(decomposed)
    def norm(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not kwargs and _is_common(x, args[:4]):
            return torch.empty_like(x), x.new_empty(0), x.new_empty(0)
        return decomposed(x, *args, **kwargs)

    decomposition_table[_OP] = norm
    try:
        yield
    finally:
        decomposition_table[_OP] = decomposed


def _is_common(x: Tensor, parameters: tuple[Tensor | None, ...]) -> bool:
    """True for a value of known shape in a usual layout, and parameters that fit it."""
    channels = x.shape[1:2]
    return (
        x.device.type == "cpu"
        and x.is_floating_point()
        and x.dim() > 1
        and all(type(size) is int for size in x.shape)
        and _is_usual(x)
        and all(
            each is None
            or (each.shape == channels and each.dtype == x.dtype and each.device == x.device)
            for each in parameters
        )
    )


def _is_usual(x: Tensor) -> bool:
    """True if a value has the strides of one that was made in its layout, also where a size is 1."""
    if x.is_contiguous():
        return x.stride() == _strides(x.shape)
    layout = _CHANNELS_LAST.get(x.dim())
    if layout is None or not x.is_contiguous(memory_format=layout):
        return False
    batch, channels, *area = x.shape
    outer, *inner, last = _strides((batch, *area, channels))
    return x.stride() == (outer, last, *inner)


def _strides(sizes: Sequence[int]) -> tuple[int, ...]:
    """The strides of a contiguous tensor."""
    return tuple(itertools.accumulate(reversed(sizes[1:]), operator.mul, initial=1))[::-1]
