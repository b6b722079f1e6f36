"""Edits of suppressions: they do what they say, and nothing else."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens.diagnosis.suppressions import suppressions
from handlens.report import Span
from handlens.target_edits import NoEdit
from handlens_server.text.source_edits import remove_suppression, suppress

comments = st.sampled_from(
    [
        "",
        "  # noqa",
        "  # handlens: ignore[HL104]",
        "  # handlens: ignore[HL104] # é",
        "  # handlens",
    ]
)
statements = st.sampled_from(
    [
        "x = f(x)",
        "x = '''a\nb'''",
        "x = f(\n    1,\n    '''\n# no comment''',\n)",
        "y = x + \\\n    1",
        "z = '# handlens: ignore[HL101]'",
    ]
)
programs = st.lists(st.tuples(statements, comments), min_size=1, max_size=5)
line_ends = st.sampled_from(["\n", "\r\n"])


def text_of(program: list[tuple[str, str]], line_end: str) -> str:
    text = "".join(statement + comment + "\n" for statement, comment in program)
    return text.replace("\n", line_end)


def span_of(node: ast.stmt) -> Span:
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return Span("/m.py", node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)


@pytest.mark.slow
@given(programs, line_ends, st.data())
def test_a_suppression_covers_the_statement_and_changes_no_code(
    program: list[tuple[str, str]], line_end: str, data: Any
) -> None:
    text = text_of(program, line_end)
    node = data.draw(st.sampled_from(ast.parse(text).body))
    before = suppressions(text)
    try:
        changed = suppress(text, span_of(node), "HL101").apply(text)
    except NoEdit:
        assert "\\" in text or "'''" in text
        return
    assert ast.dump(ast.parse(changed)) == ast.dump(ast.parse(text))
    after = suppressions(changed)
    covering = [c for c in after if node.lineno <= c.line <= (node.end_lineno or 0)]
    assert any("HL101" in comment.codes for comment in covering)
    # The other comments are what they were.
    assert [c for c in before if c.line not in {e.line for e in covering}] == [
        c for c in after if c not in covering
    ]


@given(programs, line_ends)
def test_removing_every_suppression_leaves_the_code_and_the_other_comments(
    program: list[tuple[str, str]], line_end: str
) -> None:
    text = text_of(program, line_end)
    while found := suppressions(text):
        changed = remove_suppression(text, found[0].line).apply(text)
        assert len(suppressions(changed)) == len(found) - 1
        assert ast.dump(ast.parse(changed)) == ast.dump(ast.parse(text))
        assert changed.count("noqa") == text.count("noqa")
        text = changed
