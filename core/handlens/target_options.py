"""The options that a target writes out beside its model and its data, and texts that differ in these alone.

They decide how a model is quantized, not what is exported. So a model whose text has other options need not
be exported again.
"""

from __future__ import annotations

import ast
import dataclasses
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from handlens import syntax
from handlens.report import Span
from handlens.source_text import split_lines
from handlens.target_edits import NoEdit, returned

KEYS = ("recipe", "keep_float", "adjust")

_DICT = ast.dump(ast.Name("dict", ast.Load()))


@dataclass(frozen=True)
class OptionsEdit:
    """What happened to a text in which nothing but the options of a target, comments and layout changed."""

    options: dict[str, Any]
    """The options that changed, with their values after; None for one that is there no more."""
    _lines: dict[int, int]
    """By line before, the line that has the same text after."""

    @classmethod
    def between(cls, before: str, after: str, target: str) -> OptionsEdit | None:
        """The edit from one text to another; None if they differ in more."""
        one, other = _split(before, target), _split(after, target)
        if one is None or other is None or one.code != other.code:
            return None
        options = {
            key: other.options.get(key)
            for key in KEYS
            if one.options.get(key) != other.options.get(key)
        }
        return cls(options, _same_lines(before, after, one.nodes, other.nodes))

    def moved(self, report: _T, file: str) -> _T | None:
        """A report of the text before, as one of the text after: every span stays with its text.

        Returns None if a span has text that changed.
        """

        def place(span: Span) -> Span:
            if span.file != file:
                return span
            first, *others = map(self._lines.get, range(span.line, span.end_line + 1))
            if first is None or others != [*range(first + 1, first + 1 + len(others))]:
                raise _Changed
            return dataclasses.replace(span, line=first, end_line=first + len(others))

        try:
            found: _T = _with_spans(report, place)
            return found
        except _Changed:
            return None


_T = TypeVar("_T")


class _Changed(Exception):
    """A span has text that changed."""


@dataclass(frozen=True)
class _Split:
    """A file's text without the options of a target, and the options."""

    code: tuple[str, ...]
    nodes: list[ast.AST]
    """The nodes of the code, in an order that the code decides."""
    options: dict[str, Any]


def _split(text: str, target: str) -> _Split | None:
    tree = syntax.tree(text)
    try:
        given = returned(text, target)
        if tree is None or given is None:
            return None
        options: dict[str, Any] = {}
        code, nodes = _without(tree, given)
        kept = [code]
        for key, value in _items(given):
            if key in KEYS and _is_literal(value):
                options[key] = ast.literal_eval(value)
            else:
                kept.append(f"{key}: {ast.dump(value)}")
                nodes += ast.walk(value)
    except (NoEdit, RecursionError, MemoryError):
        return None
    return _Split(tuple(kept), nodes, options)


def _items(given: ast.expr) -> list[tuple[str, ast.expr]]:
    """The items of a mapping or a pair that is written out. Raises NoEdit for anything else."""
    if isinstance(given, ast.Tuple) and len(given.elts) == 2:
        return [*zip(("model", "example_inputs"), given.elts)]
    if isinstance(given, ast.Call) and ast.dump(given.func) == _DICT and not given.args:
        items = [(each.arg, each.value) for each in given.keywords if each.arg is not None]
        if len(items) == len(given.keywords):
            return items
    if isinstance(given, ast.Dict):
        keys = [key.value for key in given.keys if isinstance(key, ast.Constant)]
        if len(set(map(str, keys))) == len(given.keys):
            return [*zip(map(str, keys), given.values)]
    raise NoEdit("it is not written out")


def _is_literal(value: ast.expr) -> bool:
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError):
        return False
    return True


def _without(tree: ast.Module, left_out: ast.expr) -> tuple[str, list[ast.AST]]:
    """The dump and the nodes of a tree in which an expression that is returned counts for nothing."""
    [statement] = [
        each for each in ast.walk(tree) if isinstance(each, ast.Return) and each.value is left_out
    ]
    statement.value = None
    try:
        return ast.dump(tree), [*ast.walk(tree)]
    finally:
        # Trees are cached.
        statement.value = left_out


def _same_lines(
    before: str, after: str, nodes: list[ast.AST], others: list[ast.AST]
) -> dict[int, int]:
    """By line of one text on which nodes begin or end, the line of the other that has the same text."""
    pairs: dict[int, set[int]] = {}
    for node, other in zip(nodes, others):
        if isinstance(node, (ast.stmt, ast.expr)) and isinstance(other, (ast.stmt, ast.expr)):
            pairs.setdefault(node.lineno, set()).add(other.lineno)
            pairs.setdefault(node.end_lineno or 0, set()).add(other.end_lineno or 0)
    lines, theirs = split_lines(before), split_lines(after)
    return {
        line: found
        for line, (found, *more) in pairs.items()
        if not more and lines[line - 1] == theirs[found - 1]
    }


def _with_spans(value: Any, place: Callable[[Span], Span]) -> Any:
    """A value of dataclasses and tuples with other spans."""
    if isinstance(value, Span):
        return place(value)
    if isinstance(value, tuple):
        placed = tuple(_with_spans(each, place) for each in value)
        return placed if any(map(operator.is_not, placed, value)) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        found = {name: _with_spans(each, place) for name, each in fields.items()}
        changed = {name: each for name, each in found.items() if each is not fields[name]}
        return dataclasses.replace(value, **changed) if changed else value
    return value
