"""The search for the best set of units: greedy, and measuring only those that may be the next best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

Unit = frozenset[int]

# A model with so many units has many: fewer of them are measured.
MANY = 50
# How many units are measured before the first choice, and before each of the others. Of a model with few
# units, all are measured first: what each wins alone is worth knowing.
_FIRST_OF_MANY, _ONE_OF = 8, 8
_NEXT, _NEXT_OF_MANY = 8, 5
# Of two outputs that differ by less, in dB, the one of the smaller unit is better.
_CLOSE_DB = 0.05


@dataclass(frozen=True, order=True)
class Value:
    """How good an output is. The metric decides; where it is the same, or there is none, the SQNR."""

    metric: float
    """The target's own metric; 0 if it has none."""
    decibels: float
    """The SQNR; infinite if the output is exact."""


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

    Deterministic: close outputs are decided by the size of the unit, then by rank.
    """

    units: Sequence[Unit]
    measure: Callable[[Set[int]], Value]
    """The output with a set of ops in float."""
    rank: Callable[[Set[int]], Sequence[Unit] | None]
    """All units, those that are likely to win most first, with a set of ops in float already; None if that
    is not known."""
    before: Value
    """The output without any change."""
    announce: Callable[[Sequence[frozenset[int]]], None] = lambda sets: None
    """Called with the sets that are going to be measured next."""

    def run(self, most: int) -> Iterator[Trial]:
        """Yield every trial as it is measured, and each choice, ``most`` of them."""
        chosen: tuple[Unit, ...] = ()
        kept: frozenset[int] = frozenset()
        now = self.before
        while len(chosen) < most and now.decibels < math.inf:
            likely = self.rank(kept)
            ranked = [each for each in likely or self.units if not each <= kept]
            most_tried = self._shortlist(len(ranked), len(chosen)) if likely else len(ranked)
            tried: dict[Unit, Value] = {}
            self.announce([kept | unit for unit in ranked[:most_tried]])
            for unit in ranked[:most_tried]:
                tried[unit] = self.measure(kept | unit)
                yield Trial(unit, chosen, tried[unit])
            if max(tried.values(), default=WORST) == WORST:
                return
            best = self._best(tried, ranked, now)
            yield Trial(best, chosen, tried[best], is_chosen=True)
            chosen, kept, now = (*chosen, best), kept | best, tried[best]

    def _shortlist(self, count: int, chosen: int) -> int:
        """How many of ``count`` units to measure."""
        if len(self.units) < MANY:
            return _NEXT if chosen else count
        return _NEXT_OF_MANY if chosen else max(_FIRST_OF_MANY, count // _ONE_OF)

    def _best(self, tried: dict[Unit, Value], ranked: Sequence[Unit], now: Value) -> Unit:
        place = {unit: index for index, unit in enumerate(ranked)}
        most = max(tried.values())
        if most <= now:
            # Where no unit wins alone, the likeliest makes room for the next.
            possible = [unit for unit, value in tried.items() if value > WORST]
            return min(possible, key=place.__getitem__)
        least = max(Value(most.metric, most.decibels - _CLOSE_DB), now)
        good = [unit for unit, value in tried.items() if value >= least]
        return min(good, key=lambda each: (len(each), place[each]))
