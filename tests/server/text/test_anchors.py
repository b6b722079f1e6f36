"""A span stays with the text that it covers, through whatever edits, or is gone with it."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlens.report import Span
from handlens_server.text import anchors as module
from handlens_server.text.anchors import Anchors, offsets

TEXT = """\
import torch

def forward(self, x):
    x = torch.relu(self.conv(x)) + 1  # 🙂 é
    for block in self.blocks:
        x = block(
            x, scale=2,
        )
    return x.mean((2, 3))
"""


def span_of(text: str, piece: str) -> Span:
    start = text.index(piece)
    end = start + len(piece)
    return Span(
        "m.py",
        text.count("\n", 0, start) + 1,
        start - (text.rfind("\n", 0, start) + 1),
        text.count("\n", 0, end) + 1,
        end - (text.rfind("\n", 0, end) + 1),
    )


def covered(span: Span, text: str) -> str:
    start, end = offsets(span, text)
    return text[start:end]


CONV, RELU, MEAN = "self.conv(x)", "torch.relu(self.conv(x))", "x.mean((2, 3))"
CALL = "block(\n            x, scale=2,\n        )"
PIECES = (CONV, RELU, MEAN, CALL)


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [
        ("import torch\n", "import torch\nimport os\n", ()),
        ("torch.relu(", "1 + torch.relu(", ()),
        ("conv(x)", "conv(y)", (CONV, RELU)),
        ("torch.relu(", "torch.tanh(", (RELU,)),
        ("scale=2", "scale=3", (CALL,)),
        ("    return x.mean((2, 3))\n", "", (MEAN,)),
        ("+ 1", "+ 2", ()),
    ],
)
def test_a_span_moves_with_its_text_and_ends_when_that_changes(
    old: str, new: str, gone: tuple[str, ...]
) -> None:
    anchors = Anchors(TEXT, [span_of(TEXT, piece) for piece in PIECES])
    text = TEXT.replace(old, new)
    anchors.move_to(text)
    assert anchors.is_stale
    for piece in PIECES:
        place = anchors.span(span_of(TEXT, piece))
        assert (place is None) == (piece in gone)
        assert place is None or covered(place, text) == piece


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\r\n\r\n" + TEXT.replace("\n", "\r\n"),
        TEXT.replace(
            "torch.relu(self.conv(x))", "torch.relu(\n        self.conv( x )  # here\n    )"
        ),
        TEXT.replace("    ", "\t"),
        "\ufeff" + TEXT,
        TEXT.replace("block(\n            x, scale=2,\n        )", "block(x, scale = 2)"),
    ],
)
def test_an_edit_that_changes_no_code_ends_nothing(text: str) -> None:
    anchors = Anchors(TEXT, [span_of(TEXT, piece) for piece in PIECES])
    anchors.move_to(text)
    assert not anchors.is_stale
    for piece in PIECES:
        place = anchors.span(span_of(TEXT, piece))
        assert place is not None
        found = covered(place, text)
        assert ast.dump(ast.parse(found)) == ast.dump(ast.parse(piece))


def test_undoing_an_edit_brings_everything_back() -> None:
    span = span_of(TEXT, CONV)
    anchors = Anchors(TEXT, [span])
    anchors.move_to(TEXT.replace("conv", "other"))
    assert anchors.span(span) is None
    anchors.move_to(TEXT.replace("def forward(self, x):", "def forward(self, x):  # again"))
    assert anchors.span(span) == span
    assert not anchors.is_stale


_typed = st.sampled_from(["", "x", "\n", "  ", "# é🙂\n", "self.conv(x)", ")", "\r\n", "pass\n\n"])
_edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), _typed), min_size=1, max_size=200)


@given(_edits)
@settings(max_examples=60, deadline=None)
def test_through_any_edits_a_span_covers_the_same_text_or_is_gone(
    edits: list[tuple[float, int, str]],
) -> None:
    spans = {piece: span_of(TEXT, piece) for piece in PIECES}
    anchors = Anchors(TEXT, spans.values())
    text = TEXT
    for where, length, typed in edits:
        start = round(where * len(text))
        text = text[:start] + typed + text[start + length :]
        anchors.move_to(text)
        assert anchors.text == text
        for piece, span in spans.items():
            place = anchors.span(span)
            if place is None:
                continue
            found = covered(place, text)
            assert found == piece or ast.dump(ast.parse(found)) == ast.dump(ast.parse(piece))


# What looks like a comment and is none, and the other way round.
INTRICATE = (
    '"""\n# in a string\n\n    """',
    "x = '# no comment'  # a comment",
    "y = 1",
    '# only "a comment',
    "z = f'{y}#{y}'",
    "if x:",
    "    w = (1,  # here",
    "         2)",
    "v = 1 + \\",
    "    2",
    "u = '''",
    "# still '''",
    "",
)
_line = st.sampled_from(INTRICATE)
_piece = st.sampled_from(
    ["#", "# é", "\n", "\n\n", "  ", "'", '"""', "\\", "\n# more\n", "x", "\t"]
)


@given(st.lists(_line, max_size=12), st.floats(0, 1), st.integers(0, 12), _piece)
@settings(max_examples=600, deadline=None)
def test_what_is_said_to_be_about_comments_only_leaves_the_code_as_it_is(
    lines: list[str], where: float, length: int, typed: str
) -> None:
    old = "\n".join(lines)
    start = round(where * len(old))
    new = old[:start] + typed + old[start + length :]
    if not module._is_about_comments(old, new, list(module._edits(old, new))):
        return

    def code(text: str) -> str | None:
        try:
            return ast.dump(ast.parse(text))
        except SyntaxError:
            return None

    if code(old) is not None:
        assert code(new) == code(old)


@pytest.mark.parametrize("quotes", ['"""', "'''"])
def test_what_looks_like_a_comment_within_a_string_is_none(quotes: str) -> None:
    lines = [
        "# a comment",
        "x = 1",
        f"y = {quotes}A text",
        "",
        "of lines",
        f"{quotes}",
        "z = 2",
        "",
    ]
    old = "\n".join(lines)
    for number in range(len(lines)):
        new = "\n".join([*lines[:number], "# typed", *lines[number:]])
        about_comments = module._is_about_comments(old, new, list(module._edits(old, new)))
        # Beside quotes it is left to the parser.
        if number not in (2, 6):
            assert about_comments == (number not in (3, 4, 5)), f"before {lines[number]!r}"


def test_a_large_text_is_compared_once_it_settles() -> None:
    text = TEXT + "\n".join(f"x{i} = {i}" for i in range(3000)) + "\n"
    spans = [span_of(text, piece) for piece in PIECES]
    anchors = Anchors(text, spans)
    anchors.move_to(text.replace("torch.relu(self.conv(x)) + 1", "torch.relu( self.conv(x) ) + 1"))
    assert anchors.is_stale
    assert anchors.settle()
    assert not anchors.is_stale
    assert all(anchors.span(span) is not None for span in spans)
    anchors.move_to(text.replace("+ 1", "+ 2"))
    assert not anchors.settle()
    assert anchors.is_stale
