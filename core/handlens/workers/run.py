"""A run: the process that the worker forks for each request.

The user's code is executed in this process and nowhere else, and may do whatever it likes to the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import traceback
from typing import Any, NoReturn

from handlens.dataclass_json import from_json, to_json
from handlens.distributed.ranks import Ranks
from handlens.report import Advice
from handlens.request import RunRequest
from handlens.session import Session
from handlens.switches import may_hold_exports
from handlens.workers import crashes, held_export, processes, wire


class _Voice:
    """Sends a run's events to the worker, unless the user's code has forked the process."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._opened = os.fstat(pipe)
        self._process = os.getpid()

    def pass_on(self) -> None:
        """Let this process send the events from now on; our own code has forked it."""
        self._process = os.getpid()

    def say(self, event: str, run: int, **details: object) -> None:
        if os.getpid() != self._process:
            # The user's code forked this process, which came back to our code as if it were the run.
            os._exit(0)
        if not os.path.samestat(os.fstat(self._pipe), self._opened):
            # The number of our pipe belongs to a file of the user's now.
            raise OSError("the model has closed a pipe that is not its own")
        wire.write(self._pipe, {"event": event, "run": run, **details})


def run(number: int, request: dict[str, Any], pipe: int, control: int, stack: int) -> NoReturn:
    """Run a request, write the report to ``pipe``, and end the process without calling any exit handler.

    A run that holds its export reads further requests from ``control``. A run that dies writes its stack to
    ``stack``.
    """
    try:
        processes.be_alone()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        voice = _Voice(pipe)
        crashes.watch(stack)
        asked = from_json(RunRequest, request)
        if asked.memory_limit_mib is not None:
            _limit_memory(asked.memory_limit_mib)

        def on_stage(stage: str) -> None:
            voice.say("stage", number, stage=stage)

        read = held_export.FilesRead() if asked.hold_export and may_hold_exports() else None

        def on_note(note: str) -> None:
            voice.say("note", number, note=note)

        ranks = None if asked.shard is None else Ranks(asked.shard)
        session = Session(asked, on_stage, ranks, on_note)
        report = session.export()
        if report is None:
            if read is not None:
                # A SIGCHLD handler that the model has installed would be called for our processes.
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if read is not None and held_export.can_be_held():
                read.add(session.files())
                number, other = _hold(number, voice, control, read)
                asked = from_json(RunRequest, other) if other is not None else asked
            report = session.compare(asked)
            if asked.advise is not None:

                def on_advice(advice: Advice) -> None:
                    voice.say("advice", number, advice=to_json(advice))

                report = session.advise(report, asked.advise, on_advice)
        # The user may have replaced the streams. Once the report is sent, nobody waits for their contents.
        _flush()
        voice.say("report", number, report=to_json(report))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        _flush()
    finally:
        os._exit(1)


def _hold(
    number: int, voice: _Voice, control: int, read: held_export.FilesRead
) -> tuple[int, dict[str, Any] | None]:
    """Hold this process's export, and fork a process for each request that starts from the export.

    Returns in the forked processes only: the number of the run, and its request. The request is None in the
    first of them, whose request is known.
    """
    request = None
    gc.freeze()
    # Every forked process would write what is still in the buffers.
    _flush()
    with os.fdopen(control, "rb") as requests:
        while True:
            process = os.fork()
            if process == 0:
                processes.be_alone()
                voice.pass_on()
                voice.say("held", number, process=os.getpid())
                return number, request
            _, status = os.waitpid(process, 0)
            processes.kill_group(process)
            processes.end_children()
            if os.WIFSIGNALED(status):
                # The worker sees the same signal as if there had been no process in between.
                with contextlib.suppress(OSError):
                    signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
                os.kill(os.getpid(), os.WTERMSIG(status))
            if status != 0:
                os._exit(os.waitstatus_to_exitcode(status))
            voice.say("idle", number)
            line = requests.readline()
            if not line:
                os._exit(0)
            message = wire.decode(line)
            number, request = message["run"], message["request"]
            if read.has_changed():
                voice.say("outdated", number)
                os._exit(0)


def _flush() -> None:
    streams: tuple[Any, ...] = sys.stdout, sys.stderr, sys.__stdout__
    for stream in streams:
        with contextlib.suppress(BaseException):
            stream.flush()
    ctypes.CDLL(None).fflush(None)


def _limit_memory(mebibytes: int) -> None:
    """Let an allocation fail that takes this process more than ``mebibytes`` above its present size."""
    with open("/proc/self/status") as status:
        [now] = [line.split()[1] for line in status if line.startswith("VmData:")]
    limit = int(now) * 1024 + mebibytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
