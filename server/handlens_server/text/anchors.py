"""Where spans of a text are after edits of it.

A span stays with the text that it covers. Text that is typed before it moves it; a change of the covered
text ends it. An edit that changes no code (comments, blank lines, formatting) ends nothing: each span
is that of a syntax node, and every node is found again.
"""

from __future__ import annotations

import ast
import bisect
import difflib
import functools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from handlens import syntax
from handlens.report import Span
from handlens.source_text import common_prefix, split_lines

# Characters. Parsing three times as many takes a tenth of a second.
_LARGE = 30_000

# The most pairs of lines to compare. In a larger changed region, every line counts as new.
_MOST_PAIRS = 4_000_000


class Anchors:
    """The spans of one text, followed through its edits."""

    def __init__(self, text: str, spans: Iterable[Span]) -> None:
        self._original = self._text = text
        self._places = self._first = _Places({span: offsets(span, text) for span in spans})
        self._is_compared = True
        self.is_stale = False
        """True if the code is not the original code any more."""

    @property
    def text(self) -> str:
        """The present text."""
        return self._text

    def move_to(self, text: str) -> None:
        """Move the spans to where they are after an edit; ``text`` is the whole new text.

        The code of a large text counts as changed until ``compare_code`` is called.
        """
        if text == self._text:
            return
        edits = list(_edits(self._text, text))
        followed = self._places.after(edits)
        if text == self._original:
            text = self._original  # Python compares a string with itself at once.
            self._places, self.is_stale, self._is_compared = self._first, False, True
        elif len(followed) == len(self._places) and _is_about_comments(self._text, text, edits):
            self._places = followed
        else:
            self._places, self.is_stale, self._is_compared = followed, True, False
        self._text = text
        if len(text) < _LARGE:
            self.compare_code()

    def compare_code(self) -> bool:
        """Compare the present code with the original, and find all spans again if it is the same.

        Returns True if the code turns out to be the same although it was taken for changed.
        """
        if self._is_compared:
            return False
        self._is_compared = True
        moved = _same_code(self._original, self._text, self._first.spans)
        self.is_stale = moved is None
        # A span that is not that of a syntax node has moved with the text around it.
        self._places = _Places(dict(self._places) | (moved or {}))
        return not self.is_stale

    def span(self, span: Span) -> Span | None:
        """Where a span is now; None if the text that it covered has changed."""
        if self._text == self._original:
            return span
        place = self._places.find(span)
        return None if place is None else self._moved(span, *place)

    def starting_in(self, first: int, last: int) -> Iterator[tuple[Span, Span]]:
        """The spans that begin in the lines from ``first`` to ``last``, and where they are now."""
        starts = (*syntax.line_starts(self._text), len(self._text) + 1)
        low = starts[min(max(first, 1), len(starts)) - 1]
        high = starts[min(max(last, 0), len(starts) - 1)]
        return self._between(low, high)

    def covering(self, line: int, column: int) -> Iterator[tuple[Span, Span]]:
        """The spans around a place (1-based line, 0-based column), and where they are now."""
        starts = syntax.line_starts(self._text)
        offset = starts[min(line, len(starts)) - 1] + column
        for span, now in self._between(offset - self._places.longest, offset + 1):
            if now.start <= (line, column) < now.end:
                yield span, now

    def _between(self, low: int, high: int) -> Iterator[tuple[Span, Span]]:
        for span, place in self._places.between(low, high):
            yield span, self._moved(span, *place)

    def _moved(self, span: Span, start: int, end: int) -> Span:
        if self._text == self._original:
            return span
        starts = syntax.line_starts(self._text)
        first, last = bisect.bisect_right(starts, start), bisect.bisect_right(starts, end)
        column, end_column = start - starts[first - 1], end - starts[last - 1]
        return Span(span.file, first, column, last, end_column, span.function)


_Edit = tuple[int, int, int]
"""A replacement: its start and end in the old text, and the length of the new text there."""


class _Places:
    """The offsets of spans in a text, in the order of their starts.

    Starts and ends are in lists of their own: thousands of spans move with every letter that is typed.
    """

    def __init__(self, places: Mapping[Span, tuple[int, int]]) -> None:
        ordered = sorted(places.items(), key=lambda each: each[1])
        self.spans = [span for span, _ in ordered]
        self._starts = [start for _, (start, _) in ordered]
        self._ends = [end for _, (_, end) in ordered]

    def __len__(self) -> int:
        return len(self.spans)

    def __iter__(self) -> Iterator[tuple[Span, tuple[int, int]]]:
        return zip(self.spans, zip(self._starts, self._ends))

    def find(self, span: Span) -> tuple[int, int] | None:
        """The start and the end of a span; None if an edit has ended it."""
        number = self._numbers.get(span)
        return None if number is None else (self._starts[number], self._ends[number])

    def between(self, low: int, high: int) -> Iterator[tuple[Span, tuple[int, int]]]:
        """The spans that start at ``low`` or later, and before ``high``."""
        first, last = (bisect.bisect_left(self._starts, each) for each in (low, high))
        for number in range(first, last):
            yield self.spans[number], (self._starts[number], self._ends[number])

    def after(self, edits: Sequence[_Edit]) -> _Places:
        """The places after ``edits``, which are in order. A span that an edit touches has none any more."""
        left = _Places({})
        first = shift = 0
        for start, end, length in (*edits, (sys.maxsize, sys.maxsize, 0)):
            # The spans that start after the edit before this one, and before the end of this one.
            last = bisect.bisect_left(self._starts, end)
            untouched = [number for number in range(first, last) if self._ends[number] <= start]
            left.spans += [self.spans[number] for number in untouched]
            left._starts += [self._starts[number] + shift for number in untouched]
            left._ends += [self._ends[number] + shift for number in untouched]
            first, shift = last, shift + length - (end - start)
        if len(left) == len(self):
            left._numbers, left.longest = self._numbers, self.longest
        return left

    @functools.cached_property
    def _numbers(self) -> dict[Span, int]:
        return {span: number for number, span in enumerate(self.spans)}

    @functools.cached_property
    def longest(self) -> int:
        """The length of the longest span."""
        return max((end - start for start, end in zip(self._starts, self._ends)), default=0)


def offsets(span: Span, text: str) -> tuple[int, int]:
    """The code points before the start and the end of a span."""
    starts = syntax.line_starts(text)

    def offset(line: int, column: int) -> int:
        return min(starts[min(line, len(starts)) - 1] + column, len(text))

    return offset(span.line, span.column), offset(span.end_line, span.end_column)


def _edits(old: str, new: str) -> Iterator[_Edit]:
    """The replacements that turn ``old`` into ``new``, in order."""
    prefix = common_prefix(old, new)
    limit = min(len(old), len(new)) - prefix
    suffix = min(common_prefix(old[::-1], new[::-1]), limit)
    old_lines = split_lines(old[prefix : len(old) - suffix])
    new_lines = split_lines(new[prefix : len(new) - suffix])
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


_STRING_OR_COMMENT = re.compile(
    r'"{3}(?:[^\\]|\\.)*?"{3}|"(?:[^"\\\r\n]|\\.)*"'
    r"|'{3}(?:[^\\]|\\.)*?'{3}|'(?:[^'\\\r\n]|\\.)*'"
    r"|\#[^\r\n]*",
    re.DOTALL,
)
_LINE_END = re.compile(r"\r\n?|\n")
_JOINED = re.compile(r"\\[\r\n]")
_INTRICATE = re.compile(r"""["'\\]""")


def _is_about_comments(old: str, new: str, edits: Sequence[_Edit]) -> bool:
    """True if edits change comments and blank lines only, which is decided without a parser.

    False also where only a parser could decide: if the edited lines have quotes or backslashes, or if any
    lines of the text are joined by backslashes.
    """
    if _JOINED.search(old) or _JOINED.search(new):
        return False
    shift = 0
    for start, end, length in edits:
        first, before = _whole_lines(old, start, end)
        _, after = _whole_lines(new, start + shift, start + shift + length)
        if _INTRICATE.search(before + after) or _code(before) != _code(after):
            return False
        if _is_in_string(old, first):
            return False
        shift += length - (end - start)
    return True


def _whole_lines(text: str, start: int, end: int) -> tuple[int, str]:
    """The offset and the text of the whole lines that a part of a text is in."""
    starts = syntax.line_starts(text)
    first = starts[bisect.bisect_right(starts, start) - 1]
    after = bisect.bisect_right(starts, end)
    return first, text[first : starts[after] if after < len(starts) else len(text)]


def _code(lines: str) -> list[str]:
    """The lines without comments, except those that are blank then. They must have no strings."""
    bare = (each.partition("#")[0].rstrip(" \t\f\r\n") for each in _LINE_END.split(lines))
    return [each for each in bare if each]


def _is_in_string(text: str, offset: int) -> bool:
    """True if an offset, at the beginning of a line, is inside a string."""
    for match in _STRING_OR_COMMENT.finditer(text):
        if match.end() > offset:
            return match.start() < offset
    return False


def _same_code(old: str, new: str, spans: Iterable[Span]) -> dict[Span, tuple[int, int]] | None:
    """The offsets in ``new`` of the spans of syntax nodes; None if the code is not the same."""
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
