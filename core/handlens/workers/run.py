"""A run that the worker has forked (see ``worker``)."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NoReturn

from handlens.workers import after_fork, crashes, held_export, processes, wire
from handlens.workers.execution import Execution, Voice, flush
from handlens.workers.files_read import FilesRead
from handlens.workers.forked_run import INTERRUPT


def to_the_end(work: Callable[[], None]) -> NoReturn:
    """Do what a forked process is for, and end the process without calling any exit handler."""
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        flush()
    finally:
        os._exit(1)


def run(
    number: int,
    request: dict[str, Any],
    pipe: int,
    control: int,
    stack: int,
    earlier: Mapping[str, bytes],
) -> None:
    """Run a request, and write the report to ``pipe``.

    A run that holds its export reads further requests from ``control``; what it would measure as a run in
    ``earlier`` has is taken from there. A run that dies writes its stack to ``stack``.
    """
    voice = _begin(pipe, stack)
    run = Execution(number, request, voice, earlier if request.get("hold_export") else None)
    known: BinaryIO | None = None
    report = run.session.load()
    if report is None:
        model = None if run.read is None else run.session.model_digest()
        report = run.session.export()
    if report is None:
        if run.read is not None:
            # A SIGCHLD handler that the model has installed would be called for our processes.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if run.read is not None and held_export.can_be_held():
            run.note_files(run.read)
            # What is calibrated in one fork is known to those after it.
            known = open(os.memfd_create("calibration"), "w+b")  # noqa: SIM115
            model = None if run.session.is_random else model
            _hold(run, voice, control, run.read, known, model)
        report = run.compare()
    if report is None:
        voice.say("outdated", run.number)
        return
    run.send(report)
    # Those after it may be run on other batches.
    if known is not None and not run.has_other_batches:
        _leave(run, known)


def make_batches(
    number: int,
    request: dict[str, Any],
    pipe: int,
    control: int,
    stack: int,
    model: str | None,
    data: int,
) -> None:
    """Make the batches of a request, and write them to ``data``, for a process that holds an export.

    If the target makes another model than that with the digest ``model``, the export is of no use.
    """
    os.close(control)
    voice = _begin(pipe, stack)
    run = Execution(number, request, voice)
    report = run.session.load()
    if report is not None:
        run.send(report)
    elif (
        run.read is not None
        and run.session.model_digest() == model
        and run.write_batches(run.read, data)
    ):
        voice.say("batches", number)
    else:
        voice.say("outdated", number)


def _begin(pipe: int, stack: int) -> Voice:
    """Make a forked process one that executes the user's code."""
    processes.be_alone()
    after_fork.renew()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A dying process must not wait for a reader.
    os.set_blocking(stack, False)
    crashes.watch(stack)
    faulthandler.register(INTERRUPT, stack, all_threads=False, chain=True)
    return Voice(pipe)


def _leave(run: Execution, known: BinaryIO) -> None:
    known.seek(0)
    known.truncate()
    run.session.save_calibration(known)
    known.flush()


def _take(run: Execution, known: BinaryIO) -> None:
    """Know what the last fork left. If it left nothing that can be read, the next one calibrates."""
    with contextlib.suppress(Exception):
        known.seek(0)
        run.session.load_calibration(known)


def _hold(
    run: Execution,
    voice: Voice,
    control: int,
    read: FilesRead,
    known: BinaryIO,
    model: str | None,
) -> None:
    """Hold this process's export, and fork a process for each request that starts from the export.

    ``model`` is the digest of what was exported. Returns in the forked processes only, of which each has a
    request to go on with.
    """
    gc.freeze()
    # Every forked process would write what is still in the buffers.
    flush()
    with os.fdopen(control, "rb") as requests:
        while True:
            process = os.fork()
            if process == 0:
                processes.be_alone()
                after_fork.renew()
                voice.pass_on()
                voice.say("held", run.number, process=os.getpid(), model=model)
                return
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
            _take(run, known)
            voice.say("idle", run.number)
            line = requests.readline()
            if not line:
                os._exit(0)
            message = wire.decode(line)
            run.go_on_with(message["run"], message["request"], message.get("data"))
            if read.has_changed():
                voice.say("outdated", run.number)
                os._exit(0)
