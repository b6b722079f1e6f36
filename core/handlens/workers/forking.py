"""A worker that forks for each run, as its client has it (see ``worker`` for the other side)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from handlens.workers import wire
from handlens.workers.child import Child

log = logging.getLogger(__name__)

_PATIENCE_S = 2.0


class Forking:
    """Runs in the forks of one process. All of them end with that process."""

    def __init__(
        self,
        interpreter: str,
        cwd: str | None,
        on_event: Callable[[dict[str, Any]], None],
        on_output: Callable[[str], None],
    ) -> None:
        self._interpreter = interpreter
        self._cwd = cwd
        self._on_event = on_event
        self._on_output = on_output
        self._running: set[int] = set()
        """The runs whose last event has not come yet."""
        self._child: Child

    async def start(self) -> dict[str, Any]:
        """Start the worker, and wait until it is ready. Raises WorkerUnusable."""
        self._child = await Child.start(self._interpreter, "worker", self._on_output, self._cwd)
        self._child.on_event = self._receive
        self._child.on_end = self._end
        return await self._child.ready()

    @property
    def alive(self) -> bool:
        return self._child.alive

    async def begin(
        self, run: int, request: dict[str, Any], deadline_s: float | None, is_last: bool
    ) -> None:
        """Begin a run."""
        self._running.add(run)
        self._child.allow_output()
        self._child.send({"run": run, "request": request})

    def interrupt(self, run: int) -> None:
        """Have a run that takes too long end, and say where it was."""
        self._child.send({"interrupt": run})

    def cancel(self, run: int) -> None:
        """Have the worker kill a run. The worker itself is killed if it does not confirm that."""
        self._child.send({"cancel": run})
        asyncio.get_running_loop().call_later(_PATIENCE_S, self._insist, run)

    async def close(self) -> None:
        """End the worker and every run in it."""
        await self._child.close()

    def _insist(self, run: int) -> None:
        if run in self._running and self.alive:
            log.warning("the worker does not answer any more: it is killed")
            self._child.kill()

    def _receive(self, message: dict[str, Any]) -> None:
        if message["event"] in wire.LAST:
            self._running.discard(message["run"])
        self._on_event(message)

    def _end(self) -> None:
        reason = f"the worker process {wire.ending(self._child.status)}"
        for run in self._running:
            self._on_event(wire.died(run, reason))
        self._running.clear()
