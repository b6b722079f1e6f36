"""The command line: ``handlens check``, ``handlens targets`` and ``handlens server``.

It reads, launches and prints. The models run in a worker (see ``client``): torch is never imported
here, and need not be installed beside it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import difflib
import functools
import json
import logging
import os
import sys
import tokenize
import traceback
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from handlens import __version__, switches, targets
from handlens.diagnosis import judge, rules
from handlens.project import ProjectSettings, project_settings
from handlens.rendering.formats import FORMATS
from handlens.rendering.run_status import RunStatus
from handlens.rendering.view import View, clean
from handlens.report import Document, Failure, Report, digest, failed
from handlens.request import RunRequest
from handlens.targets import InvalidConfiguration, Target
from handlens.workers.client import Worker, WorkerUnusable

NOTHING_FOUND, FINDINGS, COULD_NOT_RUN, CANCELLED = 0, 1, 2, 130


class Refused(click.ClickException):
    """The command cannot do what was asked; the message says why, and the lines below what is known."""

    exit_code = COULD_NOT_RUN

    def __init__(self, message: str, detail: Iterable[str] = ()) -> None:
        super().__init__(message)
        self._detail = tuple(detail)

    def show(self, file: Any = None) -> None:
        click.echo(f"handlens: error: {clean(self.message)}", file=file, err=True)
        for line in self._detail:
            click.echo(f"  {clean(line)}", file=file, err=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows its escape; it is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = cli.main(arguments, prog_name="handlens", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        click.echo("Cancelled.", err=True)
        status = CANCELLED
    except OSError as error:
        click.echo(f"handlens: error: {clean(str(error))}", err=True)
        status = COULD_NOT_RUN
    except Exception:
        # Python's own status for this is 1, which would say that there are findings.
        traceback.print_exc()
        status = COULD_NOT_RUN
    sys.exit(status)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Shows which line of a PyTorch model loses accuracy when the model is quantized."""


def _codes_option(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return rules.parse_codes(values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


# -- handlens check --------------------------------------------------------------------------------


@cli.command()
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
def check(
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
    plans: list[Plan] = []
    undeclared = False
    for file in files:
        planned = _plan(
            file, recipe, {key: value for key, value in given.items() if value not in (None, ())}
        )
        plans += planned
        if not planned:
            undeclared = True
            click.echo(f"{_shown(file)}: information: {targets.HOW_TO_DECLARE}", err=True)
    logging.basicConfig(level=switches.log_level("WARNING"), format="%(message)s")
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


@dataclass(frozen=True)
class Plan:
    """A run to be done, or the report of one that cannot begin."""

    settings: ProjectSettings
    request: RunRequest | None = None
    report: Report | None = None


def _plan(argument: str, recipe: str | None, given: dict[str, Any]) -> list[Plan]:
    """The runs that an argument ``FILE[::TARGET]`` asks for; none where the file has no target."""
    name, _, wanted = argument.partition("::")
    file = os.path.abspath(name)
    text = _text_of_argument(name)
    try:
        settings = dataclasses.replace(project_settings(file), **given)
        found = targets.discover(text, file)
    except InvalidConfiguration as error:
        raise Refused(str(error)) from error
    except (SyntaxError, ValueError, RecursionError) as error:
        report = failed(wanted, file, recipe or "", targets.parse_failure(error, file))
        return [Plan(settings, report=report)]
    if wanted:
        found = [_named(wanted, found, name)]
    workspace = (str(_workspace(file)),)
    return [
        Plan(
            settings,
            RunRequest(target, text, recipe, settings.recipe, workspace),
        )
        for target in found
    ]


def _text_of_argument(file: str) -> str:
    if os.path.isdir(file):
        raise Refused(f"{file} is a folder; name a Python file")
    try:
        with tokenize.open(file) as stream:
            return stream.read()
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        raise Refused(f"cannot read {file}: {error}") from error


def _named(wanted: str, found: Sequence[Target], file: str) -> Target:
    for target in found:
        if target.name == wanted:
            return target
    names = [target.name for target in found]
    close = difflib.get_close_matches(wanted, names, n=1)
    if close:
        hint = f"did you mean {close[0]}?"
    else:
        hint = f"it has {', '.join(names)}" if names else targets.HOW_TO_DECLARE
    raise Refused(f"no target {wanted} in {file}: {hint}")


def _workspace(file: str) -> Path:
    """The project's folder; the file's own where there is no sign of a project."""
    parents = Path(file).parents
    for folder in parents:
        if (folder / "pyproject.toml").is_file() or (folder / ".git").exists():
            return folder
    return parents[0]


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
                if plan.request is None:
                    assert plan.report is not None
                    reports.append(plan.report)
                    continue
                status.begin(f"{_shown(plan.request.target.file)}::{plan.request.target.name}")
                if worker is None:
                    worker, environment = await Worker.start(interpreter, status.output)
                    torch_version = environment.torch
                report = await worker.run(plan.request, status.stage)
                if report.error and report.error.rule == "HL304":
                    # All that the run printed has arrived when its worker is closed, not before.
                    await worker.close()
                    worker = None
                    report = _with_output(report, report.error, status.recent)
                reports.append(_judged(report, plan))
        finally:
            if worker is not None:
                await worker.close()
    return reports, torch_version


def _judged(report: Report, plan: Plan) -> Report:
    """The report of a plan with its findings, by the texts that were executed."""
    assert plan.request is not None
    texts: dict[str, str] = {}
    for file, digested in report.digests.items():
        text = plan.request.text if file == plan.request.target.file else _read(file)
        if text is not None and digest(text) == digested:
            texts[file] = text
    return judge(report, (plan.settings.thresholds,), texts, plan.request.target.declaration)


def _with_output(report: Report, error: Failure, output: Iterable[str]) -> Report:
    detail = "\n".join(output)
    return dataclasses.replace(report, error=dataclasses.replace(error, traceback=detail))


# -- printing --------------------------------------------------------------------------------------


@functools.cache
def _read(file: str) -> str | None:
    try:
        with tokenize.open(file) as stream:
            return stream.read()
    except (OSError, SyntaxError, ValueError):
        return None


def _shown(file: str) -> str:
    return View(_read, os.getcwd()).path(os.path.abspath(file))


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


# -- handlens targets, handlens server -------------------------------------------------------------


@cli.command("targets")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What to print.",
)
def list_targets(files: tuple[str, ...], output_format: str) -> int:
    """List what can be checked in files; nothing is run."""
    listed: list[Target] = []
    status = NOTHING_FOUND
    for name in files:
        plans = _plan(name, None, {})
        if not plans:
            click.echo(f"{_shown(name)}: information: {targets.HOW_TO_DECLARE}", err=True)
        for plan in plans:
            if plan.request:
                listed.append(plan.request.target)
            elif plan.report and plan.report.error:
                status = COULD_NOT_RUN
                click.echo(f"handlens: error: {clean(plan.report.error.message)}", err=True)
    if output_format == "json":
        click.echo(
            json.dumps(
                {"version": 1, "targets": [dataclasses.asdict(each) for each in listed]}, indent=2
            )
        )
        return status
    for target in listed:
        place = f":{target.line}:{target.column + 1}" if target.kind != "configured" else ""
        click.echo(f"{_shown(target.file)}{place}: {clean(target.name)} ({target.kind})")
    return status


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def server(arguments: tuple[str, ...]) -> int:
    """Serve an editor over standard input and output. ARGUMENTS go to the server."""
    from handlens_server.__main__ import main as serve

    return int(serve(list(arguments)) or 0)
