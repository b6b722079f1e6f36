"""Runs what a command asks for in a worker, and writes the reports that come of it."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console

from handlens import __version__, switches
from handlens.advice_report import Advice
from handlens.cli.ending import Refused
from handlens.cli.plans import Plan, shown
from handlens.cli.ranks import Rank
from handlens.diagnosis import judge
from handlens.diagnosis.rules.worker_failed import WorkerFailed
from handlens.project import ProjectSettings
from handlens.rendering.formats import FORMATS
from handlens.rendering.run_status import RunStatus
from handlens.rendering.view import View, clean
from handlens.report import Document, Failure, Report, digest
from handlens.request import RunRequest
from handlens.source_text import read
from handlens.workers.client import Environment, Worker, WorkerUnusable

# How much longer rank 0 may take than the others.
_TO_TELL_S = 10.0


@dataclass
class Found:
    """What the runs of a command have found so far. An interrupt leaves it as it is."""

    reports: list[Report] = field(default_factory=list)
    """One for each plan that was run, in their order."""
    torch: str | None = None
    """The version of torch that made them."""
    advice: Advice | None = None
    """The advice so far on the target that is being run."""


def run(
    plans: Sequence[Plan],
    interpreter: str,
    verbose: bool,
    found: Found,
    deadline_s: float | None = None,
    rank: Rank | None = None,
) -> None:
    """Run plans one after the other, and put what comes of them into ``found``.

    With a rank, they are shared with other ranks: rank 0 finds, and the others help.

    Reports are judged, and have the findings that project and command select. Raises Refused if the
    interpreter cannot run a worker.
    """
    logging.basicConfig(level=switches.log_level("WARNING"), format="%(message)s")
    try:
        if rank is None or rank.number == 0:
            _complete(_run(plans, interpreter, verbose, found, deadline_s, rank))
        else:
            _complete(_help(plans, interpreter, deadline_s, rank))
    except WorkerUnusable as error:
        raise Refused(str(error), error.output) from error


def _complete(work: Coroutine[None, None, None]) -> None:
    """``asyncio.run``. An interrupt cancels the work, as from Python 3.11 on, and is raised at its end."""
    if sys.version_info >= (3, 11):
        asyncio.run(work)
        return

    async def interruptible() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        cancel = task.cancel
        before = signal.signal(signal.SIGINT, lambda *_: loop.call_soon_threadsafe(cancel))
        try:
            await work
        finally:
            signal.signal(signal.SIGINT, before)

    try:
        asyncio.run(interruptible())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _run(
    plans: Sequence[Plan],
    interpreter: str,
    verbose: bool,
    found: Found,
    deadline_s: float | None,
    rank: Rank | None,
) -> None:
    if rank is not None and deadline_s is not None:
        # Rank 0 tells which of the others was too slow.
        deadline_s += _TO_TELL_S
    worker: Worker | None = None
    with RunStatus(verbose) as status:

        def on_advice(advice: Advice) -> None:
            found.advice = advice
            status.advice(advice)

        try:
            for number, plan in enumerate(plans):
                if isinstance(plan.run, Report):
                    found.reports.append(plan.settings.selected(plan.run))
                    continue
                target = plan.run.target
                name = f"{shown(target.file)}::{target.name}"
                status.begin(name, plan.run.stages)
                if worker is None:
                    worker, environment = await _started(interpreter, status.output, rank)
                    if found.torch is None and (rank is None or rank.number == 0):
                        for remark in environment.remarks:
                            status.remark(remark)
                    found.torch = environment.torch
                report = await worker.run(
                    _shared(plan.run, rank, number),
                    status.stage,
                    deadline_s,
                    on_advice=on_advice,
                    on_progress=status.progress,
                    on_note=functools.partial(_say, name),
                    is_last=plan is plans[-1],
                )
                if report.error and report.error.rule == WorkerFailed.code:
                    # All that the run printed has arrived when its worker is closed, not before.
                    await worker.close()
                    worker = None
                    report = _with_output(report, report.error, status.recent)
                judged = _judged(report, plan.run, plan.settings)
                found.reports.append(plan.settings.selected(judged))
                found.advice = None
        finally:
            if worker is not None:
                await worker.close()


def _say(name: str, note: str) -> None:
    click.echo(f"{clean(name)}: {clean(note)}", err=True)


async def _help(
    plans: Sequence[Plan], interpreter: str, deadline_s: float | None, rank: Rank
) -> None:
    """Run the part of a rank other than the first, which prints nothing but why the rank has died."""
    worker: Worker | None = None
    recent: deque[str] = deque(maxlen=20)
    try:
        for number, plan in enumerate(plans):
            if isinstance(plan.run, Report):
                continue
            if worker is None:
                worker, _ = await _started(interpreter, recent.append, rank)
            shared = _shared(plan.run, rank, number)
            report = await worker.run(
                shared, lambda stage: None, deadline_s, is_last=plan is plans[-1]
            )
            if report.error and report.error.rule == WorkerFailed.code:
                is_told = worker.alive
                await worker.close()
                worker = None
                reason = f"rank {rank.number}: {report.error.message}"
                if not is_told:
                    # Without an exit status, torchrun would let the other ranks wait.
                    raise Refused(reason, recent)
                click.echo("\n".join(clean(each) for each in (reason, *recent)), err=True)
            recent.clear()
    finally:
        if worker is not None:
            await worker.close()


async def _started(
    interpreter: str, on_output: Callable[[str], None], rank: Rank | None
) -> tuple[Worker, Environment]:
    # A worker that forks runs stays when one of them dies, and tells the other ranks.
    return await Worker.start(interpreter, on_output, workers="auto" if rank is None else "fork")


def _shared(request: RunRequest, rank: Rank | None, run: int) -> RunRequest:
    return request if rank is None else dataclasses.replace(request, shard=rank.shard(run))


def write(found: Found, name: str, output: Path | None, verbose: bool) -> None:
    """Write the reports in the format of that name to a file, or to standard output."""
    console = None if output else Console(highlight=False, markup=False, emoji=False)
    view = View(_read, os.getcwd(), verbose, console)
    text = FORMATS[name].render(Document(__version__, found.torch, tuple(found.reports)), view)
    if output is None:
        sys.stdout.write(text)
        # A pipe that nobody reads any more must fail here, where click ends the command quietly.
        sys.stdout.flush()
        return
    try:
        output.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Refused(f"cannot write {output}: {error.strerror}") from error


def _judged(report: Report, request: RunRequest, settings: ProjectSettings) -> Report:
    """The report with its findings, which depend on the comments in the texts that were executed."""
    texts: dict[str, str] = {}
    for file, digested in report.digests.items():
        text = request.text if file == request.target.file else _read(file)
        if text is not None and digest(text) == digested:
            texts[file] = text
    return judge(report, (settings.thresholds,), texts, request.target.declaration)


def _with_output(report: Report, error: Failure, output: Iterable[str]) -> Report:
    detail = "\n".join(output)
    return dataclasses.replace(report, error=dataclasses.replace(error, traceback=detail))


@functools.cache
def _read(file: str) -> str | None:
    try:
        return read(file)
    except (OSError, SyntaxError, ValueError):
        return None
