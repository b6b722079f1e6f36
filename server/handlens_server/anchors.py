"""Where spans of a text are after edits of it.

A span stays with the text that it covers. Text typed before it moves it; a change of what it covers ends
it. An edit that leaves the code as it is (comments, blank lines, formatting) ends nothing: spans are those
of syntax nodes, and every node is found again.
"""

from __future__ import annotations

import ast
import bisect
import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Sequence

from handlens.report import Span
from handlens_server import positions, syntax

# It takes a tenth of a second to parse three times as much.
_LARGE = 30_000

# Pairs of lines to compare at most; beyond that, a changed region counts as new altogether.
_MOST_PAIRS = 4_000_000


class Anchors:
    """The spans of one text, followed through its edits."""

    def __init__(self, text: str, spans: Iterable[Span]) -> None:
        self._original = self._text = text
        self._spans = frozenset(spans)
        self._places = self._first = _in_order((span, offsets(span, text)) for span in self._spans)
        self._index: _Index | None = None
        self._is_settled = True
        self.is_stale = False
        """Whether the code is another one than it was."""

    @property
    def text(self) -> str:
        """The text of now."""
        return self._text

    def move_to(self, text: str) -> None:
        """Follow an edit; ``text`` is what has become of the whole text.

        Whether the code of a large text is the same as it was is not known before ``settle``.
        """
        if text == self._text:
            return
        edits = list(_edits(self._text, text))
        followed = _follow(self._places, edits)
        if text == self._original:
            self._places, self.is_stale, self._is_settled = self._first, False, True
        elif len(followed) == len(self._places) and _is_about_comments(self._text, text, edits):
            self._places = followed
        else:
            self._places, self.is_stale, self._is_settled = followed, True, False
        self._text, self._index = text, None
        if len(text) < _LARGE:
            self.settle()

    def settle(self) -> bool:
        """Find the spans again if the code is the same after all; whether that was not known before."""
        if self._is_settled:
            return False
        self._is_settled = True
        moved = _same_code(self._original, self._text, self._spans)
        self.is_stale = moved is None
        # Spans of something else than a syntax node move with the text around them.
        self._places = _in_order((self._places | (moved or {})).items())
        self._index = None
        return not self.is_stale

    def span(self, span: Span) -> Span | None:
        """Where a span is now; None if what it covered has changed."""
        if self._text == self._original:
            return span
        place = self._places.get(span)
        return None if place is None else self._moved(span, place)

    def starting_in(self, first: int, last: int) -> Iterator[tuple[Span, Span]]:
        """The spans that begin in the lines from ``first`` to ``last``, and where they are now."""
        starts = (*syntax.line_starts(self._text), len(self._text) + 1)
        low = starts[min(max(first, 1), len(starts)) - 1]
        high = starts[min(max(last, 0), len(starts) - 1)]
        return self._between(low, high)

    def covering(self, line: int, column: int) -> Iterator[tuple[Span, Span]]:
        """The spans that a place (1-based line, 0-based column) of the text of now lies in."""
        starts = syntax.line_starts(self._text)
        offset = starts[min(line, len(starts)) - 1] + column
        for span, now in self._between(offset - self._indexed.longest, offset + 1):
            if now.start <= (line, column) < now.end:
                yield span, now

    def _between(self, low: int, high: int) -> Iterator[tuple[Span, Span]]:
        index = self._indexed
        for i in range(bisect.bisect_left(index.starts, low), len(index.starts)):
            if index.starts[i] >= high:
                break
            yield index.spans[i], self._moved(index.spans[i], self._places[index.spans[i]])

    @property
    def _indexed(self) -> _Index:
        if self._index is None:
            self._index = _Index(self._places)
        return self._index

    def _moved(self, span: Span, place: tuple[int, int]) -> Span:
        starts = syntax.line_starts(self._text)
        (line, column), (end_line, end_column) = (_line_and_column(each, starts) for each in place)
        return Span(span.file, line, column, end_line, end_column, span.function)


_Places = dict[Span, tuple[int, int]]
"""Offsets of the start and the end, in the order of the starts."""


class _Index:
    """To find the spans of a part of a text."""

    def __init__(self, places: _Places) -> None:
        self.spans = list(places)
        self.starts = [start for start, _ in places.values()]
        self.longest = max((end - start for start, end in places.values()), default=0)


def _in_order(places: Iterable[tuple[Span, tuple[int, int]]]) -> _Places:
    return dict(sorted(places, key=lambda each: each[1]))


def offsets(span: Span, text: str) -> tuple[int, int]:
    """The code points before the start and the end of a span."""
    starts = syntax.line_starts(text)

    def offset(line: int, column: int) -> int:
        return min(starts[min(line, len(starts)) - 1] + column, len(text))

    return offset(span.line, span.column), offset(span.end_line, span.end_column)


def _follow(places: _Places, edits: Sequence[_Edit]) -> _Places:
    """The places that are left after an edit, at their new offsets."""
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


_Edit = tuple[int, int, int]
"""What was replaced: start, end, and the length of what is there instead."""


def _edits(old: str, new: str) -> Iterator[_Edit]:
    """What was replaced, in order."""
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


def _ends(lines: Sequence[str], start: int) -> Iterator[int]:
    for line in lines:
        start += len(line)
        yield start


_STRING = (
    r'("{3}(?:[^\\]|\\.)*?"{3}|"(?:[^"\\\r\n]|\\.)*"'
    r"|'{3}(?:[^\\]|\\.)*?'{3}|'(?:[^'\\\r\n]|\\.)*')"
)
_REST_OF_LINE = r"(?:[ \t\f]*(?:\#[^\r\n]*)?(?:\r\n?|\n))+"
_STRING_OR_REST = re.compile(f"{_STRING}|{_REST_OF_LINE}", re.DOTALL)


@functools.lru_cache(4)
def _code(text: str) -> str:
    """A text without its comments, blank lines and blanks at the ends of lines."""
    return _STRING_OR_REST.sub(lambda match: match[1] or "\n", text + "\n")


def _is_about_comments(old: str, new: str, edits: Sequence[_Edit]) -> bool:
    """Whether edits change comments and blank lines only, told without parsing where that is safe.

    False where it would take a parser: where there are quotes or a backslash in the lines themselves, or
    lines that are joined by backslashes anywhere.
    """
    shift = 0
    for start, end, length in edits:
        if _is_intricate(old, start, end) or _is_intricate(
            new, start + shift, start + shift + length
        ):
            return False
        shift += length - (end - start)
    return not _JOINED.search(old) and not _JOINED.search(new) and _code(old) == _code(new)


_JOINED = re.compile(r"\\[\r\n]")
_INTRICATE = re.compile(r"""["'\\]""")


def _is_intricate(text: str, start: int, end: int) -> bool:
    starts = syntax.line_starts(text)
    first = starts[bisect.bisect_right(starts, start) - 1]
    after = bisect.bisect_right(starts, end)
    last = starts[after] if after < len(starts) else len(text)
    return _INTRICATE.search(text, first, last) is not None


def _same_code(old: str, new: str, spans: Iterable[Span]) -> dict[Span, tuple[int, int]] | None:
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
