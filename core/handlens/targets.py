"""What can be run in a file, found from its text alone: nothing is imported, nothing is executed."""

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

from handlens.report import Failure, Span

PREFIX = "handlens_"

BOM = "\ufeff"
"""What some editors write first into a text. Files are decoded without it, buffers may have it."""

_NAME = re.compile(r"\s*(?:def|class)\s+(?P<name>\w+)")

HOW_TO_DECLARE = (
    "No Handlens target in this file. Add a function `handlens_<name>()` that takes nothing and "
    "returns (model, example_inputs)."
)


@dataclass(frozen=True)
class Target:
    """Something to run, and where it is declared (1-based line, 0-based code point columns)."""

    name: str
    kind: Literal["function", "class", "configured"]
    file: str
    line: int = 1
    column: int = 0
    end_column: int = 0
    references: dict[str, str] = field(default_factory=dict, hash=False)
    """For a configured target its keys (``model``, ``example_inputs``, …) and ``module:callable``s."""
    keep_float: tuple[str, ...] = ()
    """For a configured target the paths of the modules that stay in float."""

    @property
    def declaration(self) -> Span:
        """Where a finding about the target as a whole is shown."""
        return Span(os.path.abspath(self.file), self.line, self.column, self.line, self.end_column)


class InvalidConfiguration(ValueError):
    """A ``[tool.handlens]`` table that does not say what it should."""


def discover(text: str, file: str) -> list[Target]:
    """The targets of a file: its functions and classes in source order, then those configured for it.

    Raises SyntaxError where ``text`` is not Python, InvalidConfiguration for a wrong pyproject.toml.
    """
    return [*_declared(text, file), *_configured(file)]


@lru_cache(4)
def parse(text: str) -> ast.Module:
    """The syntax tree of a text, byte order mark or not. Raises what ``ast.parse`` does."""
    return ast.parse(text.removeprefix(BOM))


@lru_cache(16)
def _declared(text: str, file: str) -> tuple[Target, ...]:
    """Those in the text. An editor asks for them all the time."""
    tree = parse(text)
    # As the compiler counts them: a form feed, which str.splitlines counts too, ends no line.
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


def parse_failure(error: Exception, file: str) -> Failure:
    """The failure of a file that does not parse: ``discover`` raised ``error``."""
    reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
    span = None
    if isinstance(error, SyntaxError) and error.lineno:
        start = error.lineno, max((error.offset or 1) - 1, 0)
        end = error.end_lineno or error.lineno, (error.end_offset or 0) - 1
        span = Span(file, *start, *(end if end > start else (start[0], start[1] + 1)))
    return Failure("HL301", f"{Path(file).name} does not parse: {reason}", span, "")


def _target(
    node: ast.FunctionDef | ast.ClassDef,
    kind: Literal["function", "class"],
    file: str,
    lines: list[str],
) -> Target:
    # The statement begins below its decorators. Its name may be spelled otherwise than Python reads it.
    name = _NAME.match(lines[node.lineno - 1])
    column, end_column = name.span("name") if name else (0, 1)
    return Target(node.name, kind, file, node.lineno, column, end_column)


def _is_runnable_module(node: ast.ClassDef) -> bool:
    """A class that looks like an ``nn.Module``, takes no arguments, and has ``example_inputs()``."""
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    bases = [ast.unparse(base) for base in node.bases]
    if "example_inputs" not in methods or not any(b.split(".")[-1] == "Module" for b in bases):
        return False
    init = methods.get("__init__")
    return init is None or not _required_arguments(init)


def _required_arguments(function: ast.FunctionDef) -> list[str]:
    positional = [*function.args.posonlyargs, *function.args.args][1:]
    required = positional[: len(positional) - len(function.args.defaults)]
    keywords = zip(function.args.kwonlyargs, function.args.kw_defaults)
    return [
        *(each.arg for each in required),
        *(each.arg for each, default in keywords if default is None),
    ]


# -- [tool.handlens] in pyproject.toml -------------------------------------------------------------


def find_project(file: str) -> Path | None:
    """The nearest pyproject.toml above a file."""
    for folder in Path(file).absolute().parents:
        # Unlike that of Path, it is false for whatever cannot be asked for.
        if os.path.isfile(folder / "pyproject.toml"):
            return folder / "pyproject.toml"
    return None


def configuration(project: Path) -> dict[str, Any]:
    """The ``[tool.handlens]`` table of a pyproject.toml; empty if it has none."""
    # A worker runs without tomli.
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
        references = {key: value for key, value in table.items() if key != "keep_float"}
        for key, value in references.items():
            if not isinstance(value, str):
                raise InvalidConfiguration(f'{where} {key} is not a "module:callable" string')
        kept = table.get("keep_float", [])
        if not isinstance(kept, list) or not all(isinstance(each, str) for each in kept):
            raise InvalidConfiguration(f"{where} keep_float is not a list of module paths")
        module = table["model"].partition(":")[0]
        if _is_module(file, module, project.parent):
            yield Target(name, "configured", file, references=references, keep_float=tuple(kept))


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
