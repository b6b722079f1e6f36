"""Between our spans (1-based lines, 0-based code points) and LSP positions (0-based, code units).

All functions are pure. A place outside of the text is moved to its nearest end, as the protocol asks for:
a span of an older text gives a nearby position and never an exception.
"""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol.types import Position, PositionEncodingKind, Range

from handlens.report import Span


def units(text: str, encoding: PositionEncodingKind | str) -> int:
    """The length of a text in code units of ``encoding``."""
    if encoding == PositionEncodingKind.Utf32 or text.isascii():
        return len(text)
    # By code point, not by str.encode: a text from JSON may hold half of a surrogate pair.
    if encoding == PositionEncodingKind.Utf8:
        return sum(1 + (c > "\x7f") + (c > "\u07ff") + (c > "\uffff") for c in text)
    return sum(1 + (c > "\uffff") for c in text)


def code_points(line: str, character: int, encoding: PositionEncodingKind | str) -> int:
    """How many code points are in the first ``character`` code units of a line.

    A position inside a character counts as before it; one past the end of the line as its end.
    """
    content = line.rstrip("\r\n")
    if encoding == PositionEncodingKind.Utf32 or content.isascii():
        return max(0, min(character, len(content)))
    seen = 0
    for column, char in enumerate(content):
        seen += units(char, encoding)
        if seen > character:
            return column
    return len(content)


def to_position(
    line: int, column: int, lines: Sequence[str], encoding: PositionEncodingKind | str
) -> Position:
    """The position of a 1-based line and a 0-based code point."""
    if line > len(lines):
        line, column = len(lines), len(lines[-1])
    content = lines[max(line, 1) - 1].rstrip("\r\n")
    return Position(max(line, 1) - 1, units(content[: max(column, 0)], encoding))


def to_range(span: Span, lines: Sequence[str], encoding: PositionEncodingKind | str) -> Range:
    """The range of a span."""
    return Range(
        to_position(span.line, span.column, lines, encoding),
        to_position(span.end_line, span.end_column, lines, encoding),
    )


def from_position(
    position: Position, lines: Sequence[str], encoding: PositionEncodingKind | str
) -> tuple[int, int]:
    """The 1-based line and the 0-based code point of a position."""
    if position.line >= len(lines):
        return len(lines), len(lines[-1].rstrip("\r\n"))
    line = lines[position.line]
    return position.line + 1, code_points(line, position.character, encoding)


def offset(position: Position, lines: Sequence[str], encoding: PositionEncodingKind | str) -> int:
    """How many code points come before a position in the text that ``lines`` make up."""
    line, column = from_position(position, lines, encoding)
    return sum(len(each) for each in lines[: line - 1]) + column


def at(offset: int, lines: Sequence[str], encoding: PositionEncodingKind | str) -> Position:
    """The position behind the first ``offset`` code points of the text that ``lines`` make up."""
    for number, line in enumerate(lines[:-1], 1):
        if offset < len(line):
            return to_position(number, offset, lines, encoding)
        offset -= len(line)
    return to_position(len(lines), offset, lines, encoding)
