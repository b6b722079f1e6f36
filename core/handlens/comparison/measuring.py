"""Sums and extrema of the error between two tensors.

Tensors are read block by block: a block stays in the processor's cache until all its sums and extrema are
computed, and no memory of a tensor's size is allocated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from handlens.comparison.blocks import blocks, flat
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.comparison.statistics import Sums
from handlens.report import Histogram

# Squares of numbers within these bounds neither overflow nor vanish in float32.
_LARGEST = 1e15
_SMALLEST = 1e-15

_END = torch.finfo(torch.float32).max

_NARROW = (torch.float32, torch.float16, torch.bfloat16)
"""The types whose values float32 can represent exactly."""


def measure(reference: Tensor, actual: Tensor, introduced: Introduced | None = None) -> Sums:
    """The sums of a pair of tensors of one shape, of any types and values.

    ``introduced`` is measured in the same pass, if float32 is precise enough.
    """
    if not reference.numel():
        return Sums(empty=1)
    before = introduced.before if introduced is not None else None
    r, a, *more = flat(reference, actual, *([] if before is None else [before]))
    if r.dtype in _NARROW and a.dtype in _NARROW:
        sums = _measure_float32(r, a, more[0] if more else None, introduced)
        if sums is not None:
            return sums
    if introduced is not None:
        introduced.give_up()
    return _measure_any(r, a)


class Introduced:
    """The noise that an op introduces, in float32, measured while a block of its reference is in the cache.

    ``before`` is the op computed in the quantized way from reference inputs, before its output is
    quantized; None if that is the reference itself. ``quantizers`` are those of its output that it is
    charged for.
    """

    def __init__(self, before: Tensor | None, quantizers: Sequence[FakeQuantizer]) -> None:
        self.before = before
        self._quantizers = quantizers
        self._energies: list[list[Tensor]] = []
        """By block, and in it by source of noise."""
        self._outside = 0
        self._clipping_noise = 0.0
        self._gave_up = False

    def add(
        self, reference: Tensor, before: Tensor | None, low: float, high: float, scratch: Tensor
    ) -> None:
        """Measure a block, whose reference is between ``low`` and ``high``."""
        energies: list[Tensor] = []
        if before is not None:
            torch.sub(before, reference, out=scratch)
            energies.append(torch.dot(scratch, scratch))
        for quantizer in self._quantizers:
            quantizer.into(reference if before is None else before, scratch)
            scratch.sub_(reference)
            energies.append(torch.dot(scratch, scratch))
        self._energies.append(energies)
        if self._quantizers:
            bottom, top = self._quantizers[0].range
            margin = 0.5 * self._quantizers[0].scale
            if low < bottom - margin or high > top + margin:
                self._clip(reference, bottom, top, margin, scratch)

    def give_up(self) -> None:
        """Discard all blocks: float32 cannot hold their squares."""
        self._energies.clear()
        self._outside, self._clipping_noise = 0, 0.0
        self._gave_up = True

    def clipping(self, reference: Tensor) -> tuple[int, float]:
        """The result of ``clipping`` for the first quantizer."""
        if self._gave_up:
            return clipping(reference, self._quantizers[0])
        return self._outside, self._clipping_noise

    def energies(self) -> list[float] | None:
        """Sums of squared differences from the reference: of ``before``, if there is one, and of each
        quantizer's output. None if float32 cannot hold them."""
        sums = [math.fsum(map(float, column)) for column in zip(*self._energies)]
        return sums if sums and all(_SMALLEST**2 < each < math.inf for each in sums) else None

    def _clip(
        self, values: Tensor, low: float, high: float, margin: float, scratch: Tensor
    ) -> None:
        # The range of a mask may reach to the end of float32, and clamp takes no bound beyond that.
        low, high = max(low - margin, -_END), min(high + margin, _END)
        torch.clamp(values, low, high, out=scratch)
        torch.sub(values, scratch, out=scratch)
        squares = float(torch.dot(scratch, scratch))
        distance = float(scratch.abs_().sum())
        # A third of the time of ``count_nonzero``, and exact in a block.
        number = int(scratch.sign_().sum())
        self._outside += number
        self._clipping_noise += squares + 2 * margin * distance + number * margin**2


def clipping(reference: Tensor, quantizer: FakeQuantizer) -> tuple[int, float]:
    """Count the finite values more than half a step beyond the range of a quantizer.

    Returns their number, and the sum of their squared distances to that range.
    """
    low, high = quantizer.range
    margin = 0.5 * quantizer.scale
    number, noise = 0, 0.0
    (values,) = flat(reference)
    for block in blocks(values):
        beyond = block.double() - block.double().clamp(low - margin, high + margin)
        beyond = beyond[torch.isfinite(beyond) & (beyond != 0)].abs() + margin
        number += beyond.numel()
        noise += float(torch.dot(beyond, beyond))
    return number, noise


def _measure_float32(
    r: Tensor, a: Tensor, before: Tensor | None, introduced: Introduced | None
) -> Sums | None:
    """Sums in float32 within a block, which rounds them to about six digits, and in float64 over blocks.

    None for values whose squares float32 cannot hold.
    """
    found: list[list[float]] = []
    scratch: Tensor | None = None
    befores = itertools.repeat(None) if before is None else blocks(before)
    for r_block, a_block, before_block in zip(blocks(r), blocks(a), befores):
        r_block, a_block = r_block.float(), a_block.float()
        # The errors of all blocks are in one place, which stays in the cache.
        place = scratch if scratch is None else scratch[: r_block.numel()]
        error = torch.sub(a_block, r_block, out=place)
        scratch = error if scratch is None else scratch
        parts = (
            torch.dot(r_block, r_block),
            torch.dot(error, error),
            torch.dot(r_block, error),
            *torch.aminmax(r_block),
            *torch.aminmax(a_block),
            *torch.aminmax(error),
        )
        values: list[float] = torch.stack(parts).tolist()
        if not all(map(math.isfinite, values)):
            return None
        found.append(values)
        if introduced is not None:
            introduced.add(r_block, before_block, values[3], values[4], error)
    columns = list(zip(*found))
    signal, noise, shift = map(math.fsum, columns[:3])
    lows, highs = [*map(min, columns[3::2])], [*map(max, columns[4::2])]
    largest = max(-lows[2], highs[2])
    extents = (max(-lows[0], highs[0]), max(-lows[1], highs[1]), largest)
    if max(extents) > _LARGEST or any(0 < each < _SMALLEST for each in extents):
        return None
    if 4 * noise < signal:
        # From a = r + (a - r), without cancellation.
        product, actual = signal + shift, signal + 2 * shift + noise
    else:
        product, actual = _products(r, a)
    return Sums(
        count=r.numel(),
        signal=signal,
        noise=noise,
        actual=actual,
        product=product,
        max_abs_error=largest,
        reference_min=lows[0],
        reference_max=highs[0],
        actual_min=lows[1],
        actual_max=highs[1],
    )


def _products(r: Tensor, a: Tensor) -> tuple[float, float]:
    """Sums of r·a and of a²."""
    parts: list[Tensor] = []
    for r_block, a_block in zip(blocks(r), blocks(a)):
        r_block, a_block = r_block.float(), a_block.float()
        parts += (torch.dot(r_block, a_block), torch.dot(a_block, a_block))
    product, actual = torch.stack(parts).view(-1, 2).double().sum(0).tolist()
    return product, actual


def _measure_any(r: Tensor, a: Tensor) -> Sums:
    """Sums in float64, without the pairs that are not finite."""
    sums = Sums()
    for r_block, a_block in zip(blocks(r), blocks(a)):
        if r_block.is_complex() or a_block.is_complex():
            r_block, a_block = _real(r_block), _real(a_block)
        error = _difference(r_block, a_block)
        r_block, a_block = r_block.double(), a_block.double()
        if math.isfinite(float(r_block.sum()) + float(a_block.sum())):
            _extend(sums, r_block, a_block)
        else:
            known, there = torch.isfinite(r_block), torch.isfinite(a_block)
            both = known & there
            sums.non_finite += int((known & ~there).sum())
            sums.unknown += int((~known).sum())
            # The range includes reference values that overflow in the actual tensor.
            _extend(sums, r_block[known], a_block[there])
            sums.nan += int(torch.isnan(r_block).sum())
            r_block, a_block, error = r_block[both], a_block[both], error[both]
        if not r_block.numel():
            continue
        sums.count += r_block.numel()
        sums.signal += float(torch.dot(r_block, r_block))
        sums.noise += float(torch.dot(error, error))
        sums.actual += float(torch.dot(a_block, a_block))
        sums.product += float(torch.dot(r_block, a_block))
        sums.max_abs_error = max(sums.max_abs_error, float(error.abs().max()))
    return sums


def _extend(sums: Sums, reference: Tensor, actual: Tensor) -> None:
    if reference.numel():
        low, high = (float(each) for each in torch.aminmax(reference))
        sums.reference_min = min(sums.reference_min, low)
        sums.reference_max = max(sums.reference_max, high)
    if actual.numel():
        low, high = (float(each) for each in torch.aminmax(actual))
        sums.actual_min, sums.actual_max = min(sums.actual_min, low), max(sums.actual_max, high)


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


_BINS = 31
_SAMPLED = 2048


def error_histogram(reference: object, actual: object) -> Histogram | None:
    """A histogram of the differences ``actual`` − ``reference`` of two tensors, symmetric around 0.

    It is of a sample of evenly spread values. None if there is no finite difference but zero.
    """
    if not (isinstance(reference, Tensor) and isinstance(actual, Tensor)):
        return None
    if not reference.is_floating_point() or reference.shape != actual.shape:
        return None
    if reference.layout != torch.strided or actual.layout != torch.strided:
        return None
    # An odd step, so that the sample covers all channels if their number is even.
    step = max(1, reference.numel() // _SAMPLED) | 1
    r, a = reference.detach().flatten()[::step], actual.detach().flatten()[::step]
    errors = a.to(r.device, torch.float32) - r.to(torch.float32)
    errors = errors[torch.isfinite(errors)]
    largest = float(errors.abs().max()) if errors.numel() else 0.0
    if largest == 0.0 or not largest < 1e30:
        return None
    counts = torch.histc(errors.cpu(), _BINS, -largest, largest)
    return Histogram(-largest, largest, tuple(int(each) for each in counts.tolist()))
