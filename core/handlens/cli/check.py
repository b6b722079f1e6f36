"""``handlens check``: run the targets of files in a worker, and print what was found."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

import click
from rich.console import Console

from handlens import __version__, targets
from handlens.cli.ending import COULD_NOT_RUN, FINDINGS, NOTHING_FOUND, Refused
from handlens.cli.plans import Plan, plans_of, shown
from handlens.diagnosis import judge, selection
from handlens.diagnosis.rules.worker_failed import WorkerFailed
from handlens.project import ProjectSettings
from handlens.rendering.formats import FORMATS
from handlens.rendering.run_status import RunStatus
from handlens.rendering.view import View
from handlens.report import Document, Failure, Report, digest
from handlens.request import RunRequest
from handlens.source_text import read
from handlens.workers.client import Worker, WorkerUnusable


def _codes_option(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return selection.parse_codes(values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("check")
@click.argument("files", metavar="FILE[::TARGET]...", nargs=-1, required=True)
@click.option("--recipe", metavar="NAME", help="Quantize with this recipe instead of the target's.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(list(FORMATS)),
    default="text",
    show_default=True,
    help=f"What to print: {'; '.join(f'{name}, {each.summary}' for name, each in FORMATS.items())}.",
)
@click.option(
    "--output",
    metavar="PATH",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write to this file instead of standard output.",
)
@click.option(
    "--fail-under",
    metavar="DB",
    type=float,
    help="Exit with 1 if the model's output is less accurate than this, in dB.",
)
@click.option(
    "--select",
    metavar="CODES",
    multiple=True,
    callback=_codes_option,
    help="Show only these rules.",
)
@click.option(
    "--ignore",
    metavar="CODES",
    multiple=True,
    callback=_codes_option,
    help="Do not show these rules.",
)
@click.option(
    "--python",
    "interpreter",
    metavar="INTERPRETER",
    default=sys.executable,
    help="The Python that runs the model, with torch and torchao. Default: the one that runs this.",
)
@click.option(
    "-v", "--verbose", is_flag=True, help="Show the model's output, every hint, and tracebacks."
)
def command(
    files: tuple[str, ...],
    recipe: str | None,
    output_format: str,
    output: Path | None,
    fail_under: float | None,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    interpreter: str,
    verbose: bool,
) -> int:
    """Quantize the models of files, and show which lines lose accuracy.

    FILE is run whole, or only its TARGET.

    Exit status: 0 if nothing was found, 1 if there is a warning or an error, or an output under
    --fail-under, 2 if something could not run.
    """
    if output and not output.parent.is_dir():
        raise Refused(f"cannot write {output}: there is no folder {output.parent}")
    given = {"fail_under": fail_under, "select": select, "ignore": ignore}
    options = {key: value for key, value in given.items() if value not in (None, ())}
    plans: list[Plan] = []
    undeclared = False
    for file in files:
        found = plans_of(file, recipe, options)
        plans += found
        if not found:
            undeclared = True
            click.echo(f"{shown(file)}: information: {targets.HOW_TO_DECLARE}", err=True)
    try:
        made, torch_version = asyncio.run(_run(plans, interpreter, verbose))
    except WorkerUnusable as error:
        raise Refused(str(error), error.output) from error
    reports = [plan.settings.selected(report) for plan, report in zip(plans, made)]
    document = Document(__version__, torch_version, tuple(reports))
    console = None if output else Console(highlight=False, markup=False, emoji=False)
    view = View(_read, os.getcwd(), verbose, console)
    _write(FORMATS[output_format].render(document, view), output)
    return _status(reports, undeclared)


def _status(reports: Collection[Report], undeclared: bool) -> int:
    if undeclared or any(report.status == "failed" for report in reports):
        return COULD_NOT_RUN
    bad = any(
        finding.severity in ("error", "warning")
        for report in reports
        for finding in report.findings
    )
    inaccurate = any(report.falls_short for report in reports)
    return FINDINGS if bad or inaccurate else NOTHING_FOUND


# -- running ---------------------------------------------------------------------------------------


async def _run(
    plans: Iterable[Plan], interpreter: str, verbose: bool
) -> tuple[list[Report], str | None]:
    """The reports of all plans in their order, and the version of torch that made them."""
    reports: list[Report] = []
    torch_version: str | None = None
    worker: Worker | None = None
    with RunStatus(verbose) as status:
        try:
            for plan in plans:
                if isinstance(plan.run, Report):
                    reports.append(plan.run)
                    continue
                target = plan.run.target
                status.begin(f"{shown(target.file)}::{target.name}")
                if worker is None:
                    worker, environment = await Worker.start(interpreter, status.output)
                    torch_version = environment.torch
                report = await worker.run(plan.run, status.stage)
                if report.error and report.error.rule == WorkerFailed.code:
                    # All that the run printed has arrived when its worker is closed, not before.
                    await worker.close()
                    worker = None
                    report = _with_output(report, report.error, status.recent)
                reports.append(_judged(report, plan.run, plan.settings))
        finally:
            if worker is not None:
                await worker.close()
    return reports, torch_version


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


# -- printing --------------------------------------------------------------------------------------


@functools.cache
def _read(file: str) -> str | None:
    try:
        return read(file)
    except (OSError, SyntaxError, ValueError):
        return None


def _write(text: str, path: Path | None) -> None:
    if path is None:
        sys.stdout.write(text)
        # A pipe that nobody reads any more must fail here, where click ends the command quietly.
        sys.stdout.flush()
        return
    try:
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror}") from error
