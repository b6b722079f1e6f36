"""The curve of changes made one after the other against the SQNR of the output, for the HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from handlens import words
from handlens.advice_report import Advice, Scores

_WIDTH, _HEIGHT = 1000, 220
_LABEL = 12


@dataclass(frozen=True)
class Point:
    """The output after a number of changes."""

    x: float
    y: float
    label: str
    said: str
    """The last of the changes."""
    is_recommended: bool
    is_verified: bool
    is_steep: bool
    """True if the curve rises so much from here that it would run through a label above the point."""


class Curve:
    """Where everything of the curve is."""

    width, height = _WIDTH, _HEIGHT

    def __init__(self, advice: Advice) -> None:
        self._advice = advice
        self._outputs = [advice.before, *(step.output for step in advice.steps)]
        shown = [each.sqnr_db for each in self._outputs if each.sqnr_db is not None]
        if advice.reach_db is not None:
            shown.append(advice.reach_db)
        self._low = 10 * math.floor(min([0.0, *shown]) / 10)
        # Room above the highest ratio is for its label, and for an output that is exact.
        self._high = 10 * math.ceil((max([10.0, *shown]) + 5) / 10)

    @property
    def points(self) -> list[Point]:
        """The model without any change, then with one change after the other."""
        points = [self._point(0, "no change", True)]
        for number, step in enumerate(self._advice.steps, 1):
            points.append(self._point(number, words.to_do(step.change), step.verified))
        return points

    @property
    def is_verified(self) -> bool:
        """True if every point is from a real run."""
        return all(each.is_verified for each in self.points)

    @property
    def path(self) -> str:
        """The SVG path through what is recommended."""
        return _path([each for each in self.points if each.is_recommended])

    @property
    def rest(self) -> str:
        """The SVG path through what was measured beyond that; empty if there is nothing."""
        points = self.points[self._advice.recommended :]
        return _path(points) if len(points) > 1 else ""

    @property
    def wish(self) -> float | None:
        """The height of the SQNR that was asked for."""
        return None if self._advice.reach_db is None else self._y(self._advice.reach_db)

    @property
    def ticks(self) -> list[tuple[float, int]]:
        step = 10 if self._high - self._low <= 60 else 20
        first = step * math.ceil(self._low / step)
        return [(self._y(each), each) for each in range(first, self._high + 1, step)]

    def _point(self, number: int, said: str, is_verified: bool) -> Point:
        output = self._outputs[number]
        x = _WIDTH * (number + 0.5) / len(self._outputs)
        is_recommended = number <= self._advice.recommended
        y = self._height(output)
        following = self._outputs[number + 1 : number + 2]
        is_steep = any(self._height(each) < y - _LABEL for each in following)
        label = words.scores(output)
        return Point(round(x, 1), y, label, said, is_recommended, is_verified, is_steep)

    def _height(self, output: Scores) -> float:
        if output.sqnr_db is None:
            return self._y(self._high if output.exact else self._low)
        return self._y(output.sqnr_db)

    def _y(self, ratio: float) -> float:
        return round(_HEIGHT * (self._high - ratio) / (self._high - self._low), 1)


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{each.x} {each.y}" for each in points)
