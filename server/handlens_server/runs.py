"""The runs of the open documents: one at a time for each, and a new one supersedes the old one."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lsprotocol import types

from handlens.diagnosis.thresholds import ChosenThresholds
from handlens.project import ProjectSettings
from handlens.report import Failure, Report, digest, failed
from handlens.request import RunRequest
from handlens.targets import Target
from handlens.workers.client import WorkerUnusable
from handlens_server.discovery import Discovery, discover
from handlens_server.documents import Document, read
from handlens_server.progress import RunProgress
from handlens_server.results import Result, Run, files
from handlens_server.settings import Settings
from handlens_server.turns import Turns

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer

logger = logging.getLogger(__name__)

# Each run fills the cores it finds; two of them let a small model not wait for a large one.
_AT_ONCE = 2

# People type a word without a pause of this length.
_DEBOUNCE_S = 0.4


class Runs:
    """Starts runs, and shows what they find unless they were superseded or cancelled meanwhile.

    A run that fails adds its error to what the last good one has found, which is marked. A run that is
    cancelled changes nothing.
    """

    def __init__(self, server: HandlensServer) -> None:
        self._server = server
        self._generations = itertools.count(1)
        self._current: dict[str, tuple[Run, asyncio.Task[None]]] = {}
        self._stages: dict[str, tuple[str, str]] = {}
        """By document that is being run, the target that it has come to, and the stage of that."""
        self._crashed: dict[str, str] = {}
        """By document, the text that has brought its process down, or ran out of time."""
        self._meanwhile: dict[str, set[str]] = {}
        """By document that is being run, the files that have changed since."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._turns = Turns(_AT_ONCE)

    def start(self, document: Document, reuse_export: bool = False) -> Discovery:
        """Run every target that a document has right now, in place of the run it may have.

        ``reuse_export`` where the last run exported the same model. Returns what there is to run; the run
        itself goes on in the background.
        """
        self.cancel(document.uri)
        file, text = document.file, document.source
        if file is None or not document.is_python:
            return Discovery()
        found = discover(text, file)
        if not self._server.trusted:
            self._server.status.follow(document)
            return found
        run = Run(
            document.uri,
            file,
            document.version,
            next(self._generations),
            text,
            self._opened(file),
            found.project,
            self._thresholds(file, found.project),
        )
        changed = self._server.results.keep(run.uri, {target.name for target in found.targets})
        self._server.diagnostics.publish(changed)
        if found.failure is not None:
            self._show(run, None, failed("", file, "", found.failure))
        elif found.targets:
            task = asyncio.create_task(self._run(run, found, reuse_export))
            self._current[run.uri] = run, task
            self._server.refresh()
            task.add_done_callback(lambda task: self._finished(run, task))
        self._server.status.follow(document)
        return found

    def _opened(self, file: str) -> dict[str, str]:
        """The texts of the other open documents that Python could import."""
        return {
            each.file: each.source
            for each in self._server.documents.open
            if each.file not in (None, file) and each.is_python and not each.is_notebook
        }

    def attend(self, document: Document) -> None:
        """Let a document that somebody looks at be run before others that wait for it."""
        self._turns.attend(document.uri)

    def update(self, document: Document, edited: str) -> None:
        """Run what a document has, unless the edit of a file changed nothing that makes a difference.

        What has brought its process down is not run again as it is, but by hand.
        """
        results = self._server.results.of(document.uri)
        if edited == document.file and self._crashed.get(document.uri) == document.source:
            logger.info("%s: the text that crashed is not run again", edited)
            return
        if document.uri not in self._current and document.file is not None and results:
            names = {target.name for target in discover(document.source, document.file).targets}
            if names == results.keys() and all(each.holds(edited) for each in results.values()):
                logger.info("%s: the edit changes no code", edited)
                return
        self.start(document)

    def open(self, document: Document) -> None:
        """Run a document that was opened, unless runs are by hand; have a worker ready at least."""
        if self._mode(document.uri) != "manual":
            self.start(document)
        self._server.status.follow(document)
        needs_worker = document.is_python and "torch" in document.source
        if self._server.trusted and document.file is not None and needs_worker:
            self._server.spawn(self._warm_up(document.file))

    def typed(self, file: str) -> None:
        """Once no other edit follows, see what has changed, and run it if runs keep up with typing."""
        for uri in self._current:
            if self._mode(uri) == "onType":
                self._meanwhile.setdefault(uri, set()).add(file)
        for uri in self._concerned(file):
            if (timer := self._timers.pop(uri, None)) is not None:
                timer.cancel()
            if self._mode(uri) == "onType":
                # What it began with is not what there is now.
                self.cancel(uri)
            loop = asyncio.get_running_loop()
            self._timers[uri] = loop.call_later(_DEBOUNCE_S, self._settled, uri, file)

    def saved(self, file: str) -> None:
        """Run what a file that was saved, or changed on disk, concerns."""
        self._settle(file)
        for uri in self._current:
            self._meanwhile.setdefault(uri, set()).add(file)
        for uri in self._concerned(file):
            self._renew(uri, file)

    def _renew(self, uri: str, file: str) -> None:
        """Run a document that a saved file concerns, unless runs are by hand."""
        document = self._server.documents.find(uri)
        if document is not None and self._mode(uri) != "manual":
            self.update(document, file)

    def project_changed(self, document: Document) -> None:
        """Follow a change of the pyproject.toml of a document's project, with a run if it takes one."""
        results = self._server.results.all_of(document.uri)
        found = discover(document.source, document.file) if document.file else Discovery()
        declared = {each.name: (each.references, each.keep_float) for each in found.targets}
        if declared and declared == {
            each.name: (each.target.references, each.target.keep_float)
            for each in results
            if each.target is not None and each.run.project.recipe == found.project.recipe
        }:
            self._judge(results, found.project)
        elif self._mode(document.uri) != "manual":
            self.start(document)

    def reconfigured(self, document: Document, before: Settings) -> None:
        """Follow a change of the settings of a document, with as little work as it takes."""
        now = self._server.settings(document.file)
        if now.interpreter != before.interpreter:
            self.start(document)
        elif now.recipe != before.recipe:
            self.start(document, reuse_export=True)
        elif now.thresholds != before.thresholds:
            for result in self._server.results.all_of(document.uri):
                self._judge([result], result.run.project)

    def follow(self, file: str) -> None:
        """Let what is shown follow an edit of a file, or its change on disk."""
        if self._server.results.move_to(file, self._server.documents.text(file) or ""):
            self._server.refresh()
            for uri in self._concerned(file):
                self._follow(uri)
        self._judge_suppressions(file)
        self._server.diagnostics.follow(file)

    def _judge_suppressions(self, file: str) -> None:
        """Judge anew what the comments of a file suppress, if an edit has changed that."""
        for result in list(self._server.results.at(file)):
            if result.has_other_suppressions(file):
                self._judge([result], result.run.project)

    def _judge(self, results: Iterable[Result], project: ProjectSettings) -> None:
        changed: set[str] = set()
        for result in results:
            new = result.judged(project, self._thresholds(result.run.file, project))
            changed |= self._server.results.exchange(result, new)
            self._follow(result.run.uri)
        self._server.diagnostics.publish(changed)

    def _thresholds(self, file: str, project: ProjectSettings) -> tuple[ChosenThresholds, ...]:
        return project.thresholds, self._server.settings(file).thresholds

    def _mode(self, uri: str) -> str:
        """When a document is to be run."""
        document = self._server.documents.find(uri)
        mode = self._server.settings(document.file if document else None).run
        # What has no file is not saved.
        return "onType" if mode == "onSave" and document and document.is_untitled else mode

    async def _warm_up(self, file: str) -> None:
        """Have the worker of a file import torch before it is needed."""
        await self._server.configured.wait()
        with contextlib.suppress(WorkerUnusable):
            await self._server.pool.worker(
                self._server.settings(file).interpreter, self._server.documents.root(file)
            )

    def _concerned(self, file: str) -> set[str]:
        """The open documents that a file is, or whose runs read it."""
        itself = self._server.documents.at(file)
        return self._server.results.using(file) | ({itself.uri} if itself else set())

    def _settle(self, file: str) -> None:
        """See whether the last edits of a file have changed its code."""
        settled = [result.settle(file) for result in self._server.results.at(file)]
        if any(settled):
            self._judge_suppressions(file)
            self._server.diagnostics.follow(file)
            self._server.refresh()
        for uri in self._concerned(file):
            self._follow(uri)

    def _settled(self, uri: str, file: str) -> None:
        del self._timers[uri]
        self._settle(file)
        if self._mode(uri) != "onType":
            return
        document = self._server.documents.find(uri)
        # Half a statement is no failure of the model: what was found before it stays.
        if document is not None and document.file is not None:
            found = discover(document.source, document.file)
            if found.failure is None:
                self.update(document, file)

    def is_running(self, uri: str) -> bool:
        """Whether a document is being run."""
        return uri in self._current

    def stage(self, uri: str, target: str) -> str | None:
        """The stage of a target's run; None while it is not run."""
        if uri not in self._current:
            return None
        running, stage = self._stages.get(uri, ("", ""))
        if running == target:
            return stage
        # The targets of a document are run in turn.
        result = self._server.results.of(uri).get(target)
        generation = self._current[uri][0].generation
        return None if result and result.run.generation == generation else "starting"

    def restart(self) -> None:
        """Run every open document, anew if it was run before."""
        for document in self._server.documents.open:
            self.start(document)

    def cancel(self, uri: str) -> None:
        """End the run of a document; what it has shown stays."""
        if uri in self._current:
            run, task = self._current.pop(uri)
            self._meanwhile.pop(uri, None)
            logger.info("run %d of %s cancelled", run.generation, run.file)
            task.cancel()

    def forget(self, uri: str) -> None:
        """End the run of a document and clear what its runs have shown."""
        self.cancel(uri)
        self._turns.forget(uri)
        self._crashed.pop(uri, None)
        if (timer := self._timers.pop(uri, None)) is not None:
            timer.cancel()
        self._server.diagnostics.publish(self._server.results.keep(uri, set()))

    async def close(self) -> None:
        """End every run."""
        for timer in self._timers.values():
            timer.cancel()
        tasks = [task for _, task in self._current.values()]
        for uri in list(self._current):
            self.cancel(uri)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, run: Run, found: Discovery, reuse_export: bool) -> None:
        await self._server.configured.wait()
        for target in found.targets:
            async with self._turns.turn(run.uri):
                self._enter(run, target, "starting")
                logger.info("run %d: %s of %s", run.generation, target.name, run.file)
                report = await self._compare(run, target, reuse_export)
                if self._current.get(run.uri, (None,))[0] is not run:
                    return
                self._show(run, target, report)

    async def _compare(self, run: Run, target: Target, reuse_export: bool) -> Report:
        settings, documents = self._server.settings(run.file), self._server.documents
        root = documents.root(run.file)
        request = RunRequest(
            target,
            run.text,
            settings.recipe,
            run.project.recipe,
            (root, *documents.roots),
            unsaved={file: text for file, text in run.opened.items() if text != read(file)},
            hold_export=True,
            reuse_export=reuse_export,
            memory_limit_mib=settings.memory_limit_mib,
        )
        try:
            async with RunProgress(
                self._server, target.name, cancel=lambda: self._cancel_run(run)
            ) as progress:
                worker = await self._server.pool.worker(settings.interpreter, root)

                def on_stage(stage: str) -> None:
                    progress.stage(stage)
                    self._enter(run, target, stage)

                report = await worker.run(request, on_stage, settings.deadline_s)
                self._crashed.pop(run.uri, None)
                if report.error is not None and report.error.rule == "HL304":
                    self._crashed[run.uri] = run.text
                return report
        except WorkerUnusable as problem:
            reason, detail = str(problem), "\n".join(problem.output)
        except Exception as error:
            logger.exception("run %d of %s", run.generation, run.file)
            detail = ""
            reason = f"Handlens failed to run {target.name}: {error!r}. Its log has the details."
        failure = Failure("HL304", reason, None, detail)
        return failed(target.name, run.file, settings.recipe or "", failure)

    def _cancel_run(self, run: Run) -> None:
        if self._current.get(run.uri, (None,))[0] is run:
            self.cancel(run.uri)

    def _enter(self, run: Run, target: Target, stage: str) -> None:
        if self._current.get(run.uri, (None,))[0] is run:
            self._stages[run.uri] = target.name, stage
            self._follow(run.uri)

    def _follow(self, uri: str) -> None:
        self._server.status.follow(self._server.documents.find(uri))

    def _show(self, run: Run, target: Target | None, report: Report) -> None:
        texts: dict[str, str | None] = {run.file: run.text}
        texts |= {file: self._executed(run, report, file) for file in files(report) - {run.file}}
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        result = Result(run, target, report, texts, finished=now)
        # They may have been edited while they were run.
        for file in texts:
            if (text := self._server.documents.text(file)) is not None:
                result.move_to(file, text)
        for document in self._server.documents.open:
            if document.file is not None and document.file not in texts:
                result.move_to(document.file, document.source)
        result = result.judged(run.project, self._thresholds(run.file, run.project))
        changed = self._server.results.put(result)
        self._server.diagnostics.publish(changed, always=run.file)
        if report.error is not None and report.error.traceback:
            self._server.log(types.MessageType.Error, report.error.traceback)

    def _executed(self, run: Run, report: Report, file: str) -> str | None:
        """The text that a run executed of a file; None if nobody has it any more."""
        document = self._server.documents.at(file)
        opened = run.opened.get(document.file or "" if document else file)
        found = [text for text in (opened, read(file)) if text is not None]
        if file in report.digests:
            found = [text for text in found if digest(text) == report.digests[file]]
        return next(iter(found), None)

    def _finished(self, run: Run, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("run %d of %s", run.generation, run.file, exc_info=error)
        if self._current.get(run.uri, (None,))[0] is run:
            del self._current[run.uri]
            for file in self._meanwhile.pop(run.uri, set()):
                # It was not known then whether the run reads it.
                self.follow(file)
                if run.uri in self._server.results.using(file):
                    self._renew(run.uri, file)
        if run.uri not in self._current:
            self._stages.pop(run.uri, None)
        self._server.refresh()
        self._follow(run.uri)
