"""Find the targets of a file, by its syntax tree alone: nothing is imported, nothing is executed."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from handlens.report import Span

PREFIX = "handlens_"

BOM = "\ufeff"
"""The byte order mark. Decoding a file removes it, but the text of an editor may begin with it."""

_NAME = re.compile(r"\s*(?:def|class)\s+(?P<name>\w+)")

HOW_TO_DECLARE = (
    "No Handlens target in this file. Add a function `handlens_<name>()` that takes nothing and "
    "returns (model, example_inputs)."
)


@dataclass(frozen=True)
class Target:
    """A model that can be checked, and where it is declared (1-based line, 0-based code point columns)."""

    name: str
    kind: Literal["function", "class", "configured", "draft"]
    """A draft is a model class that has no target yet: its run finds out what one could be."""
    file: str
    line: int = 1
    column: int = 0
    end_column: int = 0
    references: dict[str, str] = field(default_factory=dict, hash=False)
    """The ``"module:callable"`` strings of a configured target by their keys: ``model``, …"""
    keep_float: tuple[str, ...] = ()
    """What a configured target asks to keep in float."""
    adjust: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """By module path, the kinds of change that a configured target asks for."""

    @property
    def declaration(self) -> Span:
        """Where a finding about the target as a whole is shown."""
        return Span(os.path.abspath(self.file), self.line, self.column, self.line, self.end_column)


class InvalidConfiguration(ValueError):
    """The ``[tool.handlens]`` table of a pyproject.toml is wrong, or the file cannot be read."""


def discover(text: str, file: str) -> list[Target]:
    """Find the functions and classes of a file that are targets, then the targets configured for the file.

    Raises:
        SyntaxError: ``text`` is not Python.
        InvalidConfiguration: The project's pyproject.toml is wrong.
    """
    return [*_declared(text, file), *_configured(file)]


@lru_cache(4)
def parse(text: str) -> ast.Module:
    """Parse a text that may begin with a byte order mark. Raises what ``ast.parse`` does."""
    return ast.parse(text.removeprefix(BOM))


@lru_cache(16)
def _declared(text: str, file: str) -> tuple[Target, ...]:
    """The functions and classes of a text that are targets. Cached: an editor asks at every edit."""
    tree = parse(text)
    # Split where the compiler does. str.splitlines also splits at form feeds, which end no line.
    lines = re.split(r"\r\n|\r|\n", text)
    functions = [
        _target(node, "function", file, lines)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith(PREFIX)
    ]
    classes = [
        _target(node, "class", file, lines)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and _is_runnable_module(node)
    ]
    return (*functions, *classes)


def _target(
    node: ast.FunctionDef | ast.ClassDef,
    kind: Literal["function", "class"],
    file: str,
    lines: list[str],
) -> Target:
    # Find the name in the text: Python normalizes identifiers, so that node.name may be spelled otherwise.
    name = _NAME.match(lines[node.lineno - 1])
    column, end_column = name.span("name") if name else (0, 1)
    return Target(node.name, kind, file, node.lineno, column, end_column)


def _is_runnable_module(node: ast.ClassDef) -> bool:
    """True if a class looks like an ``nn.Module``, takes no arguments, and has ``example_inputs()``."""
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    bases = [ast.unparse(base) for base in node.bases]
    if "example_inputs" not in methods or not any(b.split(".")[-1] == "Module" for b in bases):
        return False
    init = methods.get("__init__")
    return init is None or not required_arguments(init)


def required_arguments(method: ast.FunctionDef) -> list[ast.arg]:
    """The arguments of a method without a default, ``self`` left out."""
    given = method.args
    positional = [*given.posonlyargs, *given.args][1:]
    keywords = zip(given.kwonlyargs, given.kw_defaults)
    return [
        *positional[: len(positional) - len(given.defaults)],
        *(each for each, default in keywords if default is None),
    ]


# -- [tool.handlens] in pyproject.toml -------------------------------------------------------------


def find_project(file: str) -> Path | None:
    """The nearest pyproject.toml above a file."""
    for folder in Path(file).absolute().parents:
        # Path.is_file raises an error for a folder that may not be read; this is false.
        if os.path.isfile(folder / "pyproject.toml"):
            return folder / "pyproject.toml"
    return None


def configuration(project: Path) -> dict[str, Any]:
    """The ``[tool.handlens]`` table of a pyproject.toml; empty if it has none."""
    # Imported here because tomli need not be installed where a worker runs.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        content = tomllib.loads(project.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidConfiguration(f"{project}: {error}") from error
    table = _table(
        _table(content, "tool", f"{project}: tool"), "handlens", f"{project}: tool.handlens"
    )
    _table(table, "targets", f"{project}: tool.handlens.targets")
    return table


def _table(content: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise InvalidConfiguration(f"{name} is not a table")
    return table


def _configured(file: str) -> Iterator[Target]:
    project = find_project(file)
    if project is None:
        return
    for name, table in configuration(project).get("targets", {}).items():
        where = f"{project}: [tool.handlens.targets.{name}]"
        if not isinstance(table, dict) or not isinstance(table.get("model"), str):
            raise InvalidConfiguration(f'{where} needs model = "module:callable"')
        references = {
            key: value for key, value in table.items() if key not in ("keep_float", "adjust")
        }
        for key, value in references.items():
            if not isinstance(value, str):
                raise InvalidConfiguration(f'{where} {key} is not a "module:callable" string')
        kept = table.get("keep_float", [])
        if not isinstance(kept, list) or not all(isinstance(each, str) for each in kept):
            raise InvalidConfiguration(f"{where} keep_float is not a list of module paths")
        adjust = _adjustments(table.get("adjust", {}), where)
        module = table["model"].partition(":")[0]
        if _is_module(file, module, project.parent):
            yield Target(
                name,
                "configured",
                file,
                references=references,
                keep_float=tuple(kept),
                adjust=adjust,
            )


def _adjustments(table: object, where: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(table, dict):
        raise InvalidConfiguration(f"{where} adjust is not a table of module paths")
    adjust: dict[str, tuple[str, ...]] = {}
    for path, given in table.items():
        kinds = [given] if isinstance(given, str) else given
        if not isinstance(kinds, list) or not all(isinstance(each, str) for each in kinds):
            raise InvalidConfiguration(
                f"{where} adjust: {path} has no kind of change, and no list of them"
            )
        adjust[path] = tuple(kinds)
    return adjust


def _is_module(file: str, module: str, root: Path) -> bool:
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return False
    stem = Path(*parts)
    return any(
        candidate == Path(file).absolute()
        for folder in (root, root / "src")
        for candidate in (folder / stem.with_suffix(".py"), folder / stem / "__init__.py")
    )
