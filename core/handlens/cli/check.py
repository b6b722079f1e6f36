"""``handlens check``: run the targets of files in a worker, and print what was found."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import click

from handlens import targets
from handlens.cli import options
from handlens.cli.ending import COULD_NOT_RUN, FINDINGS, NOTHING_FOUND
from handlens.cli.plans import Plan, plans_of, shown
from handlens.cli.ranks import is_first, rank
from handlens.cli.running import Found, run, write
from handlens.diagnosis import selection
from handlens.report import Report


def _codes_option(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return selection.parse_codes(values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command("check")
@click.argument("files", metavar="FILE[::TARGET]...", nargs=-1, required=True)
@options.recipe
@options.output_format()
@options.output
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
@options.python
@options.deadline
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
    deadline_s: float | None,
    verbose: bool,
) -> int:
    """Quantize the models of files, and show which lines lose accuracy.

    FILE is run whole, or only its TARGET.

    Exit status: 0 if nothing was found, 1 if there is a warning or an error, or an output under
    --fail-under, 2 if something could not run.
    """
    given = {"fail_under": fail_under, "select": select, "ignore": ignore}
    chosen = {key: value for key, value in given.items() if value not in (None, ())}
    plans: list[Plan] = []
    undeclared = False
    for file in files:
        found = plans_of(file, recipe, chosen)
        plans += found
        if not found and is_first():
            undeclared = True
            click.echo(f"{shown(file)}: information: {targets.HOW_TO_DECLARE}", err=True)
    results = Found()
    run(plans, interpreter, verbose, results, deadline_s, rank())
    if not is_first():
        return NOTHING_FOUND
    write(results, output_format, output, verbose)
    return _status(results.reports, undeclared)


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
