"""One worker: it is started when first needed, shared by all runs, and replaced when it has died."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable

from handlens.switches import Workers
from handlens.workers.client import Worker, WorkerUnusable

logger = logging.getLogger(__name__)

_PATIENCE_S = 4.0

# A worker that dies within this time of its start is replaced after a pause if the one before it did, too:
# after one second, then two, four, and so on.
_SOON_S = 60.0
_LONGEST_PAUSE_S = 30.0


class State(enum.Enum):
    """What a host's worker is doing."""

    IDLE = "idle"
    """No worker yet."""
    WAITING = "waiting"
    """The last workers died soon after their start: the next one is started after a pause."""
    STARTING = "starting"
    """Its interpreter imports torch."""
    READY = "ready"
    """Runs can be started in it."""
    UNUSABLE = "unusable"
    """Its interpreter could not start it; the next run tries again."""
    CLOSED = "closed"
    """It is not needed any more."""


class Host:
    """The worker of one interpreter and one folder."""

    def __init__(
        self,
        interpreter: str,
        folder: str,
        on_output: Callable[[str], None],
        workers: Workers = "auto",
    ) -> None:
        self.interpreter = interpreter
        self.folder = folder
        self.workers: Workers = workers
        self.state = State.IDLE
        self.remarks: tuple[str, ...] = ()
        """What a user of the interpreter's versions should know."""
        self._on_output = on_output
        self._worker: Worker | None = None
        self._starting: asyncio.Task[Worker] | None = None
        self._started_at = 0.0
        self._deaths = 0
        """How many workers in a row died soon after they started."""

    async def worker(self) -> Worker:
        """The live worker. Cancelling this does not cancel its start, for the next run needs it.

        Raises WorkerUnusable.
        """
        if self.state is State.READY and self._worker is not None and self._worker.alive:
            return self._worker
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    async def close(self) -> None:
        """End the worker and every run in it."""
        self._enter(State.CLOSED)
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await self._end()

    async def _start(self) -> Worker:
        if self.state is State.READY:
            soon = time.monotonic() - self._started_at < _SOON_S
            self._deaths = self._deaths + 1 if soon else 0
        await self._end()
        if self._deaths > 1:
            pause = min(2.0 ** (self._deaths - 2), _LONGEST_PAUSE_S)
            self._enter(State.WAITING, f"{self._deaths} died soon, the next starts in {pause:g} s")
            await asyncio.sleep(pause)
        self._enter(State.STARTING)
        self._started_at = time.monotonic()
        try:
            self._worker, environment = await Worker.start(
                self.interpreter, self._on_output, self.folder, self.workers
            )
        except WorkerUnusable as problem:
            self._enter(State.UNUSABLE, str(problem))
            raise
        versions = f"Python {environment.python}, torch {environment.torch}"
        self._enter(State.READY, f"{versions}, torchao {environment.torchao}")
        self.remarks = environment.remarks
        for remark in self.remarks:
            logger.warning("%s: %s", self.interpreter, remark)
        return self._worker

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            try:
                await asyncio.wait_for(worker.close(), _PATIENCE_S)
            except asyncio.TimeoutError:
                # A process that the model left behind still has the worker's output open. Leave it alone.
                logger.warning("worker %s: its output is still open", self.interpreter)

    def _started(self, task: asyncio.Task[Worker]) -> None:
        self._starting = None
        if not task.cancelled():
            # Retrieve the exception: if all runs that waited were cancelled, nobody else does.
            task.exception()

    def _enter(self, state: State, detail: str = "") -> None:
        if self.state is not State.CLOSED:
            self.state = state
            name = f"{self.interpreter} in {self.folder}"
            logger.info("worker %s is %s. %s", name, state.value, detail)
