"""Runs targets in the user's interpreter, in processes that are forked or that stand by."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from handlens import switches, versions
from handlens.dataclass_json import from_json
from handlens.diagnosis.rules.worker_failed import WorkerFailed
from handlens.report import Advice, Failure, Report, Span, failed
from handlens.request import Progress, RunRequest
from handlens.switches import Workers
from handlens.workers.child import WorkerUnusable
from handlens.workers.forking import Forking
from handlens.workers.standing_by import StandingBy

__all__ = ["Environment", "Worker", "WorkerUnusable"]

_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Environment:
    """The versions in a worker's interpreter."""

    interpreter: str
    python: str
    torch: str
    torchao: str

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user of these versions should know."""
        return versions.remarks(self.python, self.torch, self.torchao)


@dataclass(frozen=True)
class _Pending:
    """A run whose report has not come yet."""

    future: asyncio.Future[Report]
    request: RunRequest
    on_stage: Callable[[str], None]
    on_advice: Callable[[Advice], None] | None
    on_progress: Callable[[Progress], None] | None
    on_note: Callable[[str], None] | None


class _Processes(Protocol):
    """How runs get a process."""

    @property
    def alive(self) -> bool: ...

    async def start(self) -> dict[str, Any]: ...

    async def begin(
        self, run: int, request: dict[str, Any], deadline_s: float | None, is_last: bool
    ) -> None: ...

    def interrupt(self, run: int) -> None: ...

    def cancel(self, run: int) -> None: ...

    async def close(self) -> None: ...


class Worker:
    """An interpreter that has imported torch. Each of its runs has a process of its own."""

    def __init__(
        self,
        interpreter: str,
        on_output: Callable[[str], None],
        cwd: str | None,
        workers: Workers,
    ) -> None:
        self.stands_by = _stand_by(workers)
        """True if an interpreter stands by for each run, False if runs are forked."""
        processes = StandingBy if self.stands_by else Forking
        self._processes: _Processes = processes(interpreter, cwd, self._receive, on_output)
        self._runs: dict[int, _Pending] = {}
        self._next_run = 1

    @classmethod
    async def start(
        cls,
        interpreter: str,
        on_output: Callable[[str], None],
        cwd: str | None = None,
        workers: Workers = "auto",
    ) -> tuple[Worker, Environment]:
        """Start a worker in ``interpreter``, and wait until it has imported torch (about two seconds).

        ``on_output`` is called with every line that the worker and the user's code print.
        Raises WorkerUnusable.
        """
        worker = cls(interpreter, on_output, cwd, workers)
        said = await worker._processes.start()
        if said.get("loses_accelerators") and _wanted(workers) == "auto":
            await worker.close()
            return await cls.start(interpreter, on_output, cwd, "standby")
        return worker, Environment(interpreter, said["python"], said["torch"], said["torchao"])

    @property
    def alive(self) -> bool:
        return self._processes.alive

    async def run(
        self,
        request: RunRequest,
        on_stage: Callable[[str], None],
        deadline_s: float | None = None,
        on_advice: Callable[[Advice], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        is_last: bool = False,
    ) -> Report:
        """Run a request, and return its report, which is not judged yet.

        ``on_advice`` is called with the advice so far, whenever the search has found something,
        ``on_progress`` while a stage lasts, and ``on_note`` with what one should know of the run.
        ``is_last`` says that no other run is expected: no process gets ready for one.

        Cancelling this coroutine kills the run and what it has started. So does the deadline; the
        report then says at which line the run was. Raises WorkerUnusable if a process that is needed
        cannot be started.
        """
        run, self._next_run = self._next_run, self._next_run + 1
        future: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        if not self.alive:
            return _died(request, "the worker process is gone")
        self._runs[run] = _Pending(future, request, on_stage, on_advice, on_progress, on_note)
        try:
            await self._processes.begin(run, asdict(request), deadline_s, is_last)
            await asyncio.wait([future], timeout=deadline_s)
            if future.done():
                return future.result()
            self._processes.interrupt(run)
            await asyncio.wait([future], timeout=_PATIENCE_S)
            if not future.done():
                self._processes.cancel(run)
        except asyncio.CancelledError:
            self._processes.cancel(run)
            raise
        finally:
            del self._runs[run]
        return _overdue(request, deadline_s, future.result() if future.done() else None)

    async def close(self) -> None:
        """End the worker and every run in it."""
        await self._processes.close()

    def _receive(self, message: dict[str, Any]) -> None:
        """Handle an event of a run."""
        event, pending = message["event"], self._runs.get(message["run"])
        if pending is None or pending.future.done():
            return
        if event == "stage":
            pending.on_stage(message["stage"])
        elif event == "note":
            if pending.on_note is not None:
                pending.on_note(message["note"])
        elif event == "progress":
            if pending.on_progress is not None:
                pending.on_progress(from_json(Progress, message["progress"]))
        elif event == "advice":
            if pending.on_advice is not None:
                pending.on_advice(from_json(Advice, message["advice"]))
        elif event == "report":
            try:
                report = from_json(Report, message.get("report"))
            except ValueError as error:
                report = _died(pending.request, f"its report cannot be read ({error})")
            pending.future.set_result(report)
        elif event == "died":
            line = None if message["line"] is None else from_json(Span, message["line"])
            report = _died(pending.request, message["reason"], line, message["stack"])
            pending.future.set_result(report)


def _stand_by(workers: Workers) -> bool:
    """True if runs are not forked: where that is not safe, or not wanted."""
    wanted = _wanted(workers)
    return wanted == "standby" or (wanted == "auto" and sys.platform != "linux")


def _wanted(workers: Workers) -> Workers:
    return switches.workers() if workers == "auto" else workers


def _died(request: RunRequest, reason: str, line: Span | None = None, stack: str = "") -> Report:
    message = (
        f"Running {request.target.name} failed: {reason}. Its output says what happened before."
    )
    if request.memory_limit_mib is not None:
        message += f" It was allowed {request.memory_limit_mib} MiB, by handlens.memoryLimit."
    return _killed(request, message, line, stack)


def _overdue(request: RunRequest, deadline_s: float | None, ended: Report | None) -> Report:
    """The report of a run that took too long: the run's own if it ended just in time, else a failure."""
    message = (
        f"{request.target.name} was killed: it ran for more than {deadline_s:g} s. "
        "The setting handlens.deadline, or --deadline, allows for more."
    )
    if ended is None:
        return _killed(request, message)
    if ended.error is None or ended.error.rule != WorkerFailed.code:
        return ended
    return _killed(request, message, ended.error.span, ended.error.traceback)


def _killed(request: RunRequest, message: str, line: Span | None = None, stack: str = "") -> Report:
    target = request.target
    error = Failure(WorkerFailed.code, message, line, stack)
    return failed(target.name, target.file, request.recipe or "", error)
