"""An interpreter that stands by: it imports torch, then runs one request, and ends.

Nothing of the user's is executed before the request, and nothing else after it: no state leaks from one run
to the next, also on systems that cannot fork safely. It needs the standard library, torch and torchao,
nothing else.

A process that has compared may be asked, once, for advice on what it has compared. Until then it is in the
state of one whose request asked for both, so what it finds is the same.

When the client ends, so does this process, with all that it has started: by the thread that reads the
requests; where a library holds Python's lock, by a process on POSIX (``processes.end_group_with``), and by
the client's job on Windows (``windows_jobs``).
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import threading
import traceback
from typing import TYPE_CHECKING, Any

from handlens.workers import crashes, processes, progress_bars, readiness, wire

if TYPE_CHECKING:
    from handlens.workers.execution import Execution

# The main one, and the one that listens.
_OUR_THREADS = 2

_Requests = queue.SimpleQueue[dict[str, Any]]


def main(lifeline: str | None = None) -> None:
    """Serve one request of standard input. ``lifeline`` is a pipe whose other end the client holds."""
    if lifeline is not None:
        processes.end_group_with(int(lifeline))
    pipe, events = readiness.take_pipes()
    requests: _Requests = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, requests), daemon=True).start()
    try:
        if readiness.get_ready(events):
            _run(requests, events)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    finally:
        # A regular exit would take torch a second, and may wait for what the user's code has started.
        os._exit(0)


def _listen(pipe: int, requests: _Requests) -> None:
    """Read the requests until the client closes them, or has ended, and then end everything."""
    try:
        with os.fdopen(pipe, "rb") as lines:
            for line in lines:
                requests.put(wire.decode(line))
    finally:
        processes.end_group()


def _run(requests: _Requests, events: int) -> None:
    from handlens.workers.execution import Execution, Voice, flush

    message = requests.get()
    processes.adopt_orphans()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        voice = Voice(events)
        crashes.watch(events)
        _watch_deadline(message, events)
        run = Execution(message["run"], message["request"], voice)
        report = run.session.load() or run.session.export()
        if report is not None:
            run.send(report)
            return
        report = run.compare()
        assert report is not None
        if not _can_be_held(run):
            run.send(report)
            return
        run.send(report, held=True)
        faulthandler.cancel_dump_traceback_later()
        message = requests.get()
        run.go_on_with(message["run"], message["request"])
        is_outdated = run.read is not None and run.read.has_changed()
        voice.say("outdated" if is_outdated else "resumed", run.number)
        if not is_outdated:
            _watch_deadline(message, events)
            run.send(run.advise(report))
    except BaseException:
        flush()
        raise


def _watch_deadline(message: dict[str, Any], events: int) -> None:
    """Have this process write its stack and end once it takes too long."""
    if message["deadline"] is not None:
        # This takes no signal, which Windows has not, and no lock of Python's.
        faulthandler.dump_traceback_later(message["deadline"], exit=True, file=events)


def _can_be_held(run: Execution) -> bool:
    """True if the process may go on to advise: what it has read is known, and nothing goes on in it."""
    if run.read is None or run.request.advise is not None:
        return False
    run.note_files(run.read)
    progress_bars.end_monitor()
    has_started = run.read.has_started_processes or processes.children()
    return not has_started and threading.active_count() == _OUR_THREADS
