"""Tensors in blocks that stay in the processor's cache while several passes read them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# How many values a block has for each thread: enough that the cost of calls does not matter, and few enough
# that some blocks fit into the processor's caches.
_BLOCK = 1 << 18

# Up to here, float32 can count.
_LARGEST = 1 << 24


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
    """How many values make a block of a vector: as many as possible on a device other than the CPU."""
    return min(_BLOCK * torch.get_num_threads(), _LARGEST) if vector.is_cpu else _LARGEST


def blocks(vector: Tensor) -> Sequence[Tensor]:
    size = block_size(vector)
    # A call of torch costs as much as a pass over a small tensor.
    return torch.split(vector, size) if vector.numel() > size else (vector,)
