"""The lines of a text."""

import ast

from hypothesis import example, given
from hypothesis import strategies as st

from handlens.source_text import split_lines

# Form feed, next line and the Unicode separators are line ends for str.splitlines alone.
texts = st.text(st.sampled_from("a \té𝔘😀\n\r\f\v\x1c\x85\u2028\u2029"), max_size=40)


@given(texts)
@example("")
@example("a\r\n\r\rb\n")
@example("a\fb\u2028c\nd")
def test_lines_end_where_the_protocol_says(text: str) -> None:
    lines = split_lines(text)
    assert "".join(lines) == text
    assert [line.rstrip("\r\n") for line in lines] == text.replace("\r\n", "\n").replace(
        "\r", "\n"
    ).split("\n")


@given(st.text(st.sampled_from("x = 1;\t\f\n\r"), max_size=30))
def test_lines_are_those_of_python_s_parser(text: str) -> None:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return
    lines = split_lines(text)
    for statement in tree.body:
        assert lines[statement.lineno - 1][statement.col_offset] in "x1"
