"""The code cells of a notebook as one Python text, which has only what the targets need.

Every line and every column stays where it is: what is left out is replaced by blanks. Without this, opening
a notebook would train its model.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from handlens import syntax, targets
from handlens.source_text import split_lines

# The syntax of IPython: magics, shell commands, questions. Each is replaced by a 0, which is an expression.
_CELL_MAGIC = re.compile(r"\s*%%(?P<name>\w+)")
_PYTHON_CELL_MAGICS = ("time", "timeit", "capture", "prun")
_LINE = re.compile(r"^([ \t]*)(?:[%!?][^\r\n]*|[\w.]+[ \t]*\?{1,2}[ \t]*)$", re.MULTILINE)
_ASSIGNED = re.compile(r"^([ \t]*[\w, \t]+=[ \t]*)[%!][^\r\n]*$", re.MULTILINE)


def height(cell: str) -> int:
    """How many lines of the whole text a cell takes."""
    return len(split_lines(_ended(cell))) - 1


def text(cells: Iterable[str]) -> str:
    """The text to be run: what the targets need of the cells, or all of it if it does not parse."""
    whole = "".join(_ended(_without_magics(each)) for each in cells)
    parsed = syntax.parsed(whole)
    return whole if parsed is None else _needed(whole, parsed[0])


def _ended(cell: str) -> str:
    return cell if cell.endswith(("\n", "\r")) else cell + "\n"


def _without_magics(cell: str) -> str:
    magic = _CELL_MAGIC.match(cell)
    if magic is not None:
        is_python = magic["name"] in _PYTHON_CELL_MAGICS
        end = cell.find("\n") if is_python and "\n" in cell else len(cell)
        if is_python and "\n" not in cell:
            return _blank(cell)
        cell = _blank(cell[:end]) + cell[end:]
    for pattern in (_LINE, _ASSIGNED):
        cell = pattern.sub(
            lambda match: match[1] + "0" + _blank(match[0][len(match[1]) + 1 :]), cell
        )
    return cell


def _blank(text: str) -> str:
    return re.sub(r"[^\r\n]", " ", text)


def _needed(whole: str, tree: ast.Module) -> str:
    """The text without the statements that no target needs.

    A target needs the statements that bind the names that it uses, and those that these need in turn. It
    also needs every statement that uses a variable which it needs: the statement may change the variable.
    """
    needed = {each for each in tree.body if _is_target(each)}
    names: set[str] = set()
    variables: set[str] = set()
    while True:
        names |= {name for each in needed for name in _used(each)}
        found = {
            each
            for each in tree.body
            if isinstance(each, (ast.Import, ast.ImportFrom))
            or not names.isdisjoint(_bound(each))
            or not variables.isdisjoint(_used(each))
        }
        variables |= {name for each in found for name in _bound(each) if _is_variable(each)} & names
        if found <= needed:
            break
        needed |= found
    columns = syntax.Columns(whole)
    for each in tree.body:
        if each not in needed and (place := columns.place(each)) is not None:
            start, end = place
            for decorator in getattr(each, "decorator_list", ()):
                start = min(start, whole.rindex("@", 0, (columns.place(decorator) or place)[0]))
            # Another statement may follow on the same line.
            whole = whole[:start] + "0" + _blank(whole[start + 1 : end]) + whole[end:]
    return whole


def _is_target(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.FunctionDef):
        return statement.name.startswith(targets.PREFIX)
    return isinstance(statement, ast.ClassDef) and any(
        isinstance(each, ast.FunctionDef) and each.name == "example_inputs"
        for each in statement.body
    )


def _is_variable(statement: ast.stmt) -> bool:
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return not isinstance(statement, definitions)


def _used(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            yield node.id


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            # A definition under a condition, say.
            yield node.name
