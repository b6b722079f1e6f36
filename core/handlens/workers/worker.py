"""A worker that forks: runs targets for its client, over private pipes (see ``wire``).

The worker lives in the user's interpreter, so it needs the standard library, torch and torchao, nothing
else. It imports torch once and forks for every run: no state leaks from one run to the next, and a run can
be killed at any moment. The worker itself never executes the user's code. A run may stay alive after the
export of its model, and fork again for another recipe.

Processes that a run has started end with the run. The system hands those that have left its process group
to the run when their own parent ends (``processes.adopt_orphans``), or to the worker if the run is gone.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

from handlens.workers import processes, readiness, wire
from handlens.workers.forked_run import INTERRUPT, ForkedRun

if TYPE_CHECKING:
    from handlens.report import Span

# Each held export takes the memory of a model. People go back and forth between the recipes of one or two.
_MOST_HELD = 2

# Bytes of the reports that later runs may take over. Those of a model of a thousand ops take two million.
_MOST_EARLIER = 1 << 26


def main() -> None:
    """Serve until standard input ends."""
    requests, events = readiness.take_pipes()
    # While torch is imported, nobody notices that the client has closed the requests.
    processes.end_with_parent()
    if _is_hung_up(requests):
        # The client was gone before that.
        return
    if readiness.get_ready(events, forks=True):
        # From here on the worker ends its runs before it ends.
        processes.end_with_parent(False)
        _Runs(requests, events).serve()


def _is_hung_up(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(0))


class _Runs:
    """The worker's loop: reads requests, forwards the events of runs, and reports every run that dies."""

    def __init__(self, requests: int, events: int) -> None:
        self._requests = requests
        self._events = events
        self._selector = selectors.DefaultSelector()
        self._buffer = b""
        self._runs: list[ForkedRun] = []
        self._by_pipe: dict[int, ForkedRun] = {}
        self._earlier: dict[str, bytes] = {}
        """The events with which the last runs ended, by the digest of what decided their reports."""
        # A grandchild may hold a run's pipe open, so a run has ended when its process has.
        self._deaths, self._alarm = os.pipe()
        os.set_blocking(self._deaths, False)
        os.set_blocking(self._alarm, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._alarm, warn_on_full_buffer=False)
        processes.adopt_orphans()

    def serve(self) -> None:
        """Serve until the client is gone, then end every run and the process."""
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
            # A regular exit would take torch a second.
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
                self._start(message["run"], message["request"], self._holder(message["request"]))

    def _continue(self, number: int, request: dict[str, Any]) -> bool:
        """Hand a request to a process that holds its export. Returns False if there is none."""
        for run in self._runs:
            if run.holds_export and run.has_export_of(request):
                self._hand(number, request, run)
                return True
        return False

    def _hand(self, number: int, request: dict[str, Any], run: ForkedRun) -> None:
        """Hand a request to a process that holds its export."""
        run.number, run.request = number, request
        run.continuation, run.idle, run.ended, run.resumed = None, False, False, True
        message: dict[str, Any] = {"run": number, "request": request}
        if run.data is not None:
            message["data"] = f"/proc/{os.getpid()}/fd/{run.data}"
        # If the process is dead, SIGCHLD says so.
        with contextlib.suppress(BrokenPipeError):
            wire.write(run.control, message)

    def _holder(self, request: dict[str, Any]) -> ForkedRun | None:
        """The run that holds the export of a request, provided that the model turns out to be the same."""
        held = (run for run in self._runs if run.holds_export and run.may_have_export_of(request))
        return next(held, None)

    def _start(self, number: int, request: dict[str, Any], holder: ForkedRun | None = None) -> None:
        """Fork a process for a request. With ``holder``, it does no more than make the batches for that."""
        if request.get("hold_export") and holder is None:
            self._make_room(request)
        opened: list[int] = []
        data = None
        try:
            if holder is not None:
                data = os.memfd_create("batches")
                opened.append(data)
            for _ in range(3):
                opened += os.pipe()
            process = os.fork()
        except OSError as error:
            for fd in opened:
                os.close(fd)
            self._tell_death(number, request, f"its process cannot be started ({error})")
            return
        pipe, child_pipe, child_control, control, stack, child_stack = opened[-6:]
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
                pipes = child_pipe, child_control, child_stack
                if holder is None or data is None:
                    work = partial(forked_run.run, number, request, *pipes, self._earlier)
                else:
                    work = partial(
                        forked_run.make_batches, number, request, *pipes, holder.model, data
                    )
                forked_run.to_the_end(work)
            finally:
                # A child must never return into the worker's loop.
                os._exit(1)
        for fd in (child_pipe, child_control, child_stack):
            os.close(fd)
        os.set_blocking(pipe, False)
        os.set_blocking(stack, False)
        run = ForkedRun(number, request, process, pipe, control, stack)
        run.holder, run.data = holder, data
        self._runs.append(run)
        self._by_pipe[pipe] = run
        self._selector.register(pipe, selectors.EVENT_READ)

    def _make_room(self, request: dict[str, Any]) -> None:
        """End the processes that hold an export of the same target, and the oldest of the others."""
        holding = [run for run in self._runs if run.holds_export]
        for run in holding[: max(0, len(holding) + 1 - _MOST_HELD)]:
            run.kill()
        for run in holding:
            if run.has_target_of(request):
                run.kill()

    def _cancel(self, number: int) -> None:
        for run in self._runs:
            if run.number == number and not run.ended:
                run.ended = True
                run.kill()
                _tell_ranks(run.request, "it was cancelled")
                wire.write(self._events, {"event": "cancelled", "run": number})

    def _interrupt(self, number: int) -> None:
        """Send a run the signal at which it writes its stack and dies."""
        for run in self._runs:
            if run.number == number and not run.ended:
                run.resumed = False
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(run.continuation or run.process, INTERRUPT)

    def _relay(self, run: ForkedRun) -> None:
        """Forward the complete lines that a run wrote; half a line of a killed run is dropped."""
        try:
            # No pipe holds more than this, so one read empties the pipe of a run that has ended.
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
            self._handle_event(run, bytes(line))

    def _handle_event(self, run: ForkedRun, line: bytes) -> None:
        """Handle one line that a run wrote."""
        try:
            event = wire.decode(line)
        except ValueError:
            return
        # The user's code can find this pipe. Lines that are no events of this run are ignored.
        if event.get("run") != run.number:
            return
        kind = event.get("event")
        if kind == "idle":
            run.continuation, run.idle = None, True
        if run.ended:
            return
        if kind in ("stage", "progress", "note", "advice", "report"):
            run.ended = kind == "report"
            wire.write_line(self._events, line)
            if run.ended:
                self._note_report(event.get("decided_by"), line)
            if run.ended and run.continuation is None and run in self._runs:
                # Nobody needs the process any more.
                run.kill()
        elif kind == "held" and type(event.get("process")) is int:
            run.continuation, run.resumed = event["process"], False
            run.model = event.get("model")
        elif kind == "batches":
            run.ended = True
            self._pass_batches(run)
        elif kind == "outdated":
            run.ended = True
            self._start(run.number, run.request)
        elif kind == "idle":
            # The process ended with status 0, and yet sent no report.
            run.ended = True
            self._tell_death(run.number, run.request, f"its process {wire.ending(0)}")

    def _pass_batches(self, run: ForkedRun) -> None:
        """Hand the request of a run, and the batches that it has made, to the process with its export."""
        holder = run.holder
        if holder is None or holder not in self._runs or not holder.holds_export:
            self._start(run.number, run.request)
            return
        holder.replace_data(run.data)
        run.data = None
        self._hand(run.number, run.request, holder)

    def _note_report(self, decided_by: object, line: bytes) -> None:
        if isinstance(decided_by, list) and len(decided_by) == 2:
            digest = str(decided_by[0])
            # The last one noted is the last one in the order of the dictionary.
            self._earlier.pop(digest, None)
            self._earlier[digest] = line
            while sum(map(len, self._earlier.values())) > _MOST_EARLIER:
                del self._earlier[next(iter(self._earlier))]

    def _reap(self) -> None:
        dead: list[tuple[ForkedRun, int]] = []
        with contextlib.suppress(ChildProcessError):
            while True:
                process, status = os.waitpid(-1, os.WNOHANG)
                if process == 0:
                    break
                dead += [(run, status) for run in self._runs if run.process == process]
        for run, _ in dead:
            processes.kill_group(run.process)
            self._runs.remove(run)
        # The other children are orphans of runs that have ended.
        processes.kill_children(spare={run.process for run in self._runs})
        for run, status in dead:
            self._bury(run, os.waitstatus_to_exitcode(status))

    def _bury(self, run: ForkedRun, status: int) -> None:
        """Read the last events of a run that has ended, and tell of its death if it sent no report."""
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
            # The held export is lost, but the request can be run from the start.
            self._start(run.number, run.request)
        elif status < 0 and stack:
            from handlens.dataclass_json import from_json
            from handlens.request import RunRequest
            from handlens.workers import crashes

            written = stack.decode("ascii", "replace")
            line = crashes.line(written, from_json(RunRequest, run.request))
            overdue = status == -INTERRUPT
            reason = "it took too long" if overdue else f"its process {wire.ending(status)}"
            self._tell_death(run.number, run.request, reason, line, written)
        else:
            # The stack, if there is one, is that of a process which the run had started.
            self._tell_death(run.number, run.request, f"its process {wire.ending(status)}")

    def _tell_death(
        self,
        number: int,
        request: dict[str, Any],
        reason: str,
        line: Span | None = None,
        stack: str = "",
    ) -> None:
        _tell_ranks(request, reason, line, stack)
        wire.write(self._events, wire.died(number, reason, line, stack))


def _tell_ranks(
    request: dict[str, Any], reason: str, line: Span | None = None, stack: str = ""
) -> None:
    """Tell the other ranks of a run, if there are any, that this one has died."""
    if not request.get("shard"):
        return
    from handlens.dataclass_json import from_json
    from handlens.diagnosis.rules.worker_failed import WorkerFailed
    from handlens.distributed.ranks import Ranks
    from handlens.report import Failure
    from handlens.request import Shard

    message = f"running {request['target']['name']} failed: {reason}"
    with contextlib.suppress(Exception):
        # The ranks may have been ended, and the store with them.
        ranks = Ranks(from_json(Shard, request["shard"]))
        ranks.fail(Failure(WorkerFailed.code, message, line, stack))
