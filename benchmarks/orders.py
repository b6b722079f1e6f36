"""The orders in which methods keep units in float, from measurements of the output alone."""

from __future__ import annotations

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


def greedy(units: Sequence[Kept], measure: Measure, most: int) -> Kept:
    """The best unit beside those before it, each time all others measured anew; until none wins."""
    kept: Kept = frozenset()
    for _ in range(most):
        measure.hold(kept)
        best = max((kept | unit for unit in units), key=measure)
        if measure(best) <= measure(kept):
            break
        kept = best
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
    """The first units of an order, without those that are part of others before them."""
    kept: Kept = frozenset()
    count = 0
    for unit in order:
        if count < most and not unit <= kept:
            kept |= unit
            count += 1
    return kept
