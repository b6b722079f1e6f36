"""Tensors in blocks that stay in the processor's cache while several passes read them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# How many values a block has for each thread: enough that the cost of calls does not matter, and few enough
# that some blocks fit into the processor's caches.
_BLOCK = 1 << 18


def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of one shape as vectors in one order of values: that of memory, if their strides agree."""
    if all(each.is_contiguous() for each in tensors):
        return tuple(each.view(-1) for each in tensors)
    strides = tensors[0].stride()
    if all(each.stride() == strides for each in tensors):
        order = sorted(range(len(strides)), key=lambda dim: -strides[dim])
        permuted = [each.permute(order) for each in tensors]
        if permuted[0].is_contiguous():
            return tuple(each.view(-1) for each in permuted)
    return tuple(each.reshape(-1) for each in tensors)


def block_size(vector: Tensor) -> int:
    """How many values of a vector make a block: all of them on a device other than the CPU."""
    size = _BLOCK * torch.get_num_threads() if vector.is_cpu else vector.numel()
    return max(1, min(size, vector.numel()))


def blocks(vector: Tensor) -> Sequence[Tensor]:
    return torch.split(vector, block_size(vector))
