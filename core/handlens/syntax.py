"""Syntax trees of Python source, and where their nodes are in the text."""

from __future__ import annotations

import ast
import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from handlens.report import Span
from handlens.source_text import split_lines
from handlens.targets import BOM, parse

_CLASS_NAME = re.compile(r"\bclass\s+(\w+)")


# Characters. Python takes a second to parse as many, and the server answers nothing meanwhile. Models that
# people write have a twentieth of that.
LONGEST = 1_000_000


@functools.lru_cache(4)
def tree(text: str) -> ast.Module | None:
    """The syntax tree of a text; None for a text that does not parse, or is too long."""
    if len(text) > LONGEST:
        return None
    try:
        return parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@functools.lru_cache(4)
def parsed(text: str) -> tuple[ast.Module, str] | None:
    """The syntax tree of a text, and its dump without positions; None if the text does not parse."""
    found = tree(text)
    try:
        return None if found is None else (found, ast.dump(found))
    except RecursionError:
        return None


@dataclass(frozen=True)
class ModuleClass:
    """A class with a ``forward``: models are made of these."""

    name: Span
    last: int
    """The last line of the class."""


def module_classes(text: str, file: str) -> list[ModuleClass]:
    """The classes of a file's text that have a ``forward``."""
    found = tree(text)
    lines = split_lines(text)
    classes = []
    for node in _statements(found) if found is not None else ():
        if isinstance(node, ast.ClassDef) and any(
            isinstance(each, ast.FunctionDef) and each.name == "forward" for each in node.body
        ):
            name = _CLASS_NAME.search(lines[node.lineno - 1])
            column, end_column = name.span(1) if name else (0, 0)
            place = Span(file, node.lineno, column, node.lineno, end_column)
            classes.append(ModuleClass(place, node.end_lineno or node.lineno))
    return sorted(classes, key=lambda each: each.name.line)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes of a tree but expressions, which are nearly all of them and have no classes inside."""
    left: list[ast.AST] = [tree]
    while left:
        for each in ast.iter_child_nodes(left.pop()):
            if not isinstance(each, ast.expr):
                left.append(each)
                yield each


class Columns:
    """Translates the parser's lines and columns, which count bytes, to offsets in a text."""

    def __init__(self, text: str) -> None:
        self._lines = list(split_lines(text))
        self._starts = list(line_starts(text))
        if text.startswith(BOM):
            # The parser does not count the byte order mark.
            self._lines[0], self._starts[0] = self._lines[0][1:], 1

    def place(self, node: ast.AST) -> tuple[int, int] | None:
        """The offsets of a node; None for one that has no place."""
        if not isinstance(node, (ast.expr, ast.stmt)):
            return None
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._offset(node.lineno, node.col_offset)
        return start, self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        text = self._lines[line - 1]
        if not text.isascii():
            column = len(text.encode()[:column].decode(errors="ignore"))
        return self._starts[line - 1] + column


@functools.lru_cache(4)
def line_starts(text: str) -> list[int]:
    """The offset that each line of a text begins at."""
    return list(itertools.accumulate(map(len, split_lines(text)[:-1]), initial=0))
