"""Advice by op: what to change, and what the output was measured to be with it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from handlens import words
from handlens.advice_report import Advice, Alone, Change, Scores

WORTH_DB = 0.2
"""A change that wins less is not worth it, in dB."""

_MOST_NAMED = 3


@dataclass(frozen=True)
class Offer:
    """Changes to make together, and what they give."""

    changes: tuple[Change, ...]
    output: Scores

    @property
    def title(self) -> str:
        """What to do: ``Keep conv2 in float``, ``Keep 5 ops in float``."""
        kinds = {change.kind for change in self.changes}
        if len(kinds) > 1:
            return f"Make {words.count(len(self.changes), 'change')}"
        what = words.to_do(replace(self.changes[0], name=named(self.changes)))
        return what[0].upper() + what[1:]

    @property
    def reached(self) -> str:
        """What is reached: ``conv2 in float: 39.5 dB``, ``5 ops in float: 42.6 dB``."""
        if {change.kind for change in self.changes} == {"keep-float"}:
            return f"{named(self.changes, 1)} in float: {words.scores(self.output)}"
        return f"{words.count(len(self.changes), 'change')}: {words.scores(self.output)}"


def of_steps(advice: Advice, count: int) -> Offer | None:
    """The first steps; None if there are not as many."""
    if not 0 < count <= len(advice.steps):
        return None
    steps = advice.steps[:count]
    return Offer(tuple(step.change for step in steps), steps[-1].output)


def of_op(advice: Advice, handle: int) -> Iterator[Offer]:
    """What was measured to help at an op: to keep it in float, and what can be done instead.

    An op that wins nothing alone is offered with the changes that it needs.
    """
    if (alone := kept_alone(advice, handle)) is not None and wins(advice, alone.output):
        yield Offer((alone.change,), alone.output)
    else:
        for count, step in enumerate(advice.steps, 1):
            offer = of_steps(advice, count)
            if handle in step.change.handles and offer and wins(advice, step.output):
                yield offer
    for each in advice.alternatives:
        if handle in each.change.handles and wins(advice, each.output):
            yield Offer((each.change,), each.output)


def refuted(advice: Advice) -> frozenset[int]:
    """The ops that win nothing in float: not alone, and not with the changes that are proposed."""
    tried = {handle for each in advice.alone for handle in each.change.handles}
    return frozenset(handle for handle in tried if next(of_op(advice, handle), None) is None)


def kept_alone(advice: Advice, handle: int) -> Alone | None:
    """The measurement of an op that alone is kept in float; None if there is none."""
    found = (each for each in advice.alone if handle in each.change.handles)
    return next((each for each in found if each.change.kind == "keep-float"), None)


def wins(advice: Advice, output: Scores) -> bool:
    """True if an output is so much better than the one without any change that it is worth one."""
    before = advice.before
    if advice.objective == "metric" and before.metric is not None and output.metric is not None:
        return output.metric > before.metric
    if output.sqnr_db is None or before.sqnr_db is None:
        return output.exact or output.sqnr_db is not None
    return output.sqnr_db - before.sqnr_db >= WORTH_DB


def gain(advice: Advice, output: Scores) -> str:
    """The output before and after: ``output 9.2 → 39.5 dB``."""
    before = advice.before
    if advice.objective == "metric" and before.metric is not None and output.metric is not None:
        return f"metric {words.number(before.metric)} → {words.number(output.metric)}"
    if before.sqnr_db is not None and output.sqnr_db is not None:
        return f"output {words.change(before.sqnr_db, output.sqnr_db)}"
    return f"output {words.scores(before)} → {words.scores(output)}"


def named(changes: Sequence[Change], most: int = _MOST_NAMED) -> str:
    """The ops of some changes, or how many there are."""
    # The name of a unit lists its ops.
    names = [name for change in changes for name in re.split(", | and ", change.name)]
    if len(names) <= most or len(changes) == 1:
        return words.listed(names)
    return words.count(len({handle for each in changes for handle in each.handles}), "op")
