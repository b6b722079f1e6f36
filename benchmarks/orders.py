"""The orders in which methods keep units in float, from measurements of the output alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Kept = frozenset[int]
"""The handles of ops that are kept in float."""


class Measure:
    """The SQNR of the output in dB, infinite without any noise. Each set of ops is measured once."""

    def __init__(
        self, measure: Callable[[Kept], float], hold: Callable[[Kept], object] = lambda kept: None
    ) -> None:
        self._measure = measure
        self.hold = hold
        """Called with a set before others are measured that differ little from it."""
        self._known: dict[Kept, float] = {}

    def __call__(self, kept: Kept) -> float:
        if kept not in self._known:
            self._known[kept] = self._measure(kept)
        return self._known[kept]

    @property
    def count(self) -> int:
        return len(self._known)


class Sizes:
    """How many of the smallest units a set of ops holds. A larger unit costs as much as those in it."""

    def __init__(self, units: Sequence[Kept]) -> None:
        self._smallest = [each for each in units if not any(other < each for other in units)]

    def __call__(self, kept: Kept) -> int:
        return sum(each <= kept for each in self._smallest)


def greedy(units: Sequence[Kept], measure: Measure, most: int) -> Kept:
    """The unit that wins most for its size beside those before it, all measured anew; until none wins."""
    size = Sizes(units)
    kept: Kept = frozenset()
    now = measure(kept)
    while size(kept) < most and now < math.inf:
        measure.hold(kept)
        wins = {
            unit: (measure(kept | unit) - now) / (size(kept | unit) - size(kept))
            for unit in units
            if size(kept) < size(kept | unit) <= most
        }
        best = max(wins, key=wins.__getitem__, default=None)
        if best is None or wins[best] <= 0:
            break
        kept |= best
        now = measure(kept)
    return kept


def ablation(units: Sequence[Kept], measure: Measure, most: int) -> Kept:
    """By NNCF's order: each unit alone goes back to float in the quantized model; the best output first."""
    measure.hold(frozenset())
    return _first(sorted(units, key=lambda unit: -measure(unit)), most)


def injection(units: Sequence[Kept], measure: Measure, most: int) -> Kept:
    """By AIMET's order: each unit alone is quantized in the float model; the worst output first."""
    everything: Kept = frozenset().union(*units)
    measure.hold(everything)
    return _first(sorted(units, key=lambda unit: measure(everything - unit)), most)


def _first(order: Sequence[Kept], most: int) -> Kept:
    """The first units of an order, up to a size; one that is too large for the rest is passed over."""
    size = Sizes(order)
    kept: Kept = frozenset()
    for unit in order:
        if size(kept | unit) <= most:
            kept |= unit
    return kept
