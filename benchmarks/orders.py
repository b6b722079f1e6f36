"""The orders in which methods put units into float, from measurements of the output alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Measure = Callable[[frozenset[int]], float]
"""The SQNR of the output in dB with the units of these numbers in float; infinite without any noise."""


class Counted:
    """A measurement that is made once for each set, and counted."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self.known: dict[frozenset[int], float] = {}

    def __call__(self, kept: frozenset[int]) -> float:
        if kept not in self.known:
            self.known[kept] = self._measure(kept)
        return self.known[kept]

    @property
    def count(self) -> int:
        return len(self.known)


def greedy(units: int, measure: Measure, most: int) -> list[int]:
    """The best unit beside those before it, each time all others measured anew; until none wins."""
    order: list[int] = []
    now = measure(frozenset())
    while len(order) < min(most, units) and now < math.inf:
        kept = frozenset(order)
        outputs = {each: measure(kept | {each}) for each in range(units) if each not in kept}
        best = max(outputs, key=lambda each: outputs[each])
        if outputs[best] <= now:
            break
        order.append(best)
        now = outputs[best]
    return order


def ablation(units: int, measure: Measure) -> list[int]:
    """NNCF's order: each unit alone goes back to float in the quantized model; the best output first."""
    return _ordered([-measure(frozenset({each})) for each in range(units)])


def injection(units: int, measure: Measure) -> list[int]:
    """AIMET's order: each unit alone is quantized in the float model; the worst output first."""
    everything = frozenset(range(units))
    return _ordered([measure(everything - {each}) for each in range(units)])


def _ordered(values: Sequence[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda each: values[each])
