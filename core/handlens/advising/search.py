"""The search for the best set of units: greedy, and measuring only those that may be the next best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

Unit = frozenset[int]

# One unit of so many is measured before each choice, and so many at least.
_ONE_OF = 10
_LEAST = 4
# Two outputs are equally good if they differ by less, in dB.
_SAME_DB = 0.02


@dataclass(frozen=True)
class Trial:
    """A unit that was kept in float beside all units that were chosen before."""

    unit: Unit
    chosen: tuple[Unit, ...]
    """The units chosen before."""
    decibels: float
    """The SQNR of the output with all of them; infinite if the output is exact."""
    is_chosen: bool = False


@dataclass(frozen=True)
class Search:
    """Chooses units, one after the other: of those that rank first, the one that is measured to win most.

    Deterministic: equal outputs are decided by the size of the unit, then by rank.
    """

    units: Sequence[Unit]
    measure: Callable[[Set[int]], float]
    """The SQNR of the output, in dB, with a set of ops in float."""
    rank: Callable[[Set[int]], Sequence[Unit]]
    """All units, those that are likely to win most first, with a set of ops in float already."""
    before: float
    """The SQNR of the output without any change, in dB."""

    def run(self, most: int) -> Iterator[Trial]:
        """Yield every trial as it is measured, and each choice, ``most`` of them."""
        chosen: tuple[Unit, ...] = ()
        kept: frozenset[int] = frozenset()
        now = self.before
        while len(chosen) < most and math.isfinite(now):
            ranked = [each for each in self.rank(kept) if not each <= kept]
            tried: dict[Unit, float] = {}
            for unit in ranked[: max(_LEAST, len(ranked) // _ONE_OF)]:
                tried[unit] = self.measure(kept | unit)
                yield Trial(unit, chosen, tried[unit])
            if not tried:
                return
            best = self._best(tried, ranked, now)
            yield Trial(best, chosen, tried[best], is_chosen=True)
            chosen, kept, now = (*chosen, best), kept | best, tried[best]

    def _best(self, tried: dict[Unit, float], ranked: Sequence[Unit], now: float) -> Unit:
        """The unit that wins most for each of the smallest units that it consists of."""
        place = {unit: index for index, unit in enumerate(ranked)}
        won = {unit: (decibels - now) / self._size(unit) for unit, decibels in tried.items()}
        most = max(won.values())
        if most <= _SAME_DB:
            # Where no unit wins alone, the likeliest makes room for the next.
            return min(tried, key=place.__getitem__)
        good = [unit for unit, gain in won.items() if gain >= most - _SAME_DB]
        return min(good, key=lambda each: (len(each), place[each]))

    def _size(self, unit: Unit) -> int:
        parts = [each for each in self.units if each < unit]
        smallest = [each for each in parts if not any(other < each for other in parts)]
        return max(1, len(smallest))
