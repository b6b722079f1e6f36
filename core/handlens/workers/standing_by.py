"""A worker whose runs have an interpreter each, as its client has it (see ``standby`` for the other side).

One interpreter stands by: it has imported torch, and waits for a request. Once it has one, the next is
started, which imports torch while somebody reads what the run has found.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any

from handlens.dataclass_json import from_json
from handlens.request import RunRequest
from handlens.workers import crashes, wire
from handlens.workers.child import Child, WorkerUnusable

log = logging.getLogger(__name__)

_PATIENCE_S = 2.0
_LONGEST_STACK = 500

# Each takes the memory of two models. People go back and forth between one or two files.
_MOST_HELD = 2
# The fields of a request in which one for advice differs from the one before it.
_ASIDE = {"advise": None, "hold_export": None, "reuse_export": None}


class _Run:
    """A run and its process."""

    def __init__(self, number: int, request: dict[str, Any], child: Child) -> None:
        self.number = number
        self.request = request
        self.child = child
        self.stack: deque[str] = deque(maxlen=_LONGEST_STACK)
        """What the process wrote to the pipe of its events that is no event: its stack as it died."""
        self.overdue = False
        """True if the run takes too long, and is to write its stack and die."""
        self.resumed: asyncio.Future[bool] | None = None
        """Whether the process goes on with a request for advice; None if it was not asked to."""

    def could_advise(self, request: dict[str, Any]) -> bool:
        """True if advice is all that a request asks for beyond what this run has done."""
        wanted, done = ({**each, **_ASIDE} for each in (request, self.request))
        return request["reuse_export"] and request["advise"] is not None and wanted == done


class StandingBy:
    """Runs in a process each. None of them outlives this one."""

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
        self._next: asyncio.Task[tuple[Child, dict[str, Any]]] | None = None
        """The process that stands by, or that will when it has imported torch."""
        self._runs: dict[int, _Run] = {}
        """By number, the runs whose last event has not come yet."""
        self._held: list[_Run] = []
        """Runs that have ended, and whose processes could go on to advise; the oldest first."""
        self._children: set[Child] = set()
        """The processes that have not ended yet."""
        self._usable = True
        self._was_ready = False
        """True once a process has been ready."""
        self._lifeline: tuple[int, int] | None = None
        """A pipe whose one end nobody else has: the processes learn from it that this one has ended."""
        if os.name == "posix":
            self._lifeline = os.pipe()

    async def start(self) -> dict[str, Any]:
        """Start the first process, and wait until it is ready. Raises WorkerUnusable."""
        try:
            _, said = await self._starting()
        except BaseException:
            await self.close()
            raise
        self._was_ready = True
        return said

    @property
    def alive(self) -> bool:
        return self._usable

    async def begin(
        self, run: int, request: dict[str, Any], deadline_s: float | None, is_last: bool
    ) -> None:
        """Begin a run, as soon as a process is ready. Raises WorkerUnusable."""
        message = {"run": run, "request": request, "deadline": deadline_s}
        if await self._resume(run, request, message):
            return
        child = await self._take()
        begun = self._runs[run] = _Run(run, request, child)
        child.on_event = lambda message: self._receive(begun, message)
        child.on_other = lambda line, error: begun.stack.append(line)
        child.on_end = lambda: self._end(begun)
        child.on_output = self._on_output
        child.allow_output()
        child.send(message)
        if not is_last:
            self._starting()

    async def _resume(self, run: int, request: dict[str, Any], message: dict[str, Any]) -> bool:
        """Have a process that has compared go on to advise. Returns False if none can."""
        for held in [each for each in self._held if each.request["target"] == request["target"]]:
            self._held.remove(held)
            if held.could_advise(request):
                held.number, held.request = run, request
                held.resumed = asyncio.get_running_loop().create_future()
                self._runs[run] = held
                held.child.allow_output()
                held.child.send(message)
                await asyncio.wait([held.resumed], timeout=_PATIENCE_S)
                if held.resumed.done() and held.resumed.result():
                    return True
                self._runs.pop(run, None)
            held.child.kill()
        return False

    def interrupt(self, run: int) -> None:
        """Have a run that takes too long end, and say where it was: its own watch does that."""
        if (begun := self._runs.get(run)) is not None:
            begun.overdue = True

    def cancel(self, run: int) -> None:
        """Kill a run."""
        if (begun := self._runs.pop(run, None)) is not None:
            begun.child.kill()

    async def close(self) -> None:
        """End every process."""
        self._usable = False
        if self._next is not None:
            self._next.cancel()
        for begun in (*self._runs.values(), *self._held):
            begun.child.kill()
        await asyncio.gather(*(child.close() for child in self._children))
        if self._lifeline is not None:
            for end in self._lifeline:
                os.close(end)
            self._lifeline = None

    def _starting(self) -> asyncio.Task[tuple[Child, dict[str, Any]]]:
        """The start of the process that stands by next."""
        if self._next is None:
            self._next = asyncio.create_task(self._start())
            # If nobody waits for it, nobody else asks how it ended.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._next

    async def _start(self) -> tuple[Child, dict[str, Any]]:
        lifeline: dict[str, Any] = {}
        arguments = []
        if self._lifeline is not None:
            lifeline = {"pass_fds": self._lifeline[:1]}
            arguments = [str(self._lifeline[0])]
        # What torch prints as it starts is told of the first one, and not at every run.
        on_output = _ignore if self._was_ready else self._on_output
        child = await Child.start(
            self._interpreter, "standby", on_output, self._cwd, arguments, **lifeline
        )
        self._children.add(child)
        child.on_end = lambda: self._children.discard(child)
        said = await child.ready()
        log.info("process %d stands by", said["process"])
        return child, said

    async def _take(self) -> Child:
        """The process that stands by. Several runs may wait for it: each gets one of its own."""
        # One of an interpreter that was ready before may have been killed as it started.
        again = self._was_ready
        while self._usable:
            starting = self._starting()
            try:
                child, _ = await asyncio.shield(starting)
            except WorkerUnusable:
                if self._next is starting:
                    self._next = None
                if again:
                    again = False
                    continue
                self._usable = False
                raise
            if self._next is starting:
                self._next = None
                if child.alive:
                    return child
        raise WorkerUnusable(f"{self._interpreter}: the worker was closed")

    def _receive(self, begun: _Run, message: dict[str, Any]) -> None:
        # The user's code can find the pipe. What is no event of this run is ignored.
        if message["run"] != begun.number or begun.number not in self._runs:
            return
        if message["event"] in ("resumed", "outdated"):
            if begun.resumed is not None and not begun.resumed.done():
                begun.resumed.set_result(message["event"] == "resumed")
        elif message["event"] in ("stage", "progress", "advice", "report"):
            if message["event"] == "report":
                del self._runs[begun.number]
                self._keep(begun, message.get("held") is True)
            self._on_event(message)

    def _keep(self, begun: _Run, held: bool) -> None:
        """Keep the process of a run that has ended if it could go on to advise, else kill it."""
        if not held or begun.resumed is not None:
            begun.child.kill()
            return
        self._held.append(begun)
        for each in self._held[:-_MOST_HELD]:
            self._held.remove(each)
            each.child.kill()

    def _end(self, begun: _Run) -> None:
        self._children.discard(begun.child)
        if begun in self._held:
            self._held.remove(begun)
        if begun.resumed is not None and not begun.resumed.done():
            # What it was asked for can be done from the start.
            begun.resumed.set_result(False)
            return
        if self._runs.pop(begun.number, None) is None:
            return
        status = begun.child.status
        reason = f"its process {wire.ending(status)}"
        if wire.is_killed(status) or begun.overdue:
            stack = "".join(begun.stack)
            line = crashes.line(stack, from_json(RunRequest, begun.request))
            self._on_event(wire.died(begun.number, reason, line, stack))
        else:
            # The stack, if there is one, is that of a process which the run had started.
            self._on_event(wire.died(begun.number, reason))


def _ignore(line: str) -> None:
    pass
