"""The worker process: serves runs to another process over private pipes (see ``protocol``).

It lives in the user's interpreter, so it needs the standard library, torch and torchao, nothing else.
It imports torch once; every run is then a fork, so that no state leaks from one run to the next and a
run can be killed at any moment. The parent never executes the user's code. A run may stay behind after
the export of its model, and fork again for another recipe.

What a run has started ends with it. What has left its process group is handed up by the system when the
process that started it ends (``processes.adopt_orphans``), to the run or, if that is gone, to the parent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import platform
import select
import selectors
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from handlens.workers import processes, wire

if TYPE_CHECKING:
    from handlens.report import Span

# Each takes the memory of a model; people go back and forth between a few recipes of one or two.
_MOST_KEPT = 2


def main() -> None:
    """Serve until standard input ends."""
    requests, events = _take_pipes()
    # Control-C in a terminal reaches the whole process group; who started us decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nobody hears the end of the requests while torch is imported.
    processes.end_with_parent()
    if _is_hung_up(requests):
        # It came before that.
        return
    try:
        import torch
        import torchao
        import torchao.quantization.pt2e.quantize_pt2e

        import handlens.workers.run  # noqa: F401
        from handlens.workers.warming import warm_up
    except ImportError as error:
        wire.write(events, {"event": "unusable", "message": _advice(error)})
        return
    warm_up()
    # What is here stays, and no run looks for garbage in it: that would copy every page of it.
    gc.collect()
    gc.freeze()
    versions = {"torch": str(torch.__version__), "torchao": str(torchao.__version__)}
    wire.write(events, {"event": "ready", "python": platform.python_version(), **versions})
    # From here on there are runs, to be ended first.
    processes.end_with_parent(False)
    _Runs(requests, events).serve()


def _advice(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name in ("torch", "torchao"):
        return (
            f"{error.name} is not installed in {sys.executable}. "
            f"Run `{sys.executable} -m pip install torch torchao`, or choose another interpreter."
        )
    # Part of it is missing, or what it needs: the way there says of what.
    traceback.print_exc()
    return f"The worker cannot be imported in {sys.executable}: {error}"


def _take_pipes() -> tuple[int, int]:
    """Keep standard input and output for ourselves; the user's code gets nothing and stderr."""
    requests, events = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, events


def _is_hung_up(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


class _Run:
    """A forked run as its parent sees it; the process may outlive the run, to keep what it exported."""

    def __init__(
        self,
        number: int,
        request: dict[str, Any],
        process: int,
        pipe: int,
        control: int,
        stack: int,
    ) -> None:
        self.number = number
        self.request = request
        self.process = process
        self.pipe = pipe
        self.control = control
        """Where a process that keeps an export gets the next request from."""
        self.stack = stack
        """Where it writes its stack when it dies."""
        self.continuation: int | None = None
        """The process that goes on from the export, if that is kept."""
        self.idle = False
        """That process has ended, and the one that keeps the export waits for another request."""
        self.resumed = False
        """It was handed another request, and has not begun with it."""
        self.pending = bytearray()
        self.ended = False
        """It has said its last word (report or cancelled)."""
        self.killed = False

    @property
    def keeps(self) -> bool:
        """Whether it can be handed another request."""
        return self.ended and not self.killed and (self.idle or self.continuation is not None)

    def kill(self) -> None:
        """Kill it, not yet waited for, with everything it started."""
        processes.kill_group(self.process)
        # It may not have come as far as making its own group.
        os.kill(self.process, signal.SIGKILL)
        if self.continuation is not None:
            processes.kill_group(self.continuation)
            self.continuation = None
        # Until it is waited for it is there, but nothing can go on from it, whatever it has said before.
        self.killed = True

    def close(self) -> None:
        """Close our ends of its pipes."""
        for fd in (self.pipe, self.control, self.stack):
            os.close(fd)


# A process keeps the memory limit that it exported under.
_EXPORTED = ("target", "text", "workspace", "unsaved", "memory_limit_mib")


def _model(request: dict[str, Any]) -> str:
    """What two requests have in common whose exports are the same, whatever the recipe."""
    return json.dumps([request.get(key) for key in _EXPORTED])


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
        self._deaths, self._alarm = os.pipe()
        os.set_blocking(self._deaths, False)
        os.set_blocking(self._alarm, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._alarm, warn_on_full_buffer=False)
        processes.adopt_orphans()

    def serve(self) -> None:
        """Serve until nobody asks or listens any more, and leave with every run."""
        status = 1
        try:
            with contextlib.suppress(BrokenPipeError):
                self._listen()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            for run in self._runs:
                run.kill()
            processes.end_children()
            # Nothing is left to say, and torch takes a second to take itself apart.
            os._exit(status)

    def _listen(self) -> None:
        self._selector.register(self._requests, selectors.EVENT_READ)
        self._selector.register(self._deaths, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._requests:
                    data = os.read(self._requests, 1 << 16)
                    if not data:
                        return
                    self._receive(data)
                elif key.fd == self._deaths:
                    os.read(self._deaths, 1 << 10)
                    self._reap()
                elif key.fd in self._by_pipe:
                    self._relay(self._by_pipe[key.fd])

    def _receive(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            message = wire.decode(line)
            if "cancel" in message:
                self._cancel(message["cancel"])
            elif "interrupt" in message:
                self._interrupt(message["interrupt"])
            elif not self._continue(message["run"], message["request"]):
                self._start(message["run"], message["request"])

    def _continue(self, number: int, request: dict[str, Any]) -> bool:
        """Go on from an export that was kept, if there is one that will do."""
        for run in self._runs:
            if request.get("reuse_export") and run.keeps and _model(run.request) == _model(request):
                run.number, run.request = number, request
                run.continuation, run.idle, run.ended, run.resumed = None, False, False, True
                # If it is dead, we shall hear of it.
                with contextlib.suppress(BrokenPipeError):
                    wire.write(run.control, {"run": number, "request": request})
                return True
        return False

    def _start(self, number: int, request: dict[str, Any]) -> None:
        if request.get("keep_export"):
            self._make_room(request)
        opened: list[int] = []
        try:
            for _ in range(3):
                opened += os.pipe()
            process = os.fork()
        except OSError as error:
            for fd in opened:
                os.close(fd)
            self._tell_death(number, f"its process cannot be started ({error})")
            return
        pipe, child_pipe, child_control, control, stack, child_stack = opened
        if process == 0:
            try:
                from handlens.workers import run as forked_run

                self._selector.close()
                for fd in (self._requests, self._events, self._deaths, self._alarm):
                    os.close(fd)
                for run in self._runs:
                    run.close()
                for fd in (pipe, control, stack):
                    os.close(fd)
                forked_run.run(number, request, child_pipe, child_control, child_stack)
            finally:
                # Never back into the parent's loop.
                os._exit(1)
        for fd in (child_pipe, child_control, child_stack):
            os.close(fd)
        os.set_blocking(pipe, False)
        os.set_blocking(stack, False)
        run = _Run(number, request, process, pipe, control, stack)
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
                wire.write(self._events, {"event": "cancelled", "run": number})

    def _interrupt(self, number: int) -> None:
        """Let a run die by itself, so that it says where it was."""
        from handlens.workers.crashes import INTERRUPT

        for run in self._runs:
            if run.number == number and not run.ended:
                run.resumed = False
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(run.continuation or run.process, INTERRUPT)

    def _relay(self, run: _Run) -> None:
        """Pass on the whole lines that a run wrote; half a line of a killed run goes nowhere."""
        try:
            # No pipe holds more than this: once its writer is gone, nothing is left behind.
            data = os.read(run.pipe, 1 << 20)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(run.pipe)
            del self._by_pipe[run.pipe]
            return
        run.pending += data
        if b"\n" not in data:
            return
        *lines, run.pending = run.pending.split(b"\n")
        for line in lines:
            self._hear(run, bytes(line))

    def _hear(self, run: _Run, line: bytes) -> None:
        """Take one line that a run wrote."""
        try:
            event = wire.decode(line)
        except ValueError:
            return
        # The user's code can find this pipe; what is not an event of this run stays here.
        if event.get("run") != run.number:
            return
        kind = event.get("event")
        if kind == "idle":
            run.continuation, run.idle = None, True
        if run.ended:
            return
        if kind in ("stage", "report"):
            run.ended = kind == "report"
            wire.write_line(self._events, line)
            if run.ended and run.continuation is None and run in self._runs:
                # Whatever it may still do is of no use to anybody.
                run.kill()
        elif kind == "kept" and type(event.get("process")) is int:
            run.continuation, run.resumed = event["process"], False
        elif kind == "outdated":
            run.ended = True
            self._start(run.number, run.request)
        elif kind == "idle":
            # It has ended as well as a process can, and yet gave no report.
            run.ended = True
            self._tell_death(run.number, f"its process {wire.ending(0)}")

    def _reap(self) -> None:
        dead: list[tuple[_Run, int]] = []
        with contextlib.suppress(ChildProcessError):
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if process == 0:
                    break
                dead += [(run, status) for run in self._runs if run.process == process]
        for run, _ in dead:
            processes.kill_group(run.process)
            self._runs.remove(run)
        # What has been handed up to us has lost its run.
        processes.kill_children(keep={run.process for run in self._runs})
        for run, status in dead:
            self._bury(run, os.waitstatus_to_exitcode(status))

    def _bury(self, run: _Run, status: int) -> None:
        """Hear the last words of a run whose process has ended, and tell if there are none."""
        if run.pipe in self._by_pipe:
            self._relay(run)
        if self._by_pipe.pop(run.pipe, None) is not None:
            self._selector.unregister(run.pipe)
        stack = b""
        with contextlib.suppress(BlockingIOError):
            stack = os.read(run.stack, 1 << 20)
        run.close()
        if run.ended:
            return
        if run.resumed:
            # What it kept is lost, but nothing of the request.
            self._start(run.number, run.request)
        elif status < 0 and stack:
            from handlens.dataclass_json import from_json
            from handlens.request import RunRequest
            from handlens.workers import crashes

            written = stack.decode("ascii", "replace")
            line = crashes.line(written, from_json(RunRequest, run.request))
            self._tell_death(run.number, f"its process {wire.ending(status)}", line, written)
        else:
            # What was written is of a process that it had started.
            self._tell_death(run.number, f"its process {wire.ending(status)}")

    def _tell_death(
        self, number: int, reason: str, line: Span | None = None, stack: str = ""
    ) -> None:
        place = line and dataclasses.asdict(line)
        wire.write(
            self._events,
            {"event": "died", "run": number, "reason": reason, "line": place, "stack": stack},
        )


if __name__ == "__main__":
    main()
