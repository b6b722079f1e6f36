"""The orders in which methods keep units in float, from measurements of the output alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Kept = frozenset[int]
"""The handles of ops that are kept in float."""
Measure = Callable[[Kept], float]
"""The SQNR of the output in dB; infinite without any noise."""


class Counted:
    """A measurement that is made once for each set of ops, and counted."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._known: dict[Kept, float] = {}

    def __call__(self, kept: Kept) -> float:
        if kept not in self._known:
            self._known[kept] = self._measure(kept)
        return self._known[kept]

    @property
    def count(self) -> int:
        return len(self._known)


def greedy(units: Sequence[Kept], measure: Measure, most: int) -> list[int]:
    """The best unit beside those before it, each time all others measured anew; until none wins."""
    order: list[int] = []
    kept: Kept = frozenset()
    now = measure(kept)
    while len(order) < most and now < math.inf:
        outputs = {
            number: measure(kept | unit) for number, unit in enumerate(units) if not unit <= kept
        }
        best = max(outputs, key=outputs.__getitem__, default=None)
        if best is None or outputs[best] <= now:
            break
        order.append(best)
        kept, now = kept | units[best], outputs[best]
    return order


def ablation(units: Sequence[Kept], measure: Measure) -> list[int]:
    """NNCF's order: each unit alone goes back to float in the quantized model; the best output first."""
    return _ascending([-measure(unit) for unit in units])


def injection(units: Sequence[Kept], measure: Measure) -> list[int]:
    """AIMET's order: each unit alone is quantized in the float model; the worst output first."""
    everything: Kept = frozenset().union(*units)
    return _ascending([measure(everything - unit) for unit in units])


def _ascending(values: Sequence[float]) -> list[int]:
    return sorted(range(len(values)), key=values.__getitem__)
