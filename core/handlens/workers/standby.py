"""An interpreter that stands by: it imports torch, then runs one request, and ends.

Nothing of the user's is executed before the request, and nothing else after it: no state leaks from one run
to the next, also on systems that cannot fork safely. It needs the standard library, torch and torchao,
nothing else.

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
from typing import Any

from handlens.workers import crashes, processes, readiness, wire

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
            _run(requests.get(), events)
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


def _run(message: dict[str, Any], events: int) -> None:
    from handlens.workers import execution

    processes.adopt_orphans()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        voice = execution.Voice(events)
        crashes.watch(events)
        if message["deadline"] is not None:
            # This takes no signal, which Windows has not, and no lock of Python's.
            faulthandler.dump_traceback_later(message["deadline"], exit=True, file=events)
        run = execution.Execution(message["run"], message["request"], voice)
        run.send(run.session.export() or run.compare())
    except BaseException:
        execution.flush()
        raise
