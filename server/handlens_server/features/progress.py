"""window/workDoneProgress: the stages of each run, with a button that cancels it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens_server.background import spawn
from handlens_server.results.result import Run
from handlens_server.runs.runs import Runs
from handlens_server.runs.stages import STAGES, STARTING
from handlens_server.state import State
from handlens_server.window import inert

logger = logging.getLogger(__name__)


def register(server: LanguageServer, state: State, runs: Runs) -> None:
    """Subscribe to the stages of runs."""
    shown: dict[int, RunProgress] = {}
    """By the generation of the run, which has one target at a time."""

    def stage_entered(run: Run, target: str, stage: str) -> None:
        if not state.capabilities.progress:
            return
        if stage == STARTING:
            shown[run.generation] = RunProgress(server, target, lambda: runs.cancel_run(run))
        elif run.generation in shown:
            shown[run.generation].show(stage)

    def target_ended(run: Run, was_cancelled: bool) -> None:
        if (progress := shown.pop(run.generation, None)) is not None:
            progress.end("cancelled" if was_cancelled else "done")

    state.events.stage_entered.subscribe(stage_entered)
    state.events.target_ended.subscribe(target_ended)


class RunProgress:
    """The progress of a run in the client, which calls ``cancel`` when its button is pressed."""

    def __init__(self, server: LanguageServer, target: str, cancel: Callable[[], None]) -> None:
        self._progress = server.work_done_progress
        self._title = inert(f"Handlens: {target}")
        self._cancel = cancel
        self._token = str(uuid.uuid4())
        self._stage = STAGES[STARTING]
        self._begun = False
        self._ended = False
        # The run does not wait for the client's answer.
        spawn(self._begin())

    def show(self, stage: str) -> None:
        """Show that a stage begins."""
        self._stage = STAGES[stage]
        if self._begun:
            self._progress.report(
                self._token,
                types.WorkDoneProgressReport(
                    message=self._stage.description, percentage=self._stage.percentage
                ),
            )

    def end(self, message: str) -> None:
        """Show that the run is over."""
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
