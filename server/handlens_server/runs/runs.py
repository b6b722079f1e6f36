"""The runs of the open documents: one at a time for each, and a new one supersedes the old one."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone

from handlens.diagnosis.rules.worker_failed import WorkerFailed
from handlens.report import Failure, Report, failed
from handlens.request import Progress
from handlens.targets import Target
from handlens.workers.client import WorkerUnusable
from handlens_server.results.result import Result, Run, result_of
from handlens_server.runs.requests import request
from handlens_server.runs.stages import STARTING
from handlens_server.runs.turns import Turns
from handlens_server.state import State
from handlens_server.text.discovery import Discovery, discover
from handlens_server.text.documents import Document

logger = logging.getLogger(__name__)

# A run uses all cores. Two at once, so that a small model need not wait for a large one.
_AT_ONCE = 2


@dataclass
class Running:
    """A run that is not over yet."""

    run: Run
    task: asyncio.Task[None]
    target: str = ""
    """The name of the target that is run now: the targets of a document are run one after the other."""
    stage: str = STARTING
    """The stage of that target."""
    progress: Progress | None = None
    """How far that stage is; None if that is not told."""
    changed: set[str] = field(default_factory=set)
    """The files that changed since it began."""
    began: str = ""
    """When the run of that target began, in ISO 8601."""


class Runs:
    """Starts runs, and shows what they find unless they were superseded or cancelled meanwhile.

    The error of a run that fails is shown beside the last good result, which is marked as such. A cancelled
    run changes nothing.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._events = state.events
        self._generations = itertools.count(1)
        self._running: dict[str, Running] = {}
        """By the uri of the document."""
        self._crashed: dict[str, str] = {}
        """By the uri of a document, the text whose run crashed, or ran out of time."""
        self._turns = Turns(_AT_ONCE)
        state.events.documents_abandoned.subscribe(self._forget)

    @property
    def running(self) -> Iterable[Running]:
        """The runs that are not over yet, one for each document."""
        return self._running.values()

    def is_running(self, uri: str) -> bool:
        """True while a document is being run."""
        return uri in self._running

    def has_crashed(self, document: Document) -> bool:
        """True if the last run of a document crashed on its present text."""
        return self._crashed.get(document.uri) == document.source

    def stage(self, uri: str, target: str) -> tuple[str, Progress | None] | None:
        """The stage of a target, and how far it is; None while the target is not run."""
        running = self._running.get(uri)
        if running is None:
            return None
        if running.target == target:
            return running.stage, running.progress
        result = self._state.results.of(uri).get(target)
        is_done = result is not None and result.run.generation == running.run.generation
        return None if is_done else (STARTING, None)

    def began(self, uri: str, target: str) -> str | None:
        """When the run of a target began, in ISO 8601; None if it is not being run."""
        running = self._running.get(uri)
        return running.began if running is not None and running.target == target else None

    def prioritize(self, document: Document) -> None:
        """Let a document that somebody looks at be run before others that wait for it."""
        self._turns.prioritize(document.uri)

    def last_looked_at(self, uri: str) -> int:
        """A number that is higher the later somebody has looked at a document."""
        return self._turns.last_looked_at(uri)

    def start(self, document: Document, reuse_export: bool = False) -> Discovery:
        """Run every target of a document in the background; a run that is not over yet is cancelled.

        ``reuse_export`` is for another run of the same text. Returns what there is to run.
        """
        self.cancel(document.uri)
        file, text = document.file, document.source
        if file is None or not document.is_python:
            return Discovery()
        found = discover(text, file)
        if not self._state.trusted:
            self._events.status_changed(document.uri)
            return found
        run = Run(
            document.uri,
            file,
            document.version,
            next(self._generations),
            text,
            self._opened(file),
            found.project,
            recipe=self._state.settings(file).recipe,
            targets=len(found.targets),
        )
        names = {target.name for target in found.targets}
        self._events.findings_changed(self._state.results.retain_only(run.uri, names), None)
        if found.failure is not None:
            report = failed("", file, "", found.failure)
            self.show(result_of(run, None, report, self._state.documents))
        elif found.targets:
            task = asyncio.create_task(self._run(run, found, reuse_export))
            self._running[run.uri] = Running(run, task)
            # An edit that was undone: its numbers are known, and are measured again all the same.
            for known in list(self._state.results.recall(run, self._state.documents)):
                if known.name in names:
                    self.show(known)
            self._events.numbers_changed()
            task.add_done_callback(lambda task: self._finish(run, task))
        self._events.status_changed(document.uri)
        return found

    def restart(self) -> None:
        """Run every document that is open or has results, even if it was run before."""
        for document in self._state.known_documents:
            self.start(document)

    def cancel(self, uri: str) -> None:
        """End the run of a document; the results that it has shown stay."""
        if (running := self._running.pop(uri, None)) is not None:
            run = running.run
            logger.info("run %d of %s cancelled", run.generation, run.file)
            running.task.cancel()

    def cancel_run(self, run: Run) -> None:
        """End a run, unless it was superseded."""
        if self._current(run) is not None:
            self.cancel(run.uri)

    async def close(self) -> None:
        """End every run."""
        tasks = [each.task for each in self.running]
        for uri in list(self._running):
            self.cancel(uri)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, uris: Collection[str]) -> None:
        """End the runs of documents, and clear what they have shown."""
        for uri in uris:
            self.cancel(uri)
            self._turns.forget(uri)
            self._crashed.pop(uri, None)
            self._events.findings_changed(self._state.results.retain_only(uri, set()), None)

    def _current(self, run: Run) -> Running | None:
        """The state of a run; None if it was cancelled or superseded."""
        running = self._running.get(run.uri)
        return running if running is not None and running.run is run else None

    def _opened(self, file: str) -> dict[str, str]:
        """The texts of the other open documents that Python could import."""
        return {
            each.file: each.source
            for each in self._state.documents.open
            if each.file not in (None, file) and each.is_python and not each.is_notebook
        }

    async def _run(self, run: Run, found: Discovery, reuse_export: bool) -> None:
        await self._state.configured.wait()
        for target in found.targets:
            async with self._turns.turn(run.uri):
                self._enter(run, target, STARTING)
                logger.info("run %d: %s of %s", run.generation, target.name, run.file)
                report = await self._compare(run, target, reuse_export)
                if self._current(run) is None:
                    return
                result = result_of(run, target, report, self._state.documents)
                result = result.after(self._state.results.numbers_of(run.uri, target.name))
                thresholds = self._state.thresholds(run.file, run.project)
                # Judging thousands of ops takes a good part of a second, in which the server must answer.
                result = await asyncio.to_thread(result.judged, run.project, thresholds)
                if self._current(run) is None:
                    return
                self.show(result)
                if result.previous_db is not None:
                    logger.info("run %d: %s: %s", run.generation, target.name, result.output)

    async def _compare(self, run: Run, target: Target, reuse_export: bool) -> Report:
        settings = self._state.settings(run.file)
        was_cancelled = False
        try:
            root = self._state.documents.root(run.file)
            worker = await self._state.pool.worker(settings.interpreter, root, settings.workers)
            report = await worker.run(
                request(self._state, run, target, reuse_export),
                lambda stage: self._enter(run, target, stage),
                settings.deadline_s,
                on_progress=lambda progress: self._advance(run, progress),
            )
            self._crashed.pop(run.uri, None)
            if report.error is not None and report.error.rule == WorkerFailed.code:
                self._crashed[run.uri] = run.text
            return report
        except asyncio.CancelledError:
            was_cancelled = True
            raise
        except WorkerUnusable as problem:
            reason, detail = str(problem), "\n".join(problem.output)
        except Exception as error:
            logger.exception("run %d of %s", run.generation, run.file)
            detail = ""
            reason = f"Handlens failed to run {target.name}: {error!r}. Its log has the details."
        finally:
            self._events.target_ended(run, was_cancelled)
        failure = Failure(WorkerFailed.code, reason, None, detail)
        return failed(target.name, run.file, settings.recipe or "", failure)

    def _enter(self, run: Run, target: Target, stage: str) -> None:
        if (running := self._current(run)) is not None:
            if running.target != target.name:
                running.began = datetime.now(timezone.utc).isoformat(timespec="seconds")
            running.target, running.stage, running.progress = target.name, stage, None
            self._events.stage_entered(run, target.name, stage)
            self._events.status_changed(run.uri)

    def _advance(self, run: Run, progress: Progress) -> None:
        if (running := self._current(run)) is not None:
            running.progress = progress
            self._events.stage_advanced(run, progress)
            self._events.status_changed(run.uri)

    def show(self, result: Result) -> None:
        """Show a result in place of the one before, by the present texts and thresholds."""
        run, report = result.run, result.report
        result.catch_up(self._state.documents)
        thresholds = self._state.thresholds(run.file, run.project)
        if thresholds != run.thresholds or any(map(result.has_other_suppressions, result.texts)):
            result = result.judged(run.project, thresholds)
        self._events.findings_changed(self._state.results.put(result), run.file)
        if report.error is not None:
            self._events.run_failed(report)

    def _finish(self, run: Run, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("run %d of %s", run.generation, run.file, exc_info=error)
        if (running := self._current(run)) is not None:
            del self._running[run.uri]
            self._events.run_finished(run, running.changed)
        self._events.numbers_changed()
        self._events.status_changed(run.uri)
