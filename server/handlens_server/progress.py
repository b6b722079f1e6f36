"""The progress of one run in the client, with a button that cancels it."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from handlens_server.wording import inert

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer

logger = logging.getLogger(__name__)

STAGES = {
    "starting": (0, "starting Python and torch"),
    "load": (5, "loading the model"),
    "export": (15, "exporting"),
    "quantize": (45, "quantizing"),
    "compare": (70, "comparing"),
}


class RunProgress:
    """Shows the stages of a run of ``target``; nothing if the client does not show progress."""

    def __init__(self, server: HandlensServer, target: str, cancel: Callable[[], None]) -> None:
        self._server = server
        self._title = inert(f"Handlens: {target}")
        self._cancel = cancel
        self._token = str(uuid.uuid4())
        self._percentage, self._message = STAGES["starting"]
        self._begun = False
        self._ended = False

    async def __aenter__(self) -> RunProgress:
        # The run does not wait for the client's answer.
        if self._server.client.progress:
            self._server.spawn(self._begin())
        return self

    def stage(self, name: str) -> None:
        """Show that a stage (of ``handlens.workers.wire.STAGES``) begins."""
        self._percentage, self._message = STAGES.get(name, (self._percentage, name))
        if self._begun:
            self._server.work_done_progress.report(
                self._token,
                types.WorkDoneProgressReport(message=self._message, percentage=self._percentage),
            )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended = True
        self._server.work_done_progress.tokens.pop(self._token, None)
        if self._begun:
            cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
            message = "cancelled" if cancelled else "done"
            self._server.work_done_progress.end(
                self._token, types.WorkDoneProgressEnd(message=message)
            )

    async def _begin(self) -> None:
        progress = self._server.work_done_progress
        try:
            await progress.create_async(self._token)
        except Exception as error:
            logger.info("the client shows no progress: %s", error)
            return
        if self._ended:
            progress.tokens.pop(self._token, None)
            return
        progress.tokens[self._token].add_done_callback(self._on_done)
        progress.begin(
            self._token,
            types.WorkDoneProgressBegin(
                title=self._title,
                message=self._message,
                percentage=self._percentage,
                cancellable=True,
            ),
        )
        self._begun = True

    def _on_done(self, token: Future[Any]) -> None:
        if token.cancelled():
            self._cancel()
