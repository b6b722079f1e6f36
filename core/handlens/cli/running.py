"""Runs what a command asks for in a worker, and writes the reports that come of it."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from handlens import __version__, switches
from handlens.advice_report import Advice
from handlens.cli.ending import Refused
from handlens.cli.plans import Plan, shown
from handlens.diagnosis import judge
from handlens.diagnosis.rules.worker_failed import WorkerFailed
from handlens.project import ProjectSettings
from handlens.rendering.formats import FORMATS
from handlens.rendering.run_status import RunStatus
from handlens.rendering.view import View
from handlens.report import Document, Failure, Report, digest
from handlens.request import RunRequest
from handlens.source_text import read
from handlens.workers.client import Worker, WorkerUnusable


@dataclass
class Found:
    """What the runs of a command have found so far. An interrupt leaves it as it is."""

    reports: list[Report] = field(default_factory=list)
    """One for each plan that was run, in their order."""
    torch: str | None = None
    """The version of torch that made them."""
    advice: Advice | None = None
    """The advice so far on the target that is being run."""


def run(plans: Sequence[Plan], interpreter: str, verbose: bool, found: Found) -> None:
    """Run plans one after the other, and put what comes of them into ``found``.

    Reports are judged, and have the findings that project and command select. Raises Refused if the
    interpreter cannot run a worker.
    """
    logging.basicConfig(level=switches.log_level("WARNING"), format="%(message)s")
    try:
        asyncio.run(_run(plans, interpreter, verbose, found))
    except WorkerUnusable as error:
        raise Refused(str(error), error.output) from error


async def _run(plans: Sequence[Plan], interpreter: str, verbose: bool, found: Found) -> None:
    worker: Worker | None = None
    with RunStatus(verbose) as status:

        def on_advice(advice: Advice) -> None:
            found.advice = advice
            status.advice(advice)

        try:
            for plan in plans:
                if isinstance(plan.run, Report):
                    found.reports.append(plan.settings.selected(plan.run))
                    continue
                target = plan.run.target
                status.begin(f"{shown(target.file)}::{target.name}", plan.run.stages)
                if worker is None:
                    worker, environment = await Worker.start(interpreter, status.output)
                    if found.torch is None:
                        for remark in environment.remarks:
                            status.remark(remark)
                    found.torch = environment.torch
                is_last = plan is plans[-1]
                report = await worker.run(plan.run, status.stage, None, on_advice, is_last)
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
