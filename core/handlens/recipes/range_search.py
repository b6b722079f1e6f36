"""The search of torchao's histogram observer for the range with the least error, without its 10⁵ steps.

torchao moves two quantiles towards each other by 10⁻⁵ a step, until a bin at one end of the histogram has
less than its quantile. Nearly all steps move no bin, and the next one that does is found by bisection. The
ranges are the same to the bit: the quantiles are the same numbers, compared in the same precision, and
torchao itself computes the errors of the ranges that are tried.
"""

from __future__ import annotations

import hashlib
import inspect
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate, repeat

import torch
from torch import Tensor
from torchao.quantization.pt2e.observer import HistogramObserver

_NAME = "_non_linear_param_search"
_STEP = 1e-5
KNOWN = frozenset(("9306a687ba73a3044c555e58d19ad69b11ee000779a3088e55da08b954b472eb",))
"""The digests of torchao's method that this module does the work of."""


@contextmanager
def quick_range_search() -> Iterator[None]:
    """Make torchao's histogram observers search quickly, in a version whose search is known."""
    original = getattr(HistogramObserver, _NAME, None)
    if original is None or digest(original) not in KNOWN:
        yield
        return

    def search(observer: HistogramObserver) -> tuple[Tensor, Tensor]:
        bins = _best_bins(observer)
        if bins is None:
            ends: tuple[Tensor, Tensor] = original(observer)
            return ends
        width = (observer.max_val - observer.min_val) / observer.bins
        return observer.min_val + width * bins[0], observer.min_val + width * (bins[1] + 1)

    setattr(HistogramObserver, _NAME, search)
    try:
        yield
    finally:
        setattr(HistogramObserver, _NAME, original)


def digest(method: object) -> str:
    """Tells the source of a method from any other."""
    try:
        return hashlib.sha256(inspect.getsource(method).encode()).hexdigest()  # type: ignore[arg-type]
    except OSError:
        return "its source is not there"


def _best_bins(observer: HistogramObserver) -> tuple[int, int] | None:
    """The first and the last bin of the best range; None if bisection cannot find it."""
    sums = observer.histogram.cumsum(0)
    if sums.dtype != torch.float32 or not bool((sums.diff() >= 0).all()):
        return None
    search = _Search(sums.tolist(), float(observer.histogram.sum()))
    least = float("inf")
    while (ends := search.next_move()) is not None:
        error = observer._compute_quantization_error(*ends)
        if error > least:
            break
        least = error
        search.first, search.last = ends
    return search.first, search.last


class _Search:
    """The moves of both ends of the range, towards each other."""

    def __init__(self, sums: Sequence[float], total: float) -> None:
        self.first, self.last = 0, len(sums) - 1
        self._sums, self._total = sums, total
        self._low = self._high = 0
        """How many steps the lower quantile has gone up, and the upper one down."""

    def next_move(self) -> tuple[int, int] | None:
        """The ends after the next step that moves one of them; None if there is none."""
        lower, upper = _quantiles()
        # Where both ends are one bin, no step moves any.
        while self.first < self.last and lower[self._low] < upper[self._high]:
            first = self._first_with(lower[self._low + 1])
            last = self._last_with(upper[self._high + 1])
            if first - self.first > self.last - last:
                self._low += 1
                return first, self.last
            if last < self.last:
                self._high += 1
                return self.first, last
            # Neither end moves: the upper quantile goes down until its end does, or until both meet.
            self._high = bisect_left(
                range(len(upper) - 1),
                True,
                lo=self._high + 1,
                key=lambda high: (
                    upper[high] <= lower[self._low]
                    or self._sums[self.last] > _single(upper[high + 1] * self._total)
                ),
            )
        return None

    def _first_with(self, quantile: float) -> int:
        found = bisect_left(self._sums, _single(quantile * self._total))
        return min(max(found, self.first), self.last)

    def _last_with(self, quantile: float) -> int:
        found = bisect_right(self._sums, _single(quantile * self._total)) - 1
        return min(max(found, self.first), self.last)


@cache
def _quantiles() -> tuple[Sequence[float], Sequence[float]]:
    """The lower and the upper quantile after each number of steps, added up as torchao does."""
    steps = round(1 / _STEP) + 2
    upper = accumulate(repeat(-_STEP, steps), initial=1.0)
    return list(accumulate(repeat(_STEP, steps), initial=0.0)), list(upper)


def _single(number: float) -> float:
    """The number in single precision: what a tensor of that type is compared with."""
    value: float = struct.unpack("f", struct.pack("f", number))[0]
    return value
