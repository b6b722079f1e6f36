"""window/workDoneProgress: the stages of each run, and what a search finds, with a button to cancel."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens.report import Advice
from handlens.request import Progress as StageProgress
from handlens_server.background import spawn
from handlens_server.results import advised
from handlens_server.results.result import Run
from handlens_server.runs.runs import Runs
from handlens_server.runs.searches import Searches
from handlens_server.runs.stages import STAGES, STARTING, Stage, stage_at
from handlens_server.state import State
from handlens_server.window import inert

logger = logging.getLogger(__name__)


def register(server: LanguageServer, state: State, runs: Runs, searches: Searches) -> None:
    """Subscribe to the stages of runs, and to searches."""
    shown: dict[int, Progress] = {}
    """By the generation of the run, which has one target at a time."""

    def stage_entered(run: Run, target: str, stage: str) -> None:
        if not state.capabilities.progress:
            return
        if stage == STARTING:
            shown[run.generation] = Progress(
                server, target, lambda: runs.cancel_run(run), STAGES[stage]
            )
        elif run.generation in shown:
            shown[run.generation].show(STAGES[stage])

    def stage_advanced(run: Run, so_far: StageProgress) -> None:
        if run.generation in shown:
            shown[run.generation].show(stage_at(so_far.stage, so_far))

    def search_began(run: Run, target: str) -> None:
        if state.capabilities.progress:
            shown[run.generation] = Progress(
                server, target, lambda: searches.cancel(run.uri), STAGES["advise"]
            )

    def search_advanced(run: Run, advice: Advice) -> None:
        if (best := advised.so_far(advice)) and run.generation in shown:
            said = f"{STAGES['advise'].description}: {inert(best)} so far"
            shown[run.generation].show(Stage(None, said))

    def ended(run: Run, was_cancelled: bool) -> None:
        if (progress := shown.pop(run.generation, None)) is not None:
            progress.end("cancelled" if was_cancelled else "done")

    state.events.stage_entered.subscribe(stage_entered)
    state.events.stage_advanced.subscribe(stage_advanced)
    state.events.target_ended.subscribe(ended)
    state.events.search_began.subscribe(search_began)
    state.events.search_advanced.subscribe(search_advanced)
    state.events.search_ended.subscribe(ended)


class Progress:
    """The progress for a target in the client, which calls ``cancel`` when its button is pressed."""

    def __init__(
        self, server: LanguageServer, target: str, cancel: Callable[[], None], stage: Stage
    ) -> None:
        self._progress = server.work_done_progress
        self._title = inert(f"Handlens: {target}")
        self._cancel = cancel
        self._token = str(uuid.uuid4())
        self._stage = stage
        self._begun = False
        self._ended = False
        # The run does not wait for the client's answer.
        spawn(self._begin())

    def show(self, stage: Stage) -> None:
        """Show that a stage begins, or what it has come to."""
        before, self._stage = self._stage, stage
        if self._begun and stage != before:
            self._progress.report(
                self._token,
                types.WorkDoneProgressReport(
                    message=self._stage.description, percentage=self._stage.percentage
                ),
            )

    def end(self, message: str) -> None:
        """Show that it is over."""
        self._ended = True
        self._progress.tokens.pop(self._token, None)
        if self._begun:
            self._progress.end(self._token, types.WorkDoneProgressEnd(message=message))

    async def _begin(self) -> None:
        try:
            await self._progress.create_async(self._token)
        except Exception as error:
            logger.info("the client shows no progress: %s", error)
            return
        if self._ended:
            self._progress.tokens.pop(self._token, None)
            return
        self._progress.tokens[self._token].add_done_callback(self._on_done)
        self._progress.begin(
            self._token,
            types.WorkDoneProgressBegin(
                title=self._title,
                message=self._stage.description,
                percentage=self._stage.percentage,
                cancellable=True,
            ),
        )
        self._begun = True

    def _on_done(self, token: Future[Any]) -> None:
        if token.cancelled():
            self._cancel()
