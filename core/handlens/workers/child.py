"""A process in the user's interpreter, as its client has it: its pipes, what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import logging
import os
import uuid
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from handlens.workers import processes, wire
from handlens.workers.groups import Group

# The interpreter finds this package by its path alone: the user's code must not see anything else that is
# installed beside the package, such as the server's libraries.
_BOOTSTRAP = """
import sys
# Before anything else is imported: the working directory is the workspace, and may have a types.py.
sys.path[:] = [entry for entry in sys.path if entry]
import importlib.util
folder, module, *arguments = sys.argv[1:]
spec = importlib.util.spec_from_file_location(
    "handlens", folder + "/__init__.py", submodule_search_locations=[folder])
package = sys.modules["handlens"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
importlib.import_module("handlens.workers." + module).main(*arguments)
"""
log = logging.getLogger(__name__)

ENVIRONMENT = {
    # Large tensors in huge pages, where the system has them: a comparison allocates many, and spends half
    # its time on page faults otherwise.
    "THP_MEM_ALLOC_ENABLE": "1",
    # OpenMP's threads spin for a few microseconds when they have no work, then sleep. By default they spin
    # for milliseconds, and a comparison takes ten times as long on a machine that does anything else.
    "GOMP_SPINCOUNT": "10000",
    # Torch and torchao ask whether there is a GPU when they are imported. The question must not touch it: a
    # fork could not use it any more.
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
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


class _Pipes(SubprocessStreamProtocol):
    """Tells of the end of a process at once. asyncio waits until nobody holds its pipes open any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_LONGEST_LINE, loop)
        self.exited: asyncio.Future[None] = loop.create_future()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set_result(None)


class Child:
    """A process in the user's interpreter, which imports torch, says that it is ready, and runs targets."""

    def __init__(
        self,
        interpreter: str,
        process: Process,
        exited: asyncio.Future[None],
        mark: str,
        on_output: Callable[[str], None],
    ) -> None:
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        """Called with every event but the first, which says whether the process is ready."""
        self.on_end: Callable[[], None] = lambda: None
        """Called when the process has ended, all it has started was killed, and its events were read."""
        self.on_output = on_output
        """Called with every line that it prints."""
        self.on_other: Callable[[str, Exception], None] = _log
        """Called with every line that is no event, and why it is none."""
        self._interpreter = interpreter
        self._process = process
        self._exited = exited
        self._mark = mark
        """A value in the environment of the process and of all processes that it starts."""
        self._group = Group(process.pid)
        self._output_left = _MOST_OUTPUT
        self._last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._reading = [
            asyncio.create_task(self._read_events()),
            asyncio.create_task(self._read_output()),
        ]
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def start(
        cls,
        interpreter: str,
        module: str,
        on_output: Callable[[str], None],
        cwd: str | None,
        arguments: Iterable[str] = (),
        **options: Any,
    ) -> Child:
        """Start ``main`` of a module of this package in ``interpreter``; ``options`` are those of Popen.

        Raises WorkerUnusable.
        """
        mark = str(uuid.uuid4())
        loop = asyncio.get_running_loop()
        try:
            transport, pipes = await loop.subprocess_exec(
                lambda: _Pipes(loop),
                interpreter,
                *("-c", _BOOTSTRAP, str(_PACKAGE), module, *arguments),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=cwd,
                env=ENVIRONMENT | os.environ | {_MARK: mark},
                **Group.OPTIONS,
                **options,
            )
        except OSError as error:
            raise WorkerUnusable(f"Cannot start the interpreter {interpreter}: {error}") from error
        process = Process(transport, pipes, loop)
        return cls(interpreter, process, pipes.exited, mark, on_output)

    async def ready(self) -> dict[str, Any]:
        """Wait until the process is ready, and return its event. Raises WorkerUnusable."""
        try:
            said = await asyncio.shield(self._ready)
        except BaseException:
            await self.close()
            raise
        if said["event"] == "ready":
            return said
        # Closing also reads the rest of the output.
        await self.close()
        output = [line for line in self._last_lines if line.strip()]
        if said["event"] != "died":
            raise WorkerUnusable(said["message"], output)
        reason = f"{self._interpreter}: {said['reason']} as it started"
        if output:
            # Python prints the reason last.
            reason += f": {output[-1].strip()[:_LONGEST_REASON]}"
        elif not wire.is_killed(self.status):
            reason += ", and wrote nothing; is it a Python?"
        raise WorkerUnusable(reason, output)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    @property
    def status(self) -> int:
        """How the process has ended: its exit status, or a negative signal."""
        assert self._process.returncode is not None
        return self._process.returncode

    def allow_output(self) -> None:
        """Pass on as much of what is printed from now on as a run may print."""
        self._output_left = _MOST_OUTPUT

    def send(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        # Never wait for the process to read: a stuck one does not.
        self._process.stdin.write(wire.encode(message))

    def kill(self) -> None:
        """Kill the process and what it has started. Returns at once."""
        if self.alive:
            self._group.kill()
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def close(self) -> None:
        """End the process by closing its requests; kill it if that takes too long."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        _, waiting = await asyncio.wait([self._exited], timeout=_PATIENCE_S)
        if waiting:
            self.kill()
        await self.ended()

    async def ended(self) -> None:
        """Wait for the end of the process, and for the last of what it wrote."""
        await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        await asyncio.wait([self._exited])
        # A process that was killed could not end those that it has started.
        self._group.end()
        await asyncio.to_thread(processes.kill_marked, f"{_MARK}={self._mark}")
        # A process that could not be found may hold the pipes open.
        _, reading = await asyncio.wait(self._reading, timeout=_PATIENCE_S)
        for task in reading:
            task.cancel()
        if not self._ready.done():
            reason = f"the worker process {wire.ending(self.status)}"
            self._ready.set_result({"event": "died", "reason": reason})
        self.on_end()

    async def _read_events(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            try:
                self._receive(wire.decode(line))
            except (ValueError, KeyError, TypeError) as error:
                # The user's code may have written to our pipe. The runs go on.
                self.on_other(line[:_CHUNK].decode("ascii", "replace"), error)

    def _receive(self, message: dict[str, Any]) -> None:
        event = message["event"]
        log.debug("worker %d says %s of run %s", self._process.pid, event, message.get("run"))
        if event not in ("ready", "unusable"):
            self.on_event(message)
        elif not self._ready.done():
            if event == "ready":
                # Where an interpreter is started by a launcher, it is another process.
                self._group.add(message["process"])
            self._ready.set_result(message)

    async def _read_output(self) -> None:
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
                self.on_output(line.rstrip())
            if self._output_left <= 0:
                self.on_output("… (what else is printed is left out, up to the next run)")
                pending = ""
        if pending:
            self._last_lines.append(pending.rstrip())
            self.on_output(pending.rstrip())


def _log(line: str, error: Exception) -> None:
    log.warning("the worker said something that is no event: %s", error)
