"""Ends the runs of closed documents, and clears what they show, once no open file shows it any more."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Collection, Iterator
from pathlib import Path

from handlens import syntax
from handlens_server.runs.runs import Runs
from handlens_server.state import State
from handlens_server.text.documents import Document

# Editors close a tab that was only looked at in the moment in which they open the next one.
_PATIENCE_S = 1.0


class Abandonment:
    """Decides which documents that are not open any more are still of use.

    The results of a model are, while one of its files is open. While it is run, and what it executes is not
    known, so is the run of a document that imports an open file.
    """

    def __init__(self, state: State, runs: Runs) -> None:
        self._state = state
        self._runs = runs
        self._timers: set[asyncio.TimerHandle] = set()
        state.events.documents_closed.subscribe(self._closed)
        state.events.run_finished.subscribe(lambda run, changed: self._abandon({run.uri}))

    def close(self) -> None:
        """Decide nothing any more."""
        for timer in self._timers:
            timer.cancel()

    def opened(self, document: Document) -> None:
        """Clear what is kept of a document that was closed, if it is opened with another text."""
        kept = self._state.results.all_of(document.uri)
        if any(result.run.text != document.source for result in kept):
            self._state.events.documents_abandoned({document.uri})

    def _closed(self, uris: Collection[str]) -> None:
        def decide() -> None:
            self._timers.discard(timer)
            self._abandon(uris)

        timer = asyncio.get_running_loop().call_later(_PATIENCE_S, decide)
        self._timers.add(timer)

    def _abandon(self, uris: Collection[str]) -> None:
        candidates = self._state.results.uris.union(uris)
        gone = {
            uri
            for uri in candidates
            if not self._state.documents.find(uri) and not self._is_of_use(uri)
        }
        if gone:
            self._state.events.documents_abandoned(gone)

    def _is_of_use(self, uri: str) -> bool:
        document = self._state.documents.on_disk(uri)
        if document is None:
            return False
        opened = {each.file for each in self._state.documents.open if each.file is not None}
        if not opened.isdisjoint(self._state.results.files(uri)):
            return True
        root = self._state.documents.root(document.file or "")
        return self._runs.is_running(uri) and any(
            _imports(document.source, each, root) for each in opened
        )


def _imports(text: str, file: str, root: str) -> bool:
    """True if a text imports a file, or a package below ``root`` that the file is in, by its name."""
    path = Path(file)
    inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    tree = syntax.tree(text)
    return tree is not None and not {*inside.parent.parts, inside.stem}.isdisjoint(_imported(tree))


def _imported(tree: ast.Module) -> Iterator[str]:
    """The parts of all names that are imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (node.module or "").split(".")
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                yield from alias.name.split(".")
