"""Launch a worker in somebody's interpreter, and run targets in it."""

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

from handlens.dataclass_json import from_json
from handlens.report import Failure, Report, Span, failed
from handlens.request import RunRequest
from handlens.workers import wire

# The interpreter finds this package by its path alone. Nothing else that is installed beside it (the
# server's libraries, say) may come into view of the user's code.
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
from handlens.workers.parent import main
main()
"""
log = logging.getLogger(__name__)

ENVIRONMENT = {
    # Large tensors in huge pages, where the system has them: a comparison allocates many, and spends half
    # its time on page faults otherwise.
    "THP_MEM_ALLOC_ENABLE": "1",
    # OpenMP's threads wait a few microseconds for their next work, then sleep. By default they turn for
    # milliseconds, and a comparison beside anything else that is at work takes ten times as long.
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
    """What a worker said of its interpreter."""

    interpreter: str
    python: str
    torch: str
    torchao: str


class Worker:
    """A live worker process. Its runs are independent of each other, each in a process of its own."""

    def __init__(
        self, process: asyncio.subprocess.Process, mark: str, on_output: Callable[[str], None]
    ) -> None:
        self._process = process
        self._mark = mark
        """In the environment of the worker and of all that it starts."""
        self._output_left = _MOST_OUTPUT
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._runs: dict[int, tuple[asyncio.Future[Report], RunRequest, Callable[[str], None]]] = {}
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
        """A worker in ``interpreter``, once it has imported torch (about two seconds).

        ``on_output`` gets every line that the worker and the user's code print.
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
        # By then all that it wrote has been read.
        await worker.close()
        output = [line for line in worker._last_lines if line.strip()]
        if said["event"] != "died":
            raise WorkerUnusable(said["message"], output)
        reason = f"{interpreter}: {said['reason']} as it started"
        if output:
            # Python says last what went wrong.
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
    ) -> Report:
        """The report of one run. Cancelling this coroutine kills the run and what it started; so does the
        deadline, and the report says where it was by then."""
        run, self._next_run = self._next_run, self._next_run + 1
        future: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        if not self.alive:
            return _died(request, "the worker process is gone")
        self._runs[run] = future, request, on_stage
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
        # What it said last is still read; but a process that it left behind may hold the pipes open.
        _, reading = await asyncio.wait(self._tasks, timeout=_PATIENCE_S)
        for task in reading:
            task.cancel()

    def _send(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        # Who waits until it is taken waits for a worker that may be stuck.
        self._process.stdin.write(wire.encode(message))

    def _cancel(self, run: int) -> None:
        """Have a run killed; if the worker does not confirm that, with the worker."""
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
                # Whoever wrote this to our pipe, the runs go on.
                log.warning("the worker said something that is no event: %s", error)
        # Who is killed has no time to end what he has started. That may have our pipes open, and asyncio
        # waits for them as well.
        await asyncio.to_thread(_kill_marked, self._mark)
        reason = f"the worker process {wire.ending(await self._process.wait())}"
        if not self._ready.done():
            self._ready.set_result({"event": "died", "reason": reason})
        for future, request, _ in self._runs.values():
            if not future.done():
                future.set_result(_died(request, reason))
        self._runs.clear()

    def _receive(self, message: dict[str, Any]) -> None:
        event = message["event"]
        if event in ("ready", "unusable"):
            if not self._ready.done():
                self._ready.set_result(message)
        elif message["run"] in self._runs:
            future, request, on_stage = self._runs[message["run"]]
            if event == "stage":
                on_stage(message["stage"])
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
                # Megabytes a second may come; nobody reads them, and the client would have to show them.
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
    """Kill every process with a mark in its environment, on Linux, where that can be seen."""
    entry = f"{_MARK}={mark}".encode()
    killed: set[int] = set()
    before = -1
    # Each may have started another one since.
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
    """The report of a run that took too long, from the one that it ended with, if it came to that."""
    message = (
        f"{request.target.name} was killed: it ran for more than {deadline_s:g} s. "
        "The setting handlens.deadline allows for more."
    )
    if ended is None:
        return _killed(request, message)
    if ended.error is None or ended.error.rule != "HL304":
        return ended
    return _killed(request, message, ended.error.span, ended.error.traceback)


def _killed(request: RunRequest, message: str, line: Span | None = None, stack: str = "") -> Report:
    target = request.target
    error = Failure("HL304", message, line, stack)
    return failed(target.name, target.file, request.recipe or "", error)
