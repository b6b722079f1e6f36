"""The search for the best set of units: greedy, and measuring only those that may be the next best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field

Unit = frozenset[int]

# How many units are measured before the first is chosen, and how many more before each of the others.
_SHORTLIST = 16
_NEW = 3
_AGAIN = 5
# A unit that has won less than this share of what the best wins now is not measured again.
_CLOSE = 0.6
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


@dataclass
class Search:
    """Chooses units, one after the other.

    The noise that a unit has won before is the best guess of what it wins now: noise adds up, more or less.
    So the units are measured again in the order of what they won last, until none that is left has won
    about as much as the best wins now. Deterministic: equal outputs are decided by the size of the unit,
    then by rank.
    """

    units: Sequence[Unit]
    measure: Callable[[Set[int]], float]
    """The SQNR of the output, in dB, with a set of ops in float."""
    rank: Callable[[Set[int]], Sequence[Unit]]
    """All units, those that are likely to win most first, with a set of ops in float already."""
    before: float
    """The SQNR of the output without any change, in dB."""
    _won: dict[Unit, float] = field(default_factory=dict)
    """By unit, the noise that it has won when it was measured last, over signal."""

    def run(self, most: int) -> Iterator[Trial]:
        """Yield every trial as it is measured, and each choice, ``most`` of them."""
        chosen: tuple[Unit, ...] = ()
        kept: frozenset[int] = frozenset()
        now = self.before
        while len(chosen) < most and math.isfinite(now):
            ranked = [each for each in self.rank(kept) if not each <= kept]
            tried: dict[Unit, float] = {}
            for unit in self._candidates(ranked, tried, now):
                tried[unit] = self.measure(kept | unit)
                self._won[unit] = _noise(now) - _noise(tried[unit])
                yield Trial(unit, chosen, tried[unit])
            if not tried:
                return
            best = self._best(tried, ranked, now)
            yield Trial(best, chosen, tried[best], is_chosen=True)
            chosen, kept, now = (*chosen, best), kept | best, tried[best]

    def _candidates(
        self, ranked: Sequence[Unit], tried: dict[Unit, float], now: float
    ) -> Iterator[Unit]:
        """The units to measure next; ``tried`` has the results so far."""
        new = [each for each in ranked if each not in self._won]
        yield from new[: _NEW if self._won else _SHORTLIST]
        known = sorted(
            (each for each in ranked if each in self._won and each not in tried),
            key=lambda each: -self._won[each],
        )
        for unit in known[:_AGAIN]:
            best = max((_noise(now) - _noise(each) for each in tried.values()), default=0.0)
            if self._won[unit] < _CLOSE * best:
                return
            yield unit

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


def _noise(decibels: float) -> float:
    """Noise over signal."""
    return 10 ** (-decibels / 10)
