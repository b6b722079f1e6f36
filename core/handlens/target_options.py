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


def changed_options(before: str, after: str, target: str) -> dict[str, Any] | None:
    """The options of a target that changed from one text to another, which differ in options alone.

    Returns None for texts that differ in more. An option that only the text before has is None after.
    """
    one, other = _split(before, target), _split(after, target)
    if one is None or other is None or one.rest != other.rest:
        return None
    return {
        key: other.options.get(key)
        for key in KEYS
        if one.options.get(key) != other.options.get(key)
    }


@dataclass(frozen=True)
class _Split:
    """A file's text without the options of a target, and the options."""

    rest: tuple[str, ...]
    options: dict[str, Any]


def _split(text: str, target: str) -> _Split | None:
    tree = syntax.tree(text)
    try:
        given = returned(text, target)
        if tree is None or given is None:
            return None
        options: dict[str, Any] = {}
        kept = []
        for key, value in _items(given):
            if key in KEYS and _is_literal(value):
                options[key] = ast.literal_eval(value)
            else:
                kept.append(f"{key}: {ast.dump(value)}")
        outside = _dump_without(tree, given)
    except (NoEdit, RecursionError, MemoryError):
        return None
    return _Split((outside, *kept), options)


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


def _dump_without(tree: ast.Module, left_out: ast.expr) -> str:
    """The dump of a tree in which an expression that is returned counts for nothing."""
    [statement] = [
        each for each in ast.walk(tree) if isinstance(each, ast.Return) and each.value is left_out
    ]
    statement.value = None
    try:
        return ast.dump(tree)
    finally:
        # Trees are cached.
        statement.value = left_out


_T = TypeVar("_T")


def moved(report: _T, file: str, before: str, after: str) -> _T | None:
    """A report of a text as one of another text, which differs in one place.

    Every span stays with its text. Returns None if a span has text that differs.
    """
    if before == after:
        return report
    lines, others = split_lines(before), split_lines(after)
    same = _same_lines(lines, others)
    at_end = min(_same_lines(lines[::-1], others[::-1]), min(len(lines), len(others)) - same)
    shift = len(others) - len(lines)

    def place(span: Span) -> Span:
        if span.file != file or span.end_line <= same:
            return span
        if span.line <= len(lines) - at_end:
            raise _Between
        return dataclasses.replace(span, line=span.line + shift, end_line=span.end_line + shift)

    try:
        found: _T = _with_spans(report, place)
        return found
    except _Between:
        return None


class _Between(Exception):
    """A span has text that differs."""


def _same_lines(lines: tuple[str, ...], others: tuple[str, ...]) -> int:
    """How many lines are the same from the first on."""
    pairs = enumerate(zip(lines, others))
    return next((i for i, (one, other) in pairs if one != other), min(len(lines), len(others)))


def _with_spans(value: Any, place: Callable[[Span], Span]) -> Any:
    """A value of dataclasses, tuples and dictionaries with other spans."""
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
