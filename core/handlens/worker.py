"""The worker process: serves runs to another process over private pipes (see ``protocol``).

It lives in the user's interpreter, so it needs the standard library, torch and torchao, nothing else.
It imports torch once; every run is then a fork, so that no state leaks from one run to the next and a
run can be killed at any moment. The parent never executes the user's code. A run may stay behind after
the export of its model, and fork again for another recipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import platform
import resource
import selectors
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from handlens import protocol

if TYPE_CHECKING:
    from handlens import exports

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

# Each takes the memory of a model; people go back and forth between a few recipes of one or two.
_MOST_KEPT = 2


def main() -> None:
    """Serve until standard input ends."""
    requests, events = _take_pipes()
    # Control-C in a terminal reaches the whole process group; who started us decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import torch
        import torchao
        import torchao.quantization.pt2e.quantize_pt2e

        import handlens.session  # noqa: F401
        from handlens.warming import warm_up
    except ImportError as error:
        _write(events, {"event": "unusable", "message": _advice(error)})
        return
    warm_up()
    # What is here stays, and no run looks for garbage in it: that would copy every page of it.
    gc.collect()
    gc.freeze()
    versions = {"torch": str(torch.__version__), "torchao": str(torchao.__version__)}
    _write(events, {"event": "ready", "python": platform.python_version(), **versions})
    _Runs(requests, events).serve()


def _advice(error: ImportError) -> str:
    missing = error.name or ""
    if missing.split(".")[0] in ("torch", "torchao"):
        return (
            f"{missing.split('.')[0]} is not installed there. "
            f"Run `{sys.executable} -m pip install torch torchao`, or choose another interpreter."
        )
    return f"the worker cannot be imported there: {error}"


def _take_pipes() -> tuple[int, int]:
    """Keep standard input and output for ourselves; the user's code gets nothing and stderr."""
    requests, events = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, events


def _write(pipe: int, message: dict[str, Any]) -> None:
    _write_line(pipe, protocol.encode(message).removesuffix(b"\n"))


def _write_line(pipe: int, line: bytes) -> None:
    data = memoryview(line + b"\n")
    while data:
        data = data[os.write(pipe, data) :]


class _Run:
    """A forked run as its parent sees it; the process may outlive the run, to keep what it exported."""

    def __init__(
        self, number: int, request: dict[str, Any], process: int, pipe: int, control: int
    ) -> None:
        self.number = number
        self.request = request
        self.process = process
        self.pipe = pipe
        self.control = control
        """Where a process that keeps an export gets the next request from."""
        self.continuation: int | None = None
        """The process that goes on from the export, if that is kept."""
        self.pending = b""
        self.ended = False
        """It has said its last word (report or cancelled)."""

    @property
    def keeps(self) -> bool:
        """Whether it waits for another request."""
        return self.ended and self.continuation is not None

    def kill(self) -> None:
        """Kill it, not yet waited for, with everything it started."""
        _kill_group(self.process)
        # It may not have come as far as making its own group.
        os.kill(self.process, signal.SIGKILL)
        if self.continuation is not None:
            _kill_group(self.continuation)
            # Until it is waited for it is there, but nothing can go on from it.
            self.continuation = None


def _model(request: dict[str, Any]) -> str:
    """What two requests have in common that run the same model, whatever the recipe."""
    return json.dumps([request.get(key) for key in ("target", "text", "workspace", "unsaved")])


class _Runs:
    """The parent's loop: requests in, events of the runs out, a word about every run that dies."""

    def __init__(self, requests: int, events: int) -> None:
        self._requests = requests
        self._events = events
        self._selector = selectors.DefaultSelector()
        self._buffer = b""
        self._runs: list[_Run] = []
        self._by_pipe: dict[int, _Run] = {}
        # A grandchild may hold a run's pipe open: the end of a run is told by its process, not its pipe.
        self._deaths, alarm = os.pipe()
        os.set_blocking(self._deaths, False)
        os.set_blocking(alarm, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        # What outlives the run that started it is ours to wait for: in a container nobody else may.
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def serve(self) -> None:
        self._selector.register(self._requests, selectors.EVENT_READ)
        self._selector.register(self._deaths, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._requests:
                    data = os.read(self._requests, 1 << 16)
                    if not data:
                        for run in self._runs:
                            run.kill()
                        # Nothing is left to say, and torch takes a second to take itself apart.
                        os._exit(0)
                    self._receive(data)
                elif key.fd == self._deaths:
                    os.read(self._deaths, 1 << 10)
                    self._reap()
                elif key.fd in self._by_pipe:
                    self._relay(self._by_pipe[key.fd])

    def _receive(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = protocol.decode(line)
            if "cancel" in message:
                self._cancel(message["cancel"])
            elif not self._continue(message["run"], message["request"]):
                self._start(message["run"], message["request"])

    def _continue(self, number: int, request: dict[str, Any]) -> bool:
        """Go on from an export that was kept, if there is one that will do."""
        for run in self._runs:
            if request.get("reuse_export") and run.keeps and _model(run.request) == _model(request):
                run.number, run.request = number, request
                run.continuation, run.ended = None, False
                _write(run.control, {"run": number, "request": request})
                return True
        return False

    def _start(self, number: int, request: dict[str, Any]) -> None:
        if request.get("keep_export"):
            self._make_room(request)
        pipe, child_pipe = os.pipe()
        child_control, control = os.pipe()
        process = os.fork()
        if process == 0:
            for fd in (pipe, control, self._requests, self._events, self._deaths):
                os.close(fd)
            for run in self._runs:
                os.close(run.control)
            _run_child(number, request, child_pipe, child_control)
        os.close(child_pipe)
        os.close(child_control)
        os.set_blocking(pipe, False)
        run = _Run(number, request, process, pipe, control)
        self._runs.append(run)
        self._by_pipe[pipe] = run
        self._selector.register(pipe, selectors.EVENT_READ)

    def _make_room(self, request: dict[str, Any]) -> None:
        """Drop what is kept of the same target, and of the oldest ones."""
        keeping = [run for run in self._runs if run.keeps]
        for run in keeping[: max(0, len(keeping) + 1 - _MOST_KEPT)]:
            run.kill()
        for run in keeping:
            if run.request["target"] == request["target"]:
                run.kill()

    def _cancel(self, number: int) -> None:
        for run in self._runs:
            if run.number == number and not run.ended:
                run.ended = True
                run.kill()
                _write(self._events, {"event": "cancelled", "run": number})

    def _relay(self, run: _Run) -> None:
        """Pass on the whole lines that a run wrote; half a line of a killed run goes nowhere."""
        while True:
            try:
                data = os.read(run.pipe, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                self._selector.unregister(run.pipe)
                del self._by_pipe[run.pipe]
                return
            *lines, run.pending = (run.pending + data).split(b"\n")
            for line in lines:
                if not run.ended:
                    self._hear(run, line)

    def _hear(self, run: _Run, line: bytes) -> None:
        """Take one line that a run wrote."""
        try:
            event = protocol.decode(line)
        except ValueError:
            return
        # The user's code can find this pipe; what is not an event of this run stays here.
        if event.get("run") != run.number:
            return
        if event.get("event") in ("stage", "report"):
            run.ended = event["event"] == "report"
            _write_line(self._events, line)
        elif event.get("event") == "kept" and type(event.get("process")) is int:
            run.continuation = event["process"]
        elif event.get("event") == "outdated":
            run.ended = True
            self._start(run.number, run.request)

    def _reap(self) -> None:
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            run = next((each for each in self._runs if each.process == process), None)
            if run is None:
                continue
            if run.pipe in self._by_pipe:
                self._relay(run)
            _kill_group(run.process)
            if run.pipe in self._by_pipe:
                self._selector.unregister(run.pipe)
                del self._by_pipe[run.pipe]
            os.close(run.pipe)
            os.close(run.control)
            self._runs.remove(run)
            if not run.ended:
                _write(
                    self._events,
                    {"event": "died", "run": run.number, "reason": _reason(status)},
                )


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _reason(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"its process was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"its process ended with exit status {os.WEXITSTATUS(status)}"


def _run_child(number: int, request: dict[str, Any], pipe: int, control: int) -> None:
    """The forked side: run, report, and leave without anybody's exit handlers."""
    status = 1
    try:
        _be_alone()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from handlens import exports
        from handlens.protocol import RunRequest
        from handlens.report import from_json, to_json
        from handlens.session import Session

        asked = from_json(RunRequest, request)
        if asked.memory_limit_mib is not None:
            _limit_memory(asked.memory_limit_mib)

        def on_stage(stage: str) -> None:
            _write(pipe, {"event": "stage", "run": number, "stage": stage})

        read = exports.FilesRead() if asked.keep_export else None
        session = Session(asked, on_stage)
        report = session.export()
        if report is None:
            if read is not None and exports.can_be_kept():
                read.add(session.files())
                number, other = _keep(number, pipe, control, read)
                asked = from_json(RunRequest, other) if other is not None else asked
            report = session.compare(asked)
        _write(pipe, {"event": "report", "run": number, "report": to_json(report)})
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _flush()
        os._exit(status)


def _keep(
    number: int, pipe: int, control: int, read: exports.FilesRead
) -> tuple[int, dict[str, Any] | None]:
    """Keep what this process has exported, and go on from there in a process of its own for each request.

    Returns in those only: the number of the run, and its request (None in the first, which has it).
    """
    request = None
    gc.freeze()
    # What was printed and not written yet would be written once by every process.
    _flush()
    with os.fdopen(control, "rb") as requests:
        while True:
            process = os.fork()
            if process == 0:
                _be_alone()
                _write(pipe, {"event": "kept", "run": number, "process": os.getpid()})
                return number, request
            _, status = os.waitpid(process, 0)
            _kill_group(process)
            if os.WIFSIGNALED(status):
                # The worker is to hear of it as if there had been no process in between.
                with contextlib.suppress(OSError):
                    signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
                os.kill(os.getpid(), os.WTERMSIG(status))
            if status != 0:
                os._exit(os.waitstatus_to_exitcode(status))
            line = requests.readline()
            if not line:
                os._exit(0)
            message = protocol.decode(line)
            number, request = message["run"], message["request"]
            if read.has_changed():
                _write(pipe, {"event": "outdated", "run": number})
                os._exit(0)


def _flush() -> None:
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)


def _be_alone() -> None:
    """Be the leader of a group that is killed as one, and end with the process that forked this one."""
    parent = os.getppid()
    os.setsid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _limit_memory(mebibytes: int) -> None:
    """Let an allocation fail that takes this process further above what it has now."""
    with open("/proc/self/status") as status:
        [now] = [line.split()[1] for line in status if line.startswith("VmData:")]
    limit = int(now) * 1024 + mebibytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
