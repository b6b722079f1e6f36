"""The entries of ``keep_float`` and ``adjust``: how a target names ops, and which entries name some ops.

An entry is a module path, for all ops that run below it; a path and an op, ``"blocks.3:relu6"``, for the
ops of that name that the module runs itself, or with ``[1]`` for the second of them; or a debug handle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from torch.fx import GraphModule, Node

from handlens.capture.export import Captured
from handlens.capture.handles import handle_of
from handlens.capture.nodes import bodies, module_paths, op_name, value_of
from handlens.loading.subject import InvalidTarget
from handlens.misspelling import near, question
from handlens.report import Misspelled

Entry = str | int

_MOST_NAMED = 3

_OF_OP = re.compile(r"(?P<path>[^:]*):(?P<op>\w+)(?:\[(?P<index>\d+)\])?")


def kept_handles(
    captured: Captured, keep_float: Iterable[Entry], key: str = "keep_float"
) -> frozenset[int]:
    """The handles of the ops that ``keep_float`` names.

    Raises InvalidTarget for an entry that names no op; the message says that the target's ``key`` has it.
    """
    return Entries(captured).handles(keep_float, key)


@dataclass(frozen=True)
class _Op:
    handle: int
    name: str
    paths: tuple[str, ...]
    """The paths of the modules that it was called in, outermost first."""

    @property
    def path(self) -> str:
        return self.paths[-1]


class Entries:
    """The ops of a model, by what a target can call them."""

    def __init__(self, captured: Captured) -> None:
        self._ops = {op.handle: op for op in _ops(captured.program.graph_module, ())}
        self._below: dict[str, set[int]] = {}
        """By module path, the handles of all ops that run below it."""
        self._named: dict[tuple[str, str], list[int]] = {}
        """By module path and the name of an op, the handles of those that the module runs itself."""
        for op in self._ops.values():
            for path in op.paths:
                self._below.setdefault(path, set()).add(op.handle)
            self._named.setdefault((op.path, op.name), []).append(op.handle)

    def handles(self, entries: Iterable[Entry], key: str = "keep_float") -> frozenset[int]:
        """The handles of the ops that entries name. Raises InvalidTarget; the message names the ``key``."""
        return frozenset().union(*(self._of(entry, key) for entry in entries))

    def naming(self, handles: Set[int], others: Set[int]) -> tuple[Entry, ...]:
        """Few entries that name the ops ``handles``, and none of the ops ``others``."""
        entries: list[Entry] = []
        left = set(handles)
        for handle in sorted(handles):
            if handle in left:
                entry, named = self._widest(self._ops[handle], others)
                entries.append(entry)
                left -= named
        return tuple(entries)

    def words(self, entries: Sequence[Entry]) -> str:
        """Entries in words: ``stem, conv2 and relu6 in blocks.3``, ``stem, conv2, head and 6 more``."""
        words = list(dict.fromkeys(map(self._word, entries)))
        if len(entries) == 1:
            # No module beside it tells which of several ops of that name it is.
            words = [self._word(entries[0], numbered=True)]
        if len(words) > _MOST_NAMED + 1:
            words[_MOST_NAMED:] = [f"{len(words) - _MOST_NAMED} more"]
        return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))

    def _word(self, entry: Entry, numbered: bool = False) -> str:
        if isinstance(entry, int):
            return f"op {entry}"
        found = _OF_OP.fullmatch(entry)
        if not found:
            return entry or "the whole model"
        index = f"[{found['index']}]" if numbered and found["index"] else ""
        return f"{found['op']}{index}" + (f" in {found['path']}" if found["path"] else "")

    def _widest(self, op: _Op, others: Set[int]) -> tuple[Entry, Set[int]]:
        """The widest entry that names an op and none of ``others``, and the ops that it names."""
        for path in op.paths:
            if path and not self._below[path] & others:
                return path, self._below[path]
        same = self._named[op.path, op.name]
        if not op.name:
            return op.handle, {op.handle}
        if others.isdisjoint(same):
            return f"{op.path}:{op.name}", set(same)
        return f"{op.path}:{op.name}[{same.index(op.handle)}]", {op.handle}

    def _of(self, entry: Entry, key: str) -> Set[int]:
        if isinstance(entry, int):
            if entry not in self._ops:
                raise InvalidTarget(
                    f"{key} has {entry}, and no op has that debug handle: "
                    f"there are {min(self._ops, default=0)} to {max(self._ops, default=0)}"
                )
            return {entry}
        if found := _OF_OP.fullmatch(entry):
            return self._of_op(found, key)
        if entry not in self._below:
            raise _no_module(key, entry, entry, list(self._below))
        return self._below[entry]

    def _of_op(self, entry: re.Match[str], key: str) -> Set[int]:
        path, name, index = entry["path"], entry["op"], entry["index"]
        same = self._named.get((path, name), [])
        if not same:
            there = [op for of, op in self._named if of == path]
            if not there:
                raise _no_module(key, entry.string, path, list(self._below))
            found = near(name, there) or Misspelled(name, tuple(there[:5]))
            where = repr(path) if path else "the model"
            message = (
                f"{key} has {entry.string!r}, and {where} itself runs no {name}. {question(found)}"
            )
            raise InvalidTarget(message, _in_place_of(name, entry.string, found))
        if index is None:
            return set(same)
        if int(index) >= len(same):
            raise InvalidTarget(
                f"{key} has {entry.string!r}, and there {_are(len(same))} {name}, counted from 0"
            )
        return {same[int(index)]}


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def _ops(model: GraphModule, callers: tuple[str, ...]) -> Iterator[_Op]:
    """Every op of a graph and its bodies."""
    for node in model.graph.nodes:
        handle = handle_of(node)
        if handle is None:
            continue
        called_in = *callers, *module_paths(node)
        yield _Op(handle, _name(node), called_in or ("",))
        for body in bodies(node):
            yield from _ops(value_of(body), called_in)


def _name(node: Node) -> str:
    name = op_name(node)
    return name if name.isidentifier() else ""


def _no_module(key: str, entry: str, given: str, paths: list[str]) -> InvalidTarget:
    """No op runs in a module of the path ``given``, which stands in an entry."""
    last = given.rpartition(".")[2]
    same_last = tuple(path for path in paths if path.rpartition(".")[2] == last)
    found = near(given, paths)
    if found is None and last and same_last:
        found = Misspelled(given, same_last[:3])
    advice = question(found) if found else _some(paths)
    message = f"{key} has {given!r}, and no op runs in a module of that path. {advice}"
    return InvalidTarget(message, found and _in_place_of(given, entry, found))


def _in_place_of(part: str, entry: str, found: Misspelled) -> Misspelled:
    """What a whole entry can be changed to, of which a part is misspelled."""
    before, _, behind = entry.rpartition(part)
    return Misspelled(entry, tuple(f"{before}{each}{behind}" for each in found.meant))


def _some(paths: list[str]) -> str:
    top = [path for path in paths if path and "." not in path]
    return f"There are {', '.join(map(repr, top[:5]))}." if top else "The model has no submodules."
