"""Edits of somebody's source: they do what they say, and nothing else."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens.diagnosis.suppressions import suppressions
from handlens.report import Span
from handlens.targets import Target
from handlens_server.text.source_edits import (
    NoEdit,
    keep_float,
    keep_float_configured,
    remove_suppression,
    suppress,
)

TARGET = Target("handlens_x", "function", "/model.py")

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


@given(programs, line_ends, st.data())
def test_a_suppression_covers_the_statement_and_changes_no_code(program, line_end, data):
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
def test_removing_every_suppression_leaves_the_code_and_the_other_comments(program, line_end):
    text = text_of(program, line_end)
    while found := suppressions(text):
        changed = remove_suppression(text, found[0].line).apply(text)
        assert len(suppressions(changed)) == len(found) - 1
        assert ast.dump(ast.parse(changed)) == ast.dump(ast.parse(text))
        assert changed.count("noqa") == text.count("noqa")
        text = changed


@pytest.mark.parametrize(
    ("returned", "changed"),
    [
        ("m, (1,)", '{"model": m, "example_inputs": (1,), "keep_float": ["a.0"]}'),
        (
            "(\n        m,\n        [1],\n    )",
            '{"model": m, "example_inputs": [1], "keep_float": ["a.0"]}',
        ),
        ('{"model": "é𝔘",}', '{"model": "é𝔘", "keep_float": ["a.0"],}'),
        ('{"model": m, "keep_float": ["b"]}', '{"model": m, "keep_float": ["b", "a.0"]}'),
        ('{"keep_float": ("b",), "model": m}', '{"keep_float": ("b", "a.0",), "model": m}'),
    ],
)
def test_a_target_keeps_a_module_in_float(returned, changed):
    text = f"\ufeff# é\ndef handlens_x():\n    return {returned}  # mine\n"
    assert keep_float(text, TARGET, "a.0").apply(text) == text.replace(returned, changed)


@pytest.mark.parametrize(
    "returned",
    [
        "pair",
        "m, (1,)  # ok\n    if m:\n        return m, ()",
        "(m,  # the model\n        ())",
        "{**base}",
        '{"model": m, "keep_float": names}',
        '{"model": m, "keep_float": []}',
        '{"model": m, "keep_float": ["a.0"]}',
        '{"model": (m)}',
    ],
)
def test_what_cannot_be_edited_safely_is_left_alone(returned):
    text = f"def handlens_x():\n    return {returned}\n"
    with pytest.raises(NoEdit):
        keep_float(text, TARGET, "a.0")


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ('model = "m:M" # é\n', 'model = "m:M" # é\nkeep_float = ["a.0"]\n'),
        ('model = "m:M"\nkeep_float = ["b"]\n', 'model = "m:M"\nkeep_float = ["b", "a.0"]\n'),
    ],
)
def test_a_project_keeps_a_module_in_float(table, changed):
    text = f"# first\n[tool.handlens.targets.x]\n{table}\n[other]\nkey = 1\n"
    target = Target("x", "configured", "/m.py")
    assert keep_float_configured(text, target, "a.0").apply(text) == text.replace(table, changed)


def test_a_project_without_the_target_is_left_alone():
    for text in ("", "[tool.handlens\n", "[tool]\nhandlens = 1\n"):
        with pytest.raises(NoEdit, match=r"pyproject\.toml"):
            keep_float_configured(text, Target("x", "configured", "/m.py"), "a.0")
