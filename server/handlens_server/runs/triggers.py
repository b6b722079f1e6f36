"""Starts runs when documents are opened, edited or saved, and when settings change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection

from handlens.workers.client import WorkerUnusable
from handlens_server.background import spawn
from handlens_server.results.result import Run
from handlens_server.runs.freshness import Freshness
from handlens_server.runs.runs import Runs
from handlens_server.runs.searches import Searches
from handlens_server.settings import RunMode, Settings
from handlens_server.state import State
from handlens_server.text.discovery import Discovery, discover
from handlens_server.text.documents import Document

logger = logging.getLogger(__name__)

# People type a word without a pause of this length.
_DEBOUNCE_S = 0.4


class Triggers:
    """Runs documents when something happens to them, unless the setting ``run`` says otherwise."""

    def __init__(self, state: State, runs: Runs, freshness: Freshness, searches: Searches) -> None:
        self._state = state
        self._runs = runs
        self._searches = searches
        self._freshness = freshness
        self._timers: dict[str, asyncio.TimerHandle] = {}
        """By the uri of a document, the timer that waits for a pause in typing."""
        state.events.run_finished.subscribe(self._run_finished)
        state.events.documents_closed.subscribe(self._forget)

    def opened(self, document: Document) -> None:
        """Run a document that was opened, unless runs are manual; start its worker anyway."""
        if self._mode(document) != "manual":
            self._runs.start(document)
        self._state.events.status_changed(document.uri)
        needs_worker = document.is_python and "torch" in document.source
        if self._state.trusted and document.file is not None and needs_worker:
            spawn(self._warm_up(document.file))

    def typed(self, file: str) -> None:
        """After a pause in typing, compare the code, and run it if the setting ``run`` is onType."""
        for running in self._runs.running:
            if self._mode_of(running.run.uri) == "onType":
                running.changed.add(file)
        for uri in self._state.dependents(file):
            self._stop_timer(uri)
            if self._mode_of(uri) == "onType":
                # The run has an old text.
                self._runs.cancel(uri)
            loop = asyncio.get_running_loop()
            self._timers[uri] = loop.call_later(_DEBOUNCE_S, self._typing_paused, uri, file)

    def saved(self, file: str) -> None:
        """Run the documents that a file concerns which was saved, or changed on disk."""
        self._freshness.compare_code(file)
        for running in self._runs.running:
            running.changed.add(file)
        for uri in self._state.dependents(file):
            self._run_unless_manual(uri, file)

    def project_changed(self, document: Document) -> None:
        """Apply a change of the pyproject.toml of a document, and run the document only if needed."""
        results = self._state.results.all_of(document.uri)
        found = discover(document.source, document.file) if document.file else Discovery()
        declared = {each.name: (each.references, each.keep_float) for each in found.targets}
        if declared and declared == {
            each.name: (each.target.references, each.target.keep_float)
            for each in results
            if each.target is not None and each.run.project.recipe == found.project.recipe
        }:
            self._freshness.judge(results, found.project)
        elif self._mode(document) != "manual":
            self._runs.start(document)

    def reconfigured(self, document: Document, before: Settings) -> None:
        """Apply a change of the settings of a document, with no more work than the change needs."""
        now = self._state.settings(document.file)
        if now.advise != before.advise:
            self._searches.mode_changed(document)
        if now.interpreter != before.interpreter:
            self._runs.start(document)
        elif now.recipe != before.recipe:
            self._runs.start(document, reuse_export=True)
        elif now.thresholds != before.thresholds:
            for result in self._state.results.all_of(document.uri):
                self._freshness.judge([result], result.run.project)

    def close(self) -> None:
        """Stop waiting for pauses in typing, so that no run starts after this."""
        for timer in self._timers.values():
            timer.cancel()

    def _mode(self, document: Document) -> RunMode:
        """When to run a document, by the settings for it."""
        mode = self._state.settings(document.file).run
        # A document without a file is never saved.
        return "onType" if mode == "onSave" and document.is_untitled else mode

    def _mode_of(self, uri: str) -> RunMode | None:
        document = self._state.document(uri)
        return None if document is None else self._mode(document)

    def _typing_paused(self, uri: str, file: str) -> None:
        del self._timers[uri]
        self._freshness.compare_code(file)
        document = self._state.document(uri)
        if document is None or document.file is None or self._mode(document) != "onType":
            return
        # Half a statement is no failure of the model: the results of before stay.
        if discover(document.source, document.file).failure is None:
            self._run_if_changed(document, file)

    def _run_unless_manual(self, uri: str, file: str) -> None:
        """Run a document that a saved file concerns, unless runs are manual."""
        document = self._state.document(uri)
        if document is not None and self._mode(document) != "manual":
            self._run_if_changed(document, file)

    def _run_if_changed(self, document: Document, edited: str) -> None:
        """Run a document, unless the edit of a file has changed no code.

        A text that crashed is not run again either: its user can run it by hand.
        """
        results = self._state.results.of(document.uri)
        if edited == document.file and self._runs.has_crashed(document):
            logger.info("%s: the text that crashed is not run again", edited)
            return
        if not self._runs.is_running(document.uri) and document.file is not None and results:
            names = {target.name for target in discover(document.source, document.file).targets}
            is_same = all(each.is_up_to_date(edited) for each in results.values())
            if names == results.keys() and is_same:
                logger.info("%s: the edit changes no code", edited)
                return
        self._runs.start(document)

    def _run_finished(self, run: Run, changed: Collection[str]) -> None:
        for file in changed:
            # It was not known while the file changed whether the run reads it.
            self._freshness.move(file)
            if run.uri in self._state.results.readers(file):
                self._run_unless_manual(run.uri, file)

    async def _warm_up(self, file: str) -> None:
        """Start the worker of a file, so that it has imported torch before the first run."""
        await self._state.configured.wait()
        settings = self._state.settings(file)
        with contextlib.suppress(WorkerUnusable):
            await self._state.pool.worker(
                settings.interpreter, self._state.documents.root(file), settings.workers
            )

    def _forget(self, uris: Collection[str]) -> None:
        for uri in uris:
            self._stop_timer(uri)

    def _stop_timer(self, uri: str) -> None:
        if (timer := self._timers.pop(uri, None)) is not None:
            timer.cancel()
