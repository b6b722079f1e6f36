"""Positions, checked against what Python's own codecs say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from lsprotocol.types import Position, PositionEncodingKind, Range

from handlens.report import Span
from handlens.source_text import split_lines
from handlens_server.text import positions

CODECS = {
    PositionEncodingKind.Utf8: ("utf-8", 1),
    PositionEncodingKind.Utf16: ("utf-16-le", 2),
    PositionEncodingKind.Utf32: ("utf-32-le", 4),
}
encodings = st.sampled_from(sorted(CODECS))
# Form feed, next line and the Unicode separators are line ends for str.splitlines alone.
texts = st.text(st.sampled_from("a \té𝔘😀\n\r\f\v\x1c\x85\u2028\u2029"), max_size=40)


@given(texts, encodings)
def test_units_are_what_the_codec_needs(
    text: str, encoding: types.PositionEncodingKind | str
) -> None:
    codec, size = CODECS[encoding]
    assert positions.units(text, encoding) == len(text.encode(codec)) // size


def test_half_a_surrogate_pair_has_a_length() -> None:
    assert positions.units("\ud83d", PositionEncodingKind.Utf8) == 3
    assert positions.units("\ud83d", PositionEncodingKind.Utf16) == 1


@given(texts, encodings, st.data())
def test_every_code_point_survives_the_way_to_the_client_and_back(
    text: str, encoding: types.PositionEncodingKind | str, data: Any
) -> None:
    lines = split_lines(text)
    line = data.draw(st.integers(1, len(lines)))
    column = data.draw(st.integers(0, len(lines[line - 1].rstrip("\r\n"))))
    position = positions.to_position(line, column, lines, encoding)
    assert positions.from_position(position, lines, encoding) == (line, column)
    assert text[: positions.offset(position, lines, encoding)] == (
        "".join(lines[: line - 1]) + lines[line - 1][:column]
    )


@given(texts, encodings, st.integers(-3, 60), st.integers(-3, 200))
def test_whatever_lies_outside_is_clamped(
    text: str, encoding: types.PositionEncodingKind | str, line: int, column: int
) -> None:
    lines = split_lines(text)
    position = positions.to_position(line, column, lines, encoding)
    assert 0 <= position.line < len(lines)
    content = lines[position.line].rstrip("\r\n")
    assert 0 <= position.character <= positions.units(content, encoding)
    back = Position(max(line, 0), max(column, 0))
    assert 0 <= positions.offset(back, lines, encoding) <= len(text)
    assert back == Position(max(line, 0), max(column, 0)), "the argument is left as it is"


def test_a_position_inside_a_character_counts_as_before_it() -> None:
    lines = ["a😀b"]
    utf16 = PositionEncodingKind.Utf16
    columns = [positions.from_position(Position(0, at), lines, utf16)[1] for at in range(5)]
    assert columns == [0, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("encoding", "columns"),
    [
        (PositionEncodingKind.Utf8, (6, 10)),
        (PositionEncodingKind.Utf16, (3, 7)),
        (PositionEncodingKind.Utf32, (2, 6)),
    ],
)
def test_a_span_becomes_a_range(
    encoding: types.PositionEncodingKind | str, columns: list[int]
) -> None:
    span = Span("m.py", 2, 2, 2, 6)
    assert positions.to_range(span, ["\f\r\n", "é😀relu\r\n"], encoding) == Range(
        Position(1, columns[0]), Position(1, columns[1])
    )
