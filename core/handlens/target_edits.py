"""Edits of a target where it is declared: in a Python file, or in a pyproject.toml.

An edit adds entries to ``keep_float`` and ``adjust``; one that would change anything else is refused.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlens import syntax, words
from handlens.advice_report import Change
from handlens.source_text import common_prefix
from handlens.targets import Target, find_project

_LINE_LENGTH = 88
_CLOSING = re.compile(r"(?:\s*\))*")
_COMMA_AND_COMMENT = re.compile(r"(,?)([ \t]*#[^\r\n]*)?")


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


@dataclass(frozen=True)
class Additions:
    """Entries to add to what a target asks for."""

    keep_float: tuple[str | int, ...] = ()
    adjust: Mapping[str | int, tuple[str, ...]] = field(default_factory=dict)
    """The kinds of change for each entry."""

    @classmethod
    def of(cls, changes: Iterable[Change]) -> Additions:
        """The entries that make ``changes``."""
        kept: dict[str | int, None] = {}
        adjusted: dict[str | int, tuple[str, ...]] = {}
        for change in changes:
            for entry in change.entries:
                if change.kind == "keep-float":
                    kept[entry] = None
                else:
                    adjusted[entry] = (*adjusted.get(entry, ()), change.kind)
        return cls(tuple(kept), adjusted)

    @property
    def literals(self) -> dict[str, str]:
        """The keys of a target that have entries here, each with these entries as Python writes them."""
        return {
            key: _CONTAINERS[key].format(", ".join(_codes(entries)))
            for key, entries in self.by_key.items()
        }

    @property
    def by_key(self) -> dict[str, _Entries]:
        """The keys of a target that have entries here, each with these entries."""
        kept: _Entries = dict.fromkeys(self.keep_float, ())
        return {
            key: entries
            for key, entries in (("keep_float", kept), ("adjust", self.adjust))
            if entries
        }


_Entries = Mapping[str | int, tuple[str, ...]]
"""The entries of a key, each with its kinds of change; those of ``keep_float`` have none."""

_CONTAINERS = {"keep_float": "[{}]", "adjust": "{{{}}}"}


def declaring_file(target: Target) -> str:
    """The file in which a target is declared: that of its model, or the project's pyproject.toml."""
    project = find_project(target.file) if target.kind == "configured" else None
    return str(project or target.file)


def add(text: str, target: Target, additions: Additions) -> Edit:
    """Add entries to a target in the text of the file that declares it.

    Entries that are there already are left out. Raises NoEdit, also if all are there.
    """
    if target.kind == "class":
        raise NoEdit(f"{target.name} has no keep_float: declare a handlens_ function for it")
    if target.kind == "configured":
        changed = _added_to_table(text, target.name, additions)
    else:
        changed = text
        room = sum(len(f', "{key}": {value}') for key, value in additions.literals.items())
        for key, entries in additions.by_key.items():
            changed = _added_to_function(changed, target.name, key, entries, room)
    if changed == text:
        names = [str(each) for each in (*additions.keep_float, *additions.adjust)]
        raise NoEdit(f"{target.name} has {words.listed(names)} already")
    start = common_prefix(text, changed)
    rest = min(len(text), len(changed)) - start
    end = min(common_prefix(text[::-1], changed[::-1]), rest)
    return Edit(start, len(text) - end, changed[start : len(changed) - end])


def respell(text: str, target: Target, given: str, meant: str) -> Edit:
    """Write another name where a function has ``given`` as a string or as a keyword.

    Raises NoEdit unless it stands in one place.
    """
    found = list(_spelled(text, target.name, given))
    if len(found) != 1:
        often = "in several places" if found else "nowhere as a string of its own"
        raise NoEdit(f"{target.name} has {given!r} {often}")
    start, end = found[0]
    written = text[start:end]
    quotes = written.partition(given)[0] if written.count(given) == 1 else None
    if quotes is None or written != f"{quotes}{given}{quotes}":
        return Edit(start, end, json.dumps(meant, ensure_ascii=False))
    return Edit(start, end, f"{quotes}{meant}{quotes}")


def _spelled(text: str, name: str, given: str) -> Iterator[tuple[int, int]]:
    """The places of a string, or of a keyword of that name, in a function."""
    columns = syntax.Columns(text)
    function = _function(text, name)
    for node in ast.walk(function) if function else ():
        if isinstance(node, ast.Constant) and node.value == given and (at := columns.place(node)):
            yield at
        elif isinstance(node, ast.keyword) and node.arg == given:
            value = columns.place(node.value)
            assert value is not None
            start = text.rindex(given, 0, value[0])
            yield start, start + len(given)


def _codes(entries: _Entries) -> Iterator[str]:
    """Each entry with its kinds, as Python writes it."""
    for entry, kinds in entries.items():
        name = json.dumps(entry, ensure_ascii=False)
        yield f"{name}: {_kinds_code(kinds)}" if kinds else name


def _kinds_code(kinds: Sequence[str]) -> str:
    return json.dumps(kinds[0] if len(kinds) == 1 else kinds)


def _absent(entries: _Entries, there: _Entries) -> tuple[_Entries, _Entries]:
    """The entries that are not there; and those that lack kinds, each with all that it should have."""
    new = {entry: kinds for entry, kinds in entries.items() if entry not in there}
    grown = {
        entry: (*there[entry], *(each for each in kinds if each not in there[entry]))
        for entry, kinds in entries.items()
        if entry in there and set(kinds) - set(there[entry])
    }
    return new, grown


# -- in a function -----------------------------------------------------------------------------------


def _added_to_function(text: str, name: str, key: str, entries: _Entries, room: int) -> str:
    """The text with entries in a key of what a function returns.

    Args:
        room: How many characters will be added to the mapping, if there is none yet.
    """
    before = returned(text, name)
    changed = text
    if isinstance(before, ast.Tuple) and len(before.elts) == 2:
        changed = _as_mapping(text, before, room)
    there = _written(_mapping(changed, name), key, name)
    new, grown = _absent(entries, there)
    if not new and not grown:
        return text
    for entry, kinds in grown.items():
        written = _value(_value(_mapping(changed, name), key), entry)
        changed = _replaced(changed, written, _kinds_code(kinds))
    if new:
        changed = _with_new(changed, _mapping(changed, name), key, new)
    expected = {**_meaning(before), key: {**there, **new, **grown}}
    try:
        after = _mapping(changed, name)
        is_as_expected = {**_meaning(after), key: _written(after, key, name)} == expected
    except NoEdit:
        is_as_expected = False
    if not is_as_expected:
        raise NoEdit(f"what {name} returns is too intricate to be edited")
    return changed


def _with_new(text: str, mapping: ast.Dict, key: str, entries: _Entries) -> str:
    """The text with entries behind those that a key has."""
    value, added = _value(mapping, key), ", ".join(_codes(entries))
    container = _CONTAINERS[key].format(added)
    if value is None:
        return _inserted(text, mapping.keys[-1], mapping.values[-1], f'"{key}": {container}')
    if isinstance(value, ast.Dict) and value.keys:
        return _inserted(text, value.keys[-1], value.values[-1], added)
    if isinstance(value, (ast.List, ast.Tuple, ast.Set)) and value.elts:
        return _inserted(text, value.elts[-1], value.elts[-1], added)
    return _replaced(text, value, container)


def returned(text: str, name: str) -> ast.expr | None:
    """The expression that a function returns. Raises NoEdit for a function without one, or with several."""
    function = _function(text, name)
    if function is None:
        raise NoEdit(f"{name} is not a function of this file")
    returns = list(_returns(function))
    if not returns:
        raise NoEdit(f"{name} returns nothing")
    if len(returns) > 1:
        raise NoEdit(f"{name} returns in more than one place")
    return returns[0].value


def _function(text: str, name: str) -> ast.FunctionDef | None:
    parsed = syntax.parsed(text)
    functions = (
        (each for each in parsed[0].body if isinstance(each, ast.FunctionDef)) if parsed else ()
    )
    return next((each for each in functions if each.name == name), None)


def _returns(scope: ast.AST) -> Iterator[ast.Return]:
    """The return statements of a function, without those of functions and classes that it defines."""
    for each in ast.iter_child_nodes(scope):
        if isinstance(each, ast.Return):
            yield each
        elif not isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from _returns(each)


def _as_mapping(text: str, pair: ast.Tuple, room: int) -> str:
    """The text with a mapping in place of a pair."""
    whole, (model, inputs) = _place(text, pair), (_place(text, each) for each in pair.elts)
    outside = text[whole[0] : model[0]] + text[model[1] : inputs[0]] + text[inputs[1] : whole[1]]
    if set("".join(outside.split())) - set("(),"):
        # A comment would be lost.
        raise NoEdit("the pair that it returns has comments in it: write it as a mapping")
    items = f'"model": {text[slice(*model)]}', f'"example_inputs": {text[slice(*inputs)]}'
    before = text[: whole[0]].rpartition("\n")[2]
    mapping = f"{{{', '.join(items)}}}"
    if len(before + mapping) + room > _LINE_LENGTH and "\n" not in mapping:
        indent = before[: len(before) - len(before.lstrip())]
        lines = "".join(f"{indent}    {item},\n" for item in items)
        mapping = f"{{\n{lines}{indent}}}"
        if "\r\n" in text:
            mapping = mapping.replace("\n", "\r\n")
    return text[: whole[0]] + mapping + text[whole[1] :]


def _mapping(text: str, name: str) -> ast.Dict:
    """The mapping that a function returns, all of whose keys are written out. Raises NoEdit."""
    mapping = returned(text, name)
    if not isinstance(mapping, ast.Dict) or not mapping.values or None in mapping.keys:
        raise NoEdit(f"{name} does not return a pair or a mapping that is written out")
    return mapping


def _value(mapping: ast.expr | None, key: str | int) -> ast.expr | None:
    """The value of a key that is written out; the last one counts."""
    assert isinstance(mapping, ast.Dict)
    pairs = reversed([*zip(mapping.keys, mapping.values)])
    return next((v for k, v in pairs if isinstance(k, ast.Constant) and k.value == key), None)


def _written(mapping: ast.Dict, key: str, name: str) -> dict[Any, tuple[Any, ...]]:
    """The entries of a key, each with its kinds; what is no constant stands as its code. Raises NoEdit."""
    value = _value(mapping, key)
    if value is None:
        return {}
    if key == "keep_float" and isinstance(value, (ast.List, ast.Tuple, ast.Set)):
        return dict.fromkeys(map(_constant, value.elts), ())
    if key == "adjust" and isinstance(value, ast.Dict) and None not in value.keys:
        return {
            _constant(entry): tuple(map(_constant, kinds.elts))
            if isinstance(kinds, (ast.List, ast.Tuple, ast.Set))
            else (_constant(kinds),)
            for entry, kinds in zip(value.keys, value.values)
        }
    raise NoEdit(f"the {key} of {name} is not written out where it is returned")


def _constant(node: ast.expr | None) -> Any:
    assert node is not None
    return node.value if isinstance(node, ast.Constant) else ast.dump(node)


def _meaning(given: ast.expr | None) -> dict[str, Any]:
    """What a pair or a mapping gives: by key, the code of the value."""
    if isinstance(given, ast.Dict):
        return {str(_constant(k)): ast.dump(v) for k, v in zip(given.keys, given.values)}
    assert isinstance(given, ast.Tuple)
    return dict(zip(("model", "example_inputs"), map(ast.dump, given.elts)))


def _replaced(text: str, node: ast.expr | None, code: str) -> str:
    """The text with other code in place of an expression. Raises NoEdit where a comment would be lost."""
    assert node is not None
    start, end = _place(text, node)
    if "#" in text[start:end]:
        raise NoEdit(f"{' '.join(text[start:end].split())} has a comment in it")
    return text[:start] + code + text[end:]


def _inserted(text: str, first: ast.expr | None, last: ast.expr, item: str) -> str:
    """The text with an item behind another one, on a line of its own if the other has one."""
    assert first is not None
    start, end = _place(text, first)[0], _place(text, last)[1]
    closing = _CLOSING.match(text, end)
    assert closing is not None
    end = closing.end()
    line = text[:start].rpartition("\n")[2]
    if line.strip():
        return f"{text[:end]}, {item}{text[end:]}"
    rest = _COMMA_AND_COMMENT.match(text, end)
    assert rest is not None
    comma, comment = rest.groups("")
    line_end = "\r\n" if "\r\n" in text else "\n"
    return f"{text[:end]},{comment}{line_end}{line}{item}{comma}{text[rest.end() :]}"


def _place(text: str, node: ast.expr) -> tuple[int, int]:
    place = syntax.Columns(text).place(node)
    assert place is not None
    return place


# -- in a pyproject.toml -----------------------------------------------------------------------------


def _added_to_table(text: str, name: str, additions: Additions) -> str:
    """The text of a pyproject.toml with entries at the end of the keys of a configured target."""
    # Importing it takes a while, and a server that starts does not need it.
    import tomlkit
    import tomlkit.exceptions

    for entry in (*additions.keep_float, *additions.adjust):
        if isinstance(entry, int):
            raise NoEdit(f"a pyproject.toml names modules only, and {entry} is a debug handle")
    try:
        document = tomlkit.parse(text)
        table = document["tool"]["handlens"]["targets"][name]
        listed = table.get("keep_float", [])
        new, _ = _absent(dict.fromkeys(additions.keep_float, ()), dict.fromkeys(listed, ()))
        if new:
            table.setdefault("keep_float", []).extend(new)
        adjusted = {
            entry: (kinds,) if isinstance(kinds, str) else tuple(kinds)
            for entry, kinds in table.get("adjust", {}).items()
        }
        new, grown = _absent(additions.adjust, adjusted)
        for entry, kinds in {**new, **grown}.items():
            written = kinds[0] if len(kinds) == 1 else [*kinds]
            table.setdefault("adjust", tomlkit.inline_table())[entry] = written
        return tomlkit.dumps(document)
    except (tomlkit.exceptions.TOMLKitError, TypeError, AttributeError, ValueError) as error:
        raise NoEdit(f"pyproject.toml cannot be edited: {error}") from error
