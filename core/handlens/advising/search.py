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


@dataclass(frozen=True, order=True)
class Value:
    """How good an output is. The metric decides; where it is the same, or there is none, the SQNR."""

    metric: float
    """The target's own metric; 0 if it has none."""
    decibels: float
    """The SQNR; infinite if the output is exact."""

    def gain(self, before: Value, size: int) -> Value:
        """What this is more than ``before``, for each of ``size`` changes."""
        return Value((self.metric - before.metric) / size, (self.decibels - before.decibels) / size)


WORST = Value(-math.inf, -math.inf)


@dataclass(frozen=True)
class Trial:
    """A unit that was kept in float beside all units that were chosen before."""

    unit: Unit
    chosen: tuple[Unit, ...]
    """The units chosen before."""
    value: Value
    """The output with all of them."""
    is_chosen: bool = False


@dataclass(frozen=True)
class Search:
    """Chooses units, one after the other: of those that rank first, the one that is measured to win most.

    Deterministic: equal outputs are decided by the size of the unit, then by rank.
    """

    units: Sequence[Unit]
    measure: Callable[[Set[int]], Value]
    """The output with a set of ops in float."""
    rank: Callable[[Set[int]], Sequence[Unit]]
    """All units, those that are likely to win most first, with a set of ops in float already."""
    before: Value
    """The output without any change."""

    def run(self, most: int) -> Iterator[Trial]:
        """Yield every trial as it is measured, and each choice, ``most`` of them."""
        chosen: tuple[Unit, ...] = ()
        kept: frozenset[int] = frozenset()
        now = self.before
        while len(chosen) < most and now.decibels < math.inf:
            ranked = [each for each in self.rank(kept) if not each <= kept]
            tried: dict[Unit, Value] = {}
            for unit in ranked[: max(_LEAST, len(ranked) // _ONE_OF)]:
                tried[unit] = self.measure(kept | unit)
                yield Trial(unit, chosen, tried[unit])
            if max(tried.values(), default=WORST) == WORST:
                return
            best = self._best(tried, ranked, now)
            yield Trial(best, chosen, tried[best], is_chosen=True)
            chosen, kept, now = (*chosen, best), kept | best, tried[best]

    def _best(self, tried: dict[Unit, Value], ranked: Sequence[Unit], now: Value) -> Unit:
        """The unit that wins most for each of the smallest units that it consists of."""
        place = {unit: index for index, unit in enumerate(ranked)}
        won = {unit: value.gain(now, self._size(unit)) for unit, value in tried.items()}
        most = max(won.values())
        if most <= Value(0.0, _SAME_DB):
            # Where no unit wins alone, the likeliest makes room for the next.
            possible = [unit for unit, value in tried.items() if value > WORST]
            return min(possible, key=place.__getitem__)
        least = Value(most.metric, most.decibels - _SAME_DB)
        good = [unit for unit, gain in won.items() if gain >= least]
        return min(good, key=lambda each: (len(each), place[each]))

    def _size(self, unit: Unit) -> int:
        parts = [each for each in self.units if each < unit]
        smallest = [each for each in parts if not any(other < each for other in parts)]
        return max(1, len(smallest))
