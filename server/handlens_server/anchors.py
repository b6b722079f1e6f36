"""Where spans of a text are after edits of it.

A span stays with the text that it covers. Text typed before it moves it; a change of what it covers ends
it. An edit that leaves the code as it is (comments, blank lines, formatting) ends nothing: spans are those
of syntax nodes, and every node is found again.
"""

from __future__ import annotations

import ast
import bisect
import difflib
from collections.abc import Iterable, Iterator

from handlens.report import Span
from handlens_server import positions, syntax

# Pairs of lines to compare at most; beyond that, a changed region counts as new altogether.
_MOST_PAIRS = 4_000_000


class Anchors:
    """The spans of one text, followed through its edits."""

    def __init__(self, text: str, spans: Iterable[Span]) -> None:
        self._original = self._text = text
        self._spans = frozenset(spans)
        self._places = self._first = {span: offsets(span, text) for span in self._spans}
        self.is_stale = False
        """Whether the code is another one than it was."""
        self.edition = 0
        """Counts the edits."""

    @property
    def text(self) -> str:
        """The text of now."""
        return self._text

    def move_to(self, text: str) -> None:
        """Follow an edit; ``text`` is what has become of the whole text."""
        if text == self._text:
            return
        self.edition += 1
        moved = _same_code(self._original, text, self._spans)
        self.is_stale = moved is None and text != self._original
        # Spans of something else than a syntax node move with the text around them.
        followed = _follow(self._places, self._text, text)
        if text == self._original:
            self._places = self._first
        else:
            self._places = followed | (moved or {})
        self._text = text

    def span(self, span: Span) -> Span | None:
        """Where a span is now; None if what it covered has changed."""
        if self._text == self._original:
            return span
        place = self._places.get(span)
        if place is None:
            return None
        starts = syntax.line_starts(self._text)
        (line, column), (end_line, end_column) = (_line_and_column(each, starts) for each in place)
        return Span(span.file, line, column, end_line, end_column, span.function)


def offsets(span: Span, text: str) -> tuple[int, int]:
    """The code points before the start and the end of a span."""
    starts = syntax.line_starts(text)

    def offset(line: int, column: int) -> int:
        return min(starts[min(line, len(starts)) - 1] + column, len(text))

    return offset(span.line, span.column), offset(span.end_line, span.end_column)


_Places = dict[Span, tuple[int, int]]


def _follow(places: _Places, old: str, new: str) -> _Places:
    """The places that are left after an edit, at their new offsets."""
    edits = list(_edits(old, new))
    ends = [end for _, end, _ in edits]
    shifts = [0]
    for start, end, length in edits:
        shifts.append(shifts[-1] + length - (end - start))
    moved: _Places = {}
    for span, (start, end) in places.items():
        # The edits that are over where the span starts; the next one must not begin inside.
        before = bisect.bisect_right(ends, start)
        if before == len(edits) or edits[before][0] >= end:
            shift = shifts[before]
            moved[span] = start + shift, end + shift
    return moved


def _edits(old: str, new: str) -> Iterator[tuple[int, int, int]]:
    """What was replaced: start, end, and the length of what is there instead, in order."""
    prefix = positions.common_prefix(old, new)
    limit = min(len(old), len(new)) - prefix
    suffix = min(positions.common_prefix(old[::-1], new[::-1]), limit)
    old_lines = positions.split_lines(old[prefix : len(old) - suffix])
    new_lines = positions.split_lines(new[prefix : len(new) - suffix])
    if len(old_lines) * len(new_lines) > _MOST_PAIRS:
        yield prefix, len(old) - suffix, len(new) - suffix - prefix
        return
    old_starts = [prefix, *_ends(old_lines, prefix)]
    new_starts = [prefix, *_ends(new_lines, prefix)]
    matcher = difflib.SequenceMatcher(None, old_lines, new_lines, autojunk=False)
    for kind, start, end, new_start, new_end in matcher.get_opcodes():
        if kind != "equal":
            length = new_starts[new_end] - new_starts[new_start]
            yield old_starts[start], old_starts[end], length


def _ends(lines: list[str], start: int) -> Iterator[int]:
    for line in lines:
        start += len(line)
        yield start


def _same_code(old: str, new: str, spans: Iterable[Span]) -> _Places | None:
    """The new offsets of spans that are those of syntax nodes; None if the code is not the same."""
    before, after = syntax.parsed(old), syntax.parsed(new)
    if before is None or after is None or before[1] != after[1]:
        return None
    old_columns, new_columns = syntax.Columns(old), syntax.Columns(new)
    places: dict[tuple[int, int], tuple[int, int]] = {}
    for mine, theirs in zip(ast.walk(before[0]), ast.walk(after[0])):
        if (node := old_columns.place(mine)) and (twin := new_columns.place(theirs)):
            places[node] = twin
    found = ((span, places.get(offsets(span, old))) for span in spans)
    return {span: place for span, place in found if place is not None}


def _line_and_column(offset: int, starts: list[int]) -> tuple[int, int]:
    line = bisect.bisect_right(starts, offset)
    return line, offset - starts[line - 1]
