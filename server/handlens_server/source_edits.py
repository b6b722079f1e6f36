"""Edits of Python source on somebody's behalf. An edit that would change more than it says is not made."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from handlens.report import Span
from handlens.rules import Suppression, suppressions
from handlens.targets import Target
from handlens_server import positions


class NoEdit(Exception):
    """The edit cannot be made; the message says why, for people."""


@dataclass(frozen=True)
class Edit:
    """Text in place of the code points from ``start`` to ``end``."""

    start: int
    end: int
    text: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.text + text[self.end :]


def suppress(text: str, span: Span, code: str) -> Edit:
    """A comment that suppresses ``code`` in the lines of ``span``; one that is there gets the code too.

    Raises NoEdit where no line has room for a comment.
    """
    lines, starts = positions.split_lines(text), _starts(text)
    for comment in suppressions(text):
        if span.line <= comment.line <= span.end_line:
            if not comment.codes or code in comment.codes:
                raise NoEdit(f"line {comment.line} suppresses {code} already")
            codes = ", ".join(sorted({*comment.codes, code}))
            start = starts[comment.line - 1]
            return Edit(
                start + comment.column, start + comment.end_column, f"# handlens: ignore[{codes}]"
            )
    # Where a string or a continued line ends later, a comment would become part of it.
    for line in range(span.end_line, span.line - 1, -1):
        content = lines[line - 1].rstrip("\r\n")
        kept = len(content.rstrip())
        start = starts[line - 1]
        edit = Edit(start + kept, start + len(content), f"  # handlens: ignore[{code}]")
        changed = edit.apply(text)
        if _code(changed) == _code(text) and any(
            each.line == line and code in each.codes for each in suppressions(changed)
        ):
            return edit
    raise NoEdit("no line of this expression has room for a comment")


def remove_suppression(text: str, line: int) -> Edit:
    """Take the suppression of a line away, and the line if nothing else is on it. Raises NoEdit."""
    lines, starts = positions.split_lines(text), _starts(text)
    comment = next((each for each in suppressions(text) if each.line == line), None)
    if comment is None:
        raise NoEdit(f"line {line} has no suppression")
    whole, start = lines[line - 1], starts[line - 1]
    before, after = _around(whole, comment)
    if not before and not after:
        return Edit(start, start + len(whole), "")
    if after:
        return Edit(start + comment.column, start + len(whole.rstrip("\r\n")), after)
    return Edit(start + len(before), start + len(whole.rstrip("\r\n")), "")


def keep_float(text: str, target: Target, module: str) -> Edit:
    """Name ``module`` in the ``keep_float`` of what a target function returns. Raises NoEdit."""
    returned = _returned(text, target)
    if isinstance(returned, ast.Tuple) and len(returned.elts) == 2:
        model, inputs = (ast.get_source_segment(text, each) for each in returned.elts)
        start, end = _place(text, returned)
        # The parentheses around a tuple are part of it; without any it may not go over lines.
        return Edit(
            start,
            end,
            f'{{"model": {model}, "example_inputs": {inputs}, "keep_float": ["{module}"]}}',
        )
    if not isinstance(returned, ast.Dict):
        raise NoEdit(f"{target.name} does not end in the return of a literal mapping or pair")
    for key, value in zip(returned.keys, returned.values):
        if isinstance(key, ast.Constant) and key.value == "keep_float":
            if not isinstance(value, (ast.List, ast.Tuple)) or not value.elts:
                raise NoEdit(f"the keep_float of {target.name} is not a literal list")
            if any(isinstance(each, ast.Constant) and each.value == module for each in value.elts):
                raise NoEdit(f"{target.name} keeps {module} in float already")
            _, end = _place(text, value.elts[-1])
            return Edit(end, end, f', "{module}"')
    if not returned.values:
        raise NoEdit(f"{target.name} returns an empty mapping")
    _, end = _place(text, returned.values[-1])
    return Edit(end, end, f', "keep_float": ["{module}"]')


def _around(line: str, comment: Suppression) -> tuple[str, str]:
    """What is on a line before and after a suppression; what comes after is a comment."""
    return line[: comment.column].rstrip(), line[comment.end_column :].strip()


def _returned(text: str, target: Target) -> ast.expr | None:
    tree = _parse(text)
    body = tree.body if tree else []
    function = next(
        (each for each in body if isinstance(each, ast.FunctionDef) and each.name == target.name),
        None,
    )
    if function is None:
        raise NoEdit(f"{target.name} is not a function of this file")
    last = function.body[-1]
    if len(list(_returns(function))) != 1 or not isinstance(last, ast.Return):
        raise NoEdit(f"{target.name} returns in more than one place")
    return last.value


def _returns(function: ast.FunctionDef) -> Iterator[ast.Return]:
    return (each for each in ast.walk(function) if isinstance(each, ast.Return))


def _place(text: str, node: ast.expr) -> tuple[int, int]:
    """The offsets of a node."""
    lines, starts = positions.split_lines(text), _starts(text)

    def offset(line: int, column: int) -> int:
        # The parser counts bytes.
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode(errors="ignore"))

    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return offset(node.lineno, node.col_offset), offset(node.end_lineno, node.end_col_offset)


def _starts(text: str) -> list[int]:
    starts = [0]
    for line in positions.split_lines(text):
        starts.append(starts[-1] + len(line))
    return starts


def _parse(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _code(text: str) -> str | None:
    tree = _parse(text)
    return None if tree is None else ast.dump(tree)
