"""Launches a worker in the user's interpreter, and runs targets in it."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import glob
import logging
import os
import signal
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handlens import versions
from handlens.dataclass_json import from_json
from handlens.diagnosis.rules.worker_failed import WorkerFailed
from handlens.report import Advice, Failure, Report, Span, failed
from handlens.request import RunRequest
from handlens.workers import wire

# The interpreter finds this package by its path alone: the user's code must not see anything else that is
# installed beside the package, such as the server's libraries.
_BOOTSTRAP = """
import sys
# Before anything else is imported: the working directory is the workspace, and may have a types.py.
sys.path[:] = [entry for entry in sys.path if entry]
import importlib.util
folder = sys.argv[1]
spec = importlib.util.spec_from_file_location(
    "handlens", folder + "/__init__.py", submodule_search_locations=[folder])
package = sys.modules["handlens"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from handlens.workers.worker import main
main()
"""
log = logging.getLogger(__name__)

ENVIRONMENT = {
    # Large tensors in huge pages, where the system has them: a comparison allocates many, and spends half
    # its time on page faults otherwise.
    "THP_MEM_ALLOC_ENABLE": "1",
    # OpenMP's threads spin for a few microseconds when they have no work, then sleep. By default they spin
    # for milliseconds, and a comparison takes ten times as long on a machine that does anything else.
    "GOMP_SPINCOUNT": "10000",
}

_PACKAGE = Path(__file__).parents[1]
_LONGEST_LINE = 1 << 30
_PATIENCE_S = 2.0

# Bytes, of a run.
_MOST_OUTPUT = 1 << 18
_CHUNK = 1 << 16
_LAST_LINES = 10
_LONGEST_REASON = 300

_MARK = "HANDLENS_WORKER"


class WorkerUnusable(Exception):
    """The interpreter cannot run a worker; the message says which one, why, and what to do.

    ``output`` has the lines that it wrote last.
    """

    def __init__(self, message: str, output: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.output = tuple(output)


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


class Worker:
    """A live worker process. Each of its runs has a process of its own."""

    def __init__(
        self, process: asyncio.subprocess.Process, mark: str, on_output: Callable[[str], None]
    ) -> None:
        self._process = process
        self._mark = mark
        """A value in the environment of the worker and of all processes that it starts."""
        self._output_left = _MOST_OUTPUT
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._runs: dict[int, _Pending] = {}
        self._next_run = 1
        self._ready: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self._tasks = [
            asyncio.create_task(self._read_events()),
            asyncio.create_task(self._read_output(on_output)),
        ]

    @classmethod
    async def start(
        cls, interpreter: str, on_output: Callable[[str], None], cwd: str | None = None
    ) -> tuple[Worker, Environment]:
        """Start a worker in ``interpreter``, and wait until it has imported torch (about two seconds).

        ``on_output`` is called with every line that the worker and the user's code print.
        Raises WorkerUnusable.
        """
        mark = str(uuid.uuid4())
        try:
            process = await asyncio.create_subprocess_exec(
                interpreter,
                "-c",
                _BOOTSTRAP,
                str(_PACKAGE),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=cwd,
                env=ENVIRONMENT | os.environ | {_MARK: mark},
                limit=_LONGEST_LINE,
            )
        except OSError as error:
            raise WorkerUnusable(f"Cannot start the interpreter {interpreter}: {error}") from error
        worker = cls(process, mark, on_output)
        try:
            said = await worker._ready
        except BaseException:
            await worker.close()
            raise
        if said["event"] == "ready":
            found = Environment(interpreter, said["python"], said["torch"], said["torchao"])
            return worker, found
        # Closing the worker also reads the rest of its output.
        await worker.close()
        output = [line for line in worker._last_lines if line.strip()]
        if said["event"] != "died":
            raise WorkerUnusable(said["message"], output)
        reason = f"{interpreter}: {said['reason']} as it started"
        if output:
            # Python prints the reason last.
            reason += f": {output[-1].strip()[:_LONGEST_REASON]}"
        elif process.returncode is not None and process.returncode >= 0:
            reason += ", and wrote nothing; is it a Python?"
        raise WorkerUnusable(reason, output)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._tasks[0].done()

    async def run(
        self,
        request: RunRequest,
        on_stage: Callable[[str], None],
        deadline_s: float | None = None,
        on_advice: Callable[[Advice], None] | None = None,
    ) -> Report:
        """Run a request, and return its report, which is not judged yet.

        ``on_advice`` is called with the advice so far, whenever the search has found something.

        Cancelling this coroutine kills the run and what it has started. So does the deadline; the
        report then says at which line the run was.
        """
        run, self._next_run = self._next_run, self._next_run + 1
        future: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        if not self.alive:
            return _died(request, "the worker process is gone")
        self._runs[run] = _Pending(future, request, on_stage, on_advice)
        self._output_left = _MOST_OUTPUT
        self._send({"run": run, "request": asdict(request)})
        try:
            await asyncio.wait([future], timeout=deadline_s)
            if future.done():
                return future.result()
            self._send({"interrupt": run})
            await asyncio.wait([future], timeout=_PATIENCE_S)
            if not future.done():
                self._cancel(run)
        except asyncio.CancelledError:
            self._cancel(run)
            raise
        return _overdue(request, deadline_s, future.result() if future.done() else None)

    async def close(self) -> None:
        """End the worker and every run in it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _PATIENCE_S)
        except asyncio.TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        # Its last output is still read; but a process that the worker left behind may hold the pipes open.
        _, reading = await asyncio.wait(self._tasks, timeout=_PATIENCE_S)
        for task in reading:
            task.cancel()

    def _send(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        # Never wait for the worker to read: a stuck worker does not.
        self._process.stdin.write(wire.encode(message))

    def _cancel(self, run: int) -> None:
        """Have the worker kill a run. The worker itself is killed if it does not confirm that."""
        self._send({"cancel": run})
        asyncio.get_running_loop().call_later(_PATIENCE_S, self._insist, run)

    def _insist(self, run: int) -> None:
        if run in self._runs and self.alive:
            log.warning("the worker does not answer any more: it is killed")
            self._process.kill()

    async def _read_events(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            try:
                self._receive(wire.decode(line))
            except (ValueError, KeyError, TypeError) as error:
                # The user's code may have written to our pipe. The runs go on.
                log.warning("the worker said something that is no event: %s", error)
        # A worker that was killed could not end its processes. They may hold our pipes open, and asyncio
        # waits until all of these are closed.
        await asyncio.to_thread(_kill_marked, self._mark)
        reason = f"the worker process {wire.ending(await self._process.wait())}"
        if not self._ready.done():
            self._ready.set_result({"event": "died", "reason": reason})
        for pending in self._runs.values():
            if not pending.future.done():
                pending.future.set_result(_died(pending.request, reason))
        self._runs.clear()

    def _receive(self, message: dict[str, Any]) -> None:
        event = message["event"]
        log.debug("worker %d says %s of run %s", self._process.pid, event, message.get("run"))
        if event in ("ready", "unusable"):
            if not self._ready.done():
                self._ready.set_result(message)
        elif message["run"] in self._runs:
            pending = self._runs[message["run"]]
            future, request = pending.future, pending.request
            if event == "stage":
                pending.on_stage(message["stage"])
                return
            if event == "advice":
                if pending.on_advice is not None:
                    pending.on_advice(from_json(Advice, message["advice"]))
                return
            del self._runs[message["run"]]
            if event == "report":
                try:
                    future.set_result(from_json(Report, message.get("report")))
                except ValueError as error:
                    future.set_result(_died(request, f"its report cannot be read ({error})"))
            elif event == "died":
                line = message["line"]
                future.set_result(
                    _died(
                        request,
                        message["reason"],
                        None if line is None else from_json(Span, line),
                        message["stack"],
                    )
                )
            else:
                future.cancel()

    async def _read_output(self, on_output: Callable[[str], None]) -> None:
        assert self._process.stderr is not None
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        pending = ""
        while data := await self._process.stderr.read(_CHUNK):
            if self._output_left <= 0:
                # A model may print megabytes a second, which no client can show.
                continue
            self._output_left -= len(data)
            *lines, pending = (pending + decoder.decode(data)).split("\n")
            if len(pending) > _CHUNK:
                lines, pending = [*lines, pending], ""
            for line in lines:
                self._last_lines.append(line.rstrip())
                on_output(line.rstrip())
            if self._output_left <= 0:
                on_output("… (what else is printed is left out, up to the next run)")
                pending = ""
        if pending:
            self._last_lines.append(pending.rstrip())
            on_output(pending.rstrip())


def _kill_marked(mark: str) -> None:
    """Kill every process that has the mark in its environment. Does nothing on systems other than Linux."""
    entry = f"{_MARK}={mark}".encode()
    killed: set[int] = set()
    before = -1
    # Each process may have started another one meanwhile.
    while len(killed) > before:
        before = len(killed)
        for file in glob.glob("/proc/[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if entry in Path(file).read_bytes().split(b"\0"):
                    process = int(Path(file).parent.name)
                    os.kill(process, signal.SIGKILL)
                    killed.add(process)


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
        "The setting handlens.deadline allows for more."
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
