"""Positions, checked against what Python's own codecs say."""

import ast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lsprotocol.types import Position, PositionEncodingKind, Range

from handlens.report import Span
from handlens_server.text import positions

CODECS = {
    PositionEncodingKind.Utf8: ("utf-8", 1),
    PositionEncodingKind.Utf16: ("utf-16-le", 2),
    PositionEncodingKind.Utf32: ("utf-32-le", 4),
}
encodings = st.sampled_from(sorted(CODECS))
# Form feed, next line and the Unicode separators are line ends for str.splitlines alone.
texts = st.text(st.sampled_from("a \té𝔘😀\n\r\f\v\x1c\x85\u2028\u2029"), max_size=40)


@given(texts)
@example("")
@example("a\r\n\r\rb\n")
@example("a\fb\u2028c\nd")
def test_lines_end_where_the_protocol_says(text):
    lines = positions.split_lines(text)
    assert "".join(lines) == text
    assert [line.rstrip("\r\n") for line in lines] == text.replace("\r\n", "\n").replace(
        "\r", "\n"
    ).split("\n")


@given(st.text(st.sampled_from("x = 1;\t\f\n\r"), max_size=30))
def test_lines_are_those_of_python_s_parser(text):
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    lines = positions.split_lines(text)
    for statement in tree.body:
        assert lines[statement.lineno - 1][statement.col_offset] in "x1"


@given(texts, encodings)
def test_units_are_what_the_codec_needs(text, encoding):
    codec, size = CODECS[encoding]
    assert positions.units(text, encoding) == len(text.encode(codec)) // size


def test_half_a_surrogate_pair_has_a_length():
    assert positions.units("\ud83d", PositionEncodingKind.Utf8) == 3
    assert positions.units("\ud83d", PositionEncodingKind.Utf16) == 1


@given(texts, encodings, st.data())
def test_every_code_point_survives_the_way_to_the_client_and_back(text, encoding, data):
    lines = positions.split_lines(text)
    line = data.draw(st.integers(1, len(lines)))
    column = data.draw(st.integers(0, len(lines[line - 1].rstrip("\r\n"))))
    position = positions.to_position(line, column, lines, encoding)
    assert positions.from_position(position, lines, encoding) == (line, column)
    assert text[: positions.offset(position, lines, encoding)] == (
        "".join(lines[: line - 1]) + lines[line - 1][:column]
    )


@given(texts, encodings, st.integers(-3, 60), st.integers(-3, 200))
def test_whatever_lies_outside_is_clamped(text, encoding, line, column):
    lines = positions.split_lines(text)
    position = positions.to_position(line, column, lines, encoding)
    assert 0 <= position.line < len(lines)
    content = lines[position.line].rstrip("\r\n")
    assert 0 <= position.character <= positions.units(content, encoding)
    back = Position(max(line, 0), max(column, 0))
    assert 0 <= positions.offset(back, lines, encoding) <= len(text)
    assert back == Position(max(line, 0), max(column, 0)), "the argument is left as it is"


def test_a_position_inside_a_character_counts_as_before_it():
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
def test_a_span_becomes_a_range(encoding, columns):
    span = Span("m.py", 2, 2, 2, 6)
    assert positions.to_range(span, ["\f\r\n", "é😀relu\r\n"], encoding) == Range(
        Position(1, columns[0]), Position(1, columns[1])
    )
