"""What shares a place in the source text, and so shares a finding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TypeVar

from handlens.report import OpReport, StaysInFloat

_Placed = TypeVar("_Placed", OpReport, StaysInFloat)


def by_expression(ops: Iterable[OpReport]) -> Iterable[list[OpReport]]:
    """The ops of each source expression; an op without one is by itself."""
    groups: dict[object, list[OpReport]] = defaultdict(list)
    for op in ops:
        span = op.span
        groups[(span.file, span.start, span.end) if span else op.handle].append(op)
    return groups.values()


def by_line(ops: Iterable[_Placed]) -> Iterable[list[_Placed]]:
    """The ops of each source line; those without one are together."""
    groups: dict[object, list[_Placed]] = defaultdict(list)
    for op in ops:
        groups[(op.span.file, op.span.line) if op.span else None].append(op)
    return groups.values()
