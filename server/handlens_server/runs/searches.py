"""Searches for advice behind the runs: one at a time, and only while nothing is compared."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from handlens.diagnosis.thresholds import thresholds_in_force
from handlens.report import Advice
from handlens.request import AdviceRequest
from handlens.targets import Target
from handlens.workers.client import WorkerUnusable
from handlens_server.results import advised
from handlens_server.results.result import Result, Run, result_of
from handlens_server.runs.requests import request
from handlens_server.runs.runs import Runs
from handlens_server.settings import AdviseMode
from handlens_server.state import State
from handlens_server.text.documents import Document

logger = logging.getLogger(__name__)

# Seconds. People who wait longer for advice have edited the model meanwhile.
_BUDGET_S = 60.0
# What is found is shown this many seconds apart.
_PAUSE_S = 1.0


@dataclass(eq=False)
class Search:
    """A search that is wanted for one target of a document."""

    run: Run
    """The run that made the result which the advice is for."""
    target: Target
    found: Advice | None = None
    """What has been found and not shown yet."""
    timer: asyncio.TimerHandle | None = None
    """Set while it is too early to show more."""


class Searches:
    """Searches for advice, whenever no run is going on that a search could delay.

    A run of any document ends the search that is going on, which begins again after the run. So does an
    edit that makes the result of the search stale, which is taken up if the edit is undone.
    """

    def __init__(self, state: State, runs: Runs) -> None:
        self._state = state
        self._events = state.events
        self._runs = runs
        self._wanted: list[Search] = []
        """The searches that are not over, in the order of their targets."""
        self._active: tuple[Search, asyncio.Task[None]] | None = None
        self._asked: set[str] = set()
        """The uris of documents for which somebody has asked, and which have to be run first."""
        self._closed = False
        state.events.run_finished.subscribe(self._run_finished)
        # It happens whenever a run begins or ends, and when a result becomes stale or is not any more.
        state.events.numbers_changed.subscribe(self._update)
        state.events.documents_abandoned.subscribe(self._forget)

    def start(self, document: Document) -> None:
        """Search for every target of a document. It is run first if its results are outdated."""
        results = self._state.results.of(document.uri).values()
        is_running = self._runs.is_running(document.uri)
        if results and not is_running and not any(map(_is_outdated, results)):
            self._want(results)
            self._update()
            return
        self._asked.add(document.uri)
        if not is_running:
            self._runs.start(document)

    def cancel(self, uri: str) -> None:
        """End the searches for a document; the advice that was found stays."""
        self._asked.discard(uri)
        self._wanted = [each for each in self._wanted if each.run.uri != uri]
        self._update()

    def mode_changed(self, document: Document) -> None:
        """Apply another value of the setting ``advise``."""
        self.cancel(document.uri)
        if self._mode(document.file) == "auto":
            self._want(filter(_is_worth_it, self._state.results.of(document.uri).values()))
            self._update()

    def progress(self, uri: str, target: str) -> Literal["waiting", "searching"] | None:
        """What the search for a target is doing; None if there is none, or if it is over."""
        for each in self._wanted:
            if (each.run.uri, each.target.name) == (uri, target):
                is_active = self._active is not None and self._active[0] is each
                return "searching" if is_active else "waiting"
        return None

    async def close(self) -> None:
        """End every search, and start no others."""
        self._closed = True
        if self._active is not None:
            _, task = self._active
            self._stop()
            await asyncio.gather(task, return_exceptions=True)

    # -- which search is next ----------------------------------------------------------------------

    def _run_finished(self, run: Run, changed: Collection[str]) -> None:
        results = [
            each
            for each in self._state.results.of(run.uri).values()
            if each.run.generation == run.generation
        ]
        if run.uri in self._asked:
            self._asked.discard(run.uri)
            self._want(results)
        elif self._mode(run.file) == "auto":
            self._want(filter(_is_worth_it, results))

    def _mode(self, file: str | None) -> AdviseMode:
        return self._state.settings(file).advise

    def _want(self, results: Iterable[Result]) -> None:
        """Want a search for each of some results that has no whole advice yet."""
        for result in results:
            uri, advice = result.run.uri, result.report.advice
            is_missing = advice is None or not advice.complete
            if result.target and is_missing and self.progress(uri, result.name) is None:
                self._wanted.append(Search(result.run, result.target))
                self._events.status_changed(uri)

    def _update(self) -> None:
        """End the search that may not go on, forget those of earlier results, and begin the next one."""
        self._wanted = [each for each in self._wanted if self._result(each) is not None]
        if self._active is not None and not self._may_go_on(self._active[0]):
            self._stop()
        ready = [each for each in self._wanted if self._may_go_on(each)]
        if self._active is None and ready and not self._closed:
            self._begin(max(ready, key=lambda each: self._runs.last_looked_at(each.run.uri)))

    def _result(self, search: Search) -> Result | None:
        """The result that the advice of a search is for; None if there is a later one."""
        result = self._state.results.of(search.run.uri).get(search.target.name)
        is_later = result is None or result.run.generation != search.run.generation
        return None if is_later else result

    def _may_go_on(self, search: Search) -> bool:
        result = self._result(search)
        is_wanted = search in self._wanted and result is not None and not _is_outdated(result)
        return is_wanted and not self._runs.running

    # -- one search --------------------------------------------------------------------------------

    def _begin(self, search: Search) -> None:
        task = asyncio.create_task(self._search(search))
        self._active = search, task
        task.add_done_callback(lambda task: self._done(search, task))
        self._events.search_began(search.run, search.target.name)
        self._events.status_changed(search.run.uri)

    def _stop(self) -> None:
        """End the search that is going on."""
        assert self._active is not None
        search, task = self._active
        self._active = None
        task.cancel()
        self._over(search, was_cancelled=True)

    def _done(self, search: Search, task: asyncio.Task[None]) -> None:
        if self._active is None or self._active[0] is not search:
            return
        self._active = None
        self._wanted.remove(search)
        if (error := task.exception()) is not None:
            logger.error("no advice for %s", search.target.name, exc_info=error)
        self._over(search, was_cancelled=False)
        self._events.numbers_changed()

    def _over(self, search: Search, was_cancelled: bool) -> None:
        if search.timer is not None:
            search.timer.cancel()
            search.timer = None
        self._events.search_ended(search.run, was_cancelled)
        self._events.status_changed(search.run.uri)

    async def _search(self, search: Search) -> None:
        run, target, state = search.run, search.target, self._state
        settings = state.settings(run.file)
        logger.info("run %d: searching for what helps %s", run.generation, target.name)
        try:
            worker = await state.pool.worker(
                settings.interpreter, state.documents.root(run.file), settings.workers
            )
        except WorkerUnusable as problem:
            logger.warning("no advice for %s: %s", target.name, problem)
            return
        report = await worker.run(
            # All that helps: the curve goes on where the wish is reached.
            request(state, run, target, True, AdviceRequest(budget_s=_BUDGET_S)),
            lambda stage: None,
            settings.deadline_s,
            lambda advice: self._found(search, advice),
        )
        before, advice = self._result(search), report.advice
        if report.error is not None or advice is None or before is None:
            reason = report.error.message if report.error else "it was not searched for"
            logger.warning("no advice for %s: %s", target.name, reason)
            return
        advice = self._with_wish(search, advice)
        # An advice that is taken over from an earlier run took no time.
        spent = {stage: time for stage, time in report.timings.items() if stage == "advise"}
        report = replace(report, advice=advice, timings=before.report.timings | spent)
        result = replace(
            result_of(run, target, report, state.documents),
            previous_db=before.previous_db,
            finished=before.finished,
        )
        # The accusations that the advice refutes are withdrawn.
        thresholds = state.thresholds(run.file, run.project)
        result = await asyncio.to_thread(result.judged, run.project, thresholds)
        self._runs.show(result)
        logger.info("run %d: %s: %s", run.generation, target.name, advised.summary(advice))

    def _with_wish(self, search: Search, advice: Advice) -> Advice:
        """An advice that recommends what reaches the accuracy that the project asks for.

        If it asks for none, what is recommended leaves no finding about the output.
        """
        result, wish = self._result(search), search.run.project.fail_under
        if wish is None and result is not None and advice.objective == "sqnr":
            thresholds = self._state.thresholds(search.run.file, search.run.project)
            wish = thresholds_in_force(result.report, thresholds).information_db
        return replace(advice, reach_db=wish)

    def _found(self, search: Search, advice: Advice) -> None:
        """Show the advice so far, but not more often than people can read it."""
        search.found = self._with_wish(search, advice)
        if search.timer is None:
            self._show(search)

    def _show(self, search: Search) -> None:
        search.timer = None
        result, advice = self._result(search), search.found
        if result is None or advice is None:
            return
        search.found = None
        search.timer = asyncio.get_running_loop().call_later(_PAUSE_S, self._show, search)
        before = result.report.advice
        if before is None or before.measurements < advice.measurements:
            report = replace(result.report, advice=advice)
            self._state.results.replace(result, replace(result, report=report))
            self._events.search_advanced(search.run, advice)
            self._events.status_changed(search.run.uri)

    def _forget(self, uris: Collection[str]) -> None:
        for uri in uris:
            self.cancel(uri)


def _is_outdated(result: Result) -> bool:
    return result.report.error is not None or result.is_stale


def _is_worth_it(result: Result) -> bool:
    """True if something was found that a change may help."""
    return result.report.error is None and bool(result.report.findings)
