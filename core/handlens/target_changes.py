"""What a target writes out beside its model, and texts that differ in this alone.

Options decide how a model is quantized, and data what it is run on, not what is exported. So a model whose
text has other options need not be exported again; nor one whose text has other data, if the target makes
the same model with it.
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
_DATA = ("calibration", "evaluation")

_NOTHING = ast.Constant(None)
_DICT = ast.dump(ast.Name("dict", ast.Load()))


@dataclass(frozen=True)
class TargetEdit:
    """What happened to a text that differs in the options and the data of a target, comments and layout."""

    options: dict[str, Any]
    """The options that changed, with their values after; None for one that is there no more."""
    data: bool
    """True if the batches may be others: their items changed, or what the target has in its variables."""
    _lines: dict[int, int]
    """By line before, the line that has the same text after."""

    @classmethod
    def between(cls, before: str, after: str, target: str) -> TargetEdit | None:
        """The edit from one text to another; None if they differ in more."""
        one, other = _split(before, target), _split(after, target)
        if one is None or other is None or one.code != other.code:
            return None
        options = {
            key: other.options.get(key)
            for key in KEYS
            if one.options.get(key) != other.options.get(key)
        }
        lines = _same_lines(before, after, one.nodes, other.nodes)
        return cls(options, one.data != other.data, lines)

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
    """A file's text without the options and the data of a target, and these."""

    code: tuple[str, ...]
    nodes: list[ast.AST]
    """The nodes of the code, in an order that the code decides."""
    options: dict[str, Any]
    data: tuple[str, ...]


def _split(text: str, target: str) -> _Split | None:
    tree = syntax.tree(text)
    try:
        given = returned(text, target)
        if tree is None or given is None:
            return None
        options: dict[str, Any] = {}
        statements = _assignments(tree, target)
        data = [ast.dump(each) for each in statements]
        code, nodes = _without(tree, given, statements)
        kept = [code]
        for key, value in _items(given):
            if key in KEYS and _is_literal(value):
                options[key] = ast.literal_eval(value)
            elif key in _DATA:
                data.append(f"{key}: {ast.dump(value)}")
            else:
                kept.append(f"{key}: {ast.dump(value)}")
                nodes += ast.walk(value)
    except (NoEdit, RecursionError, MemoryError):
        return None
    return _Split(tuple(kept), nodes, options, tuple(data))


def _assignments(tree: ast.Module, target: str) -> list[ast.Assign]:
    """The statements in a target that assign to its variables."""
    functions = [each for each in tree.body if isinstance(each, ast.FunctionDef)]
    return [
        each
        for function in functions
        if function.name == target
        and not any(isinstance(each, ast.Global) for each in ast.walk(function))
        for each in function.body
        if isinstance(each, ast.Assign) and all(isinstance(to, ast.Name) for to in each.targets)
    ]


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


def _without(
    tree: ast.Module, left_out: ast.expr, statements: list[ast.Assign]
) -> tuple[str, list[ast.AST]]:
    """The dump and the nodes of a tree in which some expressions count for nothing.

    These are one that is returned, and the values of ``statements``.
    """
    [statement] = [
        each for each in ast.walk(tree) if isinstance(each, ast.Return) and each.value is left_out
    ]
    values = [each.value for each in statements]
    statement.value = None
    for each in statements:
        each.value = _NOTHING
    try:
        return ast.dump(tree), [each for each in ast.walk(tree) if each is not _NOTHING]
    finally:
        # Trees are cached.
        statement.value = left_out
        for each, value in zip(statements, values):
            each.value = value


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
