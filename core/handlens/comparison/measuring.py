"""From two tensors to a few sums.

Tensors are read block by block. A block of both and of their difference stays in the processor's cache
for all the sums and extrema that are taken of it, and nothing of a tensor's size is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from handlens.comparison.statistics import Sums

# Values of a block for each thread: three buffers of them fit a second-level cache.
_BLOCK = 1 << 17
# Squares of numbers within these bounds neither overflow nor vanish in float32.
_LARGEST = 1e15
_SMALLEST = 1e-15

_NARROW = (torch.float32, torch.float16, torch.bfloat16)
"""What float32 has all values of."""


def measure(reference: Tensor, actual: Tensor) -> Sums:
    """The sums of a pair of tensors of one shape, whatever their dtypes and values are."""
    if not reference.numel():
        return Sums()
    r, a = flat(reference, actual)
    if r.dtype in _NARROW and a.dtype in _NARROW:
        sums = _measure_float32(r, a)
        if sums is not None:
            return sums
    return _measure_any(r, a)


def noise(
    reference: Tensor, actual: Tensor, transform: Callable[[Tensor, Tensor], Tensor] | None = None
) -> float:
    """Sum of squared differences between float32 tensors of one shape, and nothing else.

    ``transform(block, out)`` writes what it makes of a block of ``actual`` to ``out``. NaN where float32
    does not do: for values that are not finite, and errors whose squares vanish.
    """
    r, a = flat(reference, actual)
    scratch = torch.empty(block_size(r), dtype=torch.float32, device=r.device)
    parts = []
    for r_block, a_block in zip(blocks(r), blocks(a)):
        error = scratch[: r_block.numel()]
        value = a_block if transform is None else transform(a_block, error)
        torch.sub(value, r_block, out=error)
        parts.append(torch.dot(error, error))
    total = math.fsum(torch.stack(parts).tolist())
    return total if _SMALLEST**2 < total < math.inf else math.nan


def outside(values: Tensor, low: float, high: float, margin: float) -> tuple[int, float]:
    """How many values are more than ``margin`` away from a range, and the sum of the squared distances of
    those to the range. For finite float32 values."""
    count, energy = 0, 0.0
    (vector,) = flat(values)
    scratch = torch.empty(block_size(vector), dtype=torch.float32, device=vector.device)
    for block in blocks(vector):
        beyond = scratch[: block.numel()]
        torch.clamp(block, low - margin, high + margin, out=beyond)
        torch.sub(block, beyond, out=beyond)
        squares = float(torch.dot(beyond, beyond))
        if squares:
            number = int(torch.count_nonzero(beyond))
            distance = float(beyond.abs_().sum())
            count += number
            energy += squares + 2 * margin * distance + number * margin**2
    return count, energy


def magnitudes(value: Tensor, channel_dim: int) -> Tensor:
    """The largest magnitude of each channel."""
    dims = [dim for dim in range(value.dim()) if dim != channel_dim % value.dim()]
    if not dims:
        return value.abs()
    return torch.maximum(value.amax(dims), -value.amin(dims))


# -- blocks ----------------------------------------------------------------------------------------


def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of one shape as vectors in one order, that of memory if they share it."""
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
    """How many values of a vector to take at a time; all of them on a device that has no such cache."""
    size = _BLOCK * torch.get_num_threads() if vector.is_cpu else vector.numel()
    return max(1, min(size, vector.numel()))


def blocks(vector: Tensor) -> Sequence[Tensor]:
    return torch.split(vector, block_size(vector))


def _measure_float32(r: Tensor, a: Tensor) -> Sums | None:
    """Sums of products in float32 within a block, which rounds them to about six digits, and in float64
    over the blocks. None for values whose squares float32 cannot hold."""
    scratch = torch.empty(block_size(r), dtype=torch.float32, device=r.device)
    parts: list[Tensor] = []
    for r_block, a_block in zip(blocks(r), blocks(a)):
        r_block, a_block = r_block.float(), a_block.float()
        error = torch.sub(a_block, r_block, out=scratch[: r_block.numel()])
        parts += (
            torch.dot(r_block, r_block),
            torch.dot(error, error),
            torch.dot(a_block, a_block),
            torch.dot(r_block, a_block),
            *torch.aminmax(r_block),
            *torch.aminmax(a_block),
            *torch.aminmax(error),
        )
    columns = torch.stack(parts).view(-1, 10).double()
    signal, noise, actual, product = columns[:, :4].sum(0).tolist()
    lows = columns.amin(0).tolist()
    highs = columns.amax(0).tolist()
    error = max(-lows[8], highs[9])
    extents = (max(-lows[4], highs[5]), max(-lows[6], highs[7]), error)
    if not math.isfinite(signal + noise + actual + product) or max(extents) > _LARGEST:
        return None
    if any(0 < each < _SMALLEST for each in extents):
        return None
    return Sums(
        count=r.numel(),
        signal=signal,
        noise=noise,
        actual=actual,
        product=product,
        max_abs_error=error,
        reference_min=lows[4],
        reference_max=highs[5],
        actual_min=lows[6],
        actual_max=highs[7],
    )


def _measure_any(r: Tensor, a: Tensor) -> Sums:
    """In float64, without the pairs that are not finite."""
    sums = Sums()
    for r_block, a_block in zip(blocks(r), blocks(a)):
        if r_block.is_complex() or a_block.is_complex():
            r_block, a_block = _real(r_block), _real(a_block)
        error = _difference(r_block, a_block)
        r_block, a_block = r_block.double(), a_block.double()
        known = torch.isfinite(r_block)
        both = known & torch.isfinite(a_block)
        if not bool(both.all()):
            sums.non_finite += int((known & ~both).sum())
            r_block, a_block, error = r_block[both], a_block[both], error[both]
        if not r_block.numel():
            continue
        sums.count += r_block.numel()
        sums.signal += float(torch.dot(r_block, r_block))
        sums.noise += float(torch.dot(error, error))
        sums.actual += float(torch.dot(a_block, a_block))
        sums.product += float(torch.dot(r_block, a_block))
        sums.max_abs_error = max(sums.max_abs_error, float(error.abs().max()))
        low, high = (float(each) for each in torch.aminmax(r_block))
        sums.reference_min = min(sums.reference_min, low)
        sums.reference_max = max(sums.reference_max, high)
        low, high = (float(each) for each in torch.aminmax(a_block))
        sums.actual_min, sums.actual_max = min(sums.actual_min, low), max(sums.actual_max, high)
    return sums


def _real(values: Tensor) -> Tensor:
    """Complex values as pairs of reals."""
    if not values.is_complex():
        values = values.to(torch.complex128)
    if values.dtype == torch.complex32:
        values = values.to(torch.complex64)
    return torch.view_as_real(values.resolve_conj()).flatten()


def _difference(r: Tensor, a: Tensor) -> Tensor:
    whole = not (r.is_floating_point() or a.is_floating_point())
    if whole:
        # Integers beyond 2**53 differ by less than float64 can tell.
        return (a.to(torch.int64) - r.to(torch.int64)).double()
    return a.double() - r.double()
