"""The worker process: serves runs to another process over private pipes (see ``protocol``).

It lives in the user's interpreter, so it needs the standard library, torch and torchao, nothing else.
It imports torch once; every run is then a fork, so that no state leaks from one run to the next and a
run can be killed at any moment. The parent never executes the user's code.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import selectors
import signal
import sys
import traceback
from typing import Any

from handlens import protocol

_PR_SET_PDEATHSIG = 1


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
    except ImportError as error:
        _write(events, {"event": "unusable", "message": _advice(error)})
        return
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
    data = memoryview(protocol.encode(message))
    while data:
        data = data[os.write(pipe, data) :]


class _Run:
    """A forked run as its parent sees it."""

    def __init__(self, number: int, process: int, pipe: int) -> None:
        self.number = number
        self.process = process
        self.pipe = pipe
        self.pending = b""
        self.ended = False
        """It has said its last word (report or cancelled)."""


class _Runs:
    """The parent's loop: requests in, events of the runs out, a word about every run that dies."""

    def __init__(self, requests: int, events: int) -> None:
        self._requests = requests
        self._events = events
        self._selector = selectors.DefaultSelector()
        self._buffer = b""
        self._runs: dict[int, _Run] = {}
        self._by_pipe: dict[int, _Run] = {}
        # A grandchild may hold a run's pipe open: the end of a run is told by its process, not its pipe.
        self._deaths, alarm = os.pipe()
        os.set_blocking(self._deaths, False)
        os.set_blocking(alarm, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)

    def serve(self) -> None:
        self._selector.register(self._requests, selectors.EVENT_READ)
        self._selector.register(self._deaths, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._requests:
                    data = os.read(self._requests, 1 << 16)
                    if not data:
                        for run in self._runs.values():
                            _kill(run.process)
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
            else:
                self._start(message["run"], message["request"])

    def _start(self, number: int, request: dict[str, Any]) -> None:
        pipe, child_pipe = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(pipe)
            for fd in (self._requests, self._events, self._deaths):
                os.close(fd)
            _run_child(number, request, child_pipe)
        os.close(child_pipe)
        os.set_blocking(pipe, False)
        run = _Run(number, process, pipe)
        self._runs[number] = self._by_pipe[pipe] = run
        self._selector.register(pipe, selectors.EVENT_READ)

    def _cancel(self, number: int) -> None:
        run = self._runs.get(number)
        if run is not None and not run.ended:
            run.ended = True
            _kill(run.process)
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
                if run.ended:
                    continue
                try:
                    event = protocol.decode(line)
                except ValueError:
                    event = {}
                # The user's code can find this pipe; what is not an event of this run stays here.
                if event.get("run") == run.number and event.get("event") in ("stage", "report"):
                    run.ended = event["event"] == "report"
                    _write(self._events, event)

    def _reap(self) -> None:
        for run in list(self._runs.values()):
            process, status = os.waitpid(run.process, os.WNOHANG)
            if process == 0:
                continue
            if run.pipe in self._by_pipe:
                self._relay(run)
            _kill_group(run.process)
            if run.pipe in self._by_pipe:
                self._selector.unregister(run.pipe)
                del self._by_pipe[run.pipe]
            os.close(run.pipe)
            del self._runs[run.number]
            if not run.ended:
                _write(
                    self._events,
                    {"event": "died", "run": run.number, "reason": _reason(status)},
                )


def _kill(process: int) -> None:
    """Kill a run, not yet waited for, with everything it started."""
    _kill_group(process)
    # It may not have come as far as making its own group.
    os.kill(process, signal.SIGKILL)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _reason(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"its process was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"its process ended with exit status {os.WEXITSTATUS(status)}"


def _run_child(number: int, request: dict[str, Any], pipe: int) -> None:
    """The forked side: run, report, and leave without anybody's exit handlers."""
    status = 1
    try:
        os.setsid()
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from handlens.report import from_json, to_json
        from handlens.session import run

        def on_stage(stage: str) -> None:
            _write(pipe, {"event": "stage", "run": number, "stage": stage})

        report = run(from_json(protocol.RunRequest, request), on_stage)
        _write(pipe, {"event": "report", "run": number, "report": to_json(report)})
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
