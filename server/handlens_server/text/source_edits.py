"""Edits of Python source on somebody's behalf. An edit that would change more than it says is not made."""

from __future__ import annotations

import ast
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

from handlens.diagnosis.suppressions import Suppression, suppressions
from handlens.report import Span
from handlens.targets import Target
from handlens_server.text import positions, syntax


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
    name = json.dumps(module, ensure_ascii=False)
    returned = _returned(text, target.name)
    place = functools.partial(_place, syntax.Columns(text))
    if isinstance(returned, ast.Tuple) and len(returned.elts) == 2:
        edit = _mapping(
            text, place(returned), place(returned.elts[0]), place(returned.elts[1]), name
        )
        before = returned.elts
    elif isinstance(returned, ast.Dict) and returned.values and None not in returned.keys:
        listed = _kept(returned)
        last = returned.values[-1]
        if listed is None:
            edit = _insert(place(last)[1], f', "keep_float": [{name}]')
        elif not isinstance(listed, (ast.List, ast.Tuple)) or not listed.elts:
            raise NoEdit(f"the keep_float of {target.name} is not a list with literal names")
        elif any(isinstance(each, ast.Constant) and each.value == module for each in listed.elts):
            raise NoEdit(f"{target.name} keeps {module} in float already")
        else:
            edit = _insert(place(listed.elts[-1])[1], f", {name}")
        before = returned.values
    else:
        raise NoEdit(f"{target.name} does not return a pair or a mapping that is written out")
    if not _keeps(edit.apply(text), target.name, module, before):
        raise NoEdit(f"what {target.name} returns is too intricate to be edited")
    return edit


def keep_float_configured(text: str, target: Target, module: str) -> Edit:
    """Name ``module`` in the ``keep_float`` of a target in the text of a pyproject.toml. Raises NoEdit."""
    # It takes a while to import, which a server that starts has no need of.
    import tomlkit
    import tomlkit.exceptions

    try:
        document = tomlkit.parse(text)
        table = document["tool"]["handlens"]["targets"][target.name]
        kept = table.get("keep_float")
        if kept is None:
            table["keep_float"] = [module]
        elif module in kept:
            raise NoEdit(f"{target.name} keeps {module} in float already")
        else:
            kept.append(module)
        changed = tomlkit.dumps(document)
    except (tomlkit.exceptions.TOMLKitError, TypeError, AttributeError, ValueError) as error:
        raise NoEdit(f"pyproject.toml cannot be edited: {error}") from error
    start = positions.common_prefix(text, changed)
    rest = min(len(text), len(changed)) - start
    end = min(positions.common_prefix(text[::-1], changed[::-1]), rest)
    return Edit(start, len(text) - end, changed[start : len(changed) - end])


def _around(line: str, comment: Suppression) -> tuple[str, str]:
    """What is on a line before and after a suppression; what comes after is a comment."""
    return line[: comment.column].rstrip(), line[comment.end_column :].strip()


def _returned(text: str, name: str) -> ast.expr | None:
    """What the only return of a function returns, its last statement."""
    parsed = syntax.parsed(text)
    body = parsed[0].body if parsed else []
    function = next(
        (each for each in body if isinstance(each, ast.FunctionDef) and each.name == name), None
    )
    if function is None:
        raise NoEdit(f"{name} is not a function of this file")
    last = function.body[-1]
    returns = [each for each in ast.walk(function) if isinstance(each, ast.Return)]
    if len(returns) != 1 or not isinstance(last, ast.Return):
        raise NoEdit(f"{name} returns in more than one place")
    return last.value


def _mapping(
    text: str,
    whole: tuple[int, int],
    model: tuple[int, int],
    inputs: tuple[int, int],
    name: str,
) -> Edit:
    """A mapping in place of the pair ``model, inputs``."""
    outside = text[whole[0] : model[0]] + text[model[1] : inputs[0]] + text[inputs[1] : whole[1]]
    if set("".join(outside.split())) - set("(),"):
        # A comment would be lost.
        raise NoEdit("the pair that it returns has comments in it: write it as a mapping")
    values = text[slice(*model)], text[slice(*inputs)]
    return Edit(
        *whole,
        f'{{"model": {values[0]}, "example_inputs": {values[1]}, "keep_float": [{name}]}}',
    )


def _place(columns: syntax.Columns, node: ast.expr) -> tuple[int, int]:
    place = columns.place(node)
    assert place is not None
    return place


def _insert(at: int, text: str) -> Edit:
    return Edit(at, at, text)


def _kept(mapping: ast.Dict) -> ast.expr | None:
    pairs = zip(mapping.keys, mapping.values)
    return next(
        (v for k, v in pairs if isinstance(k, ast.Constant) and k.value == "keep_float"), None
    )


def _keeps(text: str, name: str, module: str, before: Sequence[ast.expr]) -> bool:
    """Whether a function returns what it did, with ``module`` at the end of its ``keep_float``."""
    try:
        returned = _returned(text, name)
    except NoEdit:
        return False
    listed = _kept(returned) if isinstance(returned, ast.Dict) else None
    if not isinstance(returned, ast.Dict) or not isinstance(listed, (ast.List, ast.Tuple)):
        return False
    *others, last = listed.elts
    mine = [ast.dump(each) for each in returned.values if each is not listed]
    theirs = [ast.dump(each) for each in before]
    # Where there was a list before, it has one element less.
    there = [ast.dump(type(listed)(others, listed.ctx))] if len(mine) < len(theirs) else []
    return (
        isinstance(last, ast.Constant)
        and last.value == module
        and sorted([*mine, *there]) == sorted(theirs)
    )


def _code(text: str) -> str | None:
    parsed = syntax.parsed(text)
    return parsed[1] if parsed else None


def _starts(text: str) -> list[int]:
    return syntax.line_starts(text)
