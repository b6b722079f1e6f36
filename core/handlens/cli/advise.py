"""``handlens advise``: measure which changes to a target win accuracy back, and make them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from handlens import targets
from handlens.advice_report import Advice
from handlens.cli import options
from handlens.cli.applying import apply
from handlens.cli.ending import COULD_NOT_RUN, FINDINGS, NOTHING_FOUND
from handlens.cli.plans import Plan, plans_of, shown
from handlens.cli.ranks import is_first, rank
from handlens.cli.running import Found, run, write
from handlens.report import Report
from handlens.request import AdviceRequest, RunRequest
from handlens.targets import Target


@click.command("advise")
@click.argument("file", metavar="FILE[::TARGET]")
@click.option(
    "--reach", metavar="DB", type=float, help="Stop when the output has this SQNR, in dB."
)
@click.option(
    "--budget",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="End the search of a target after this time, with what it has found.",
)
@click.option(
    "--apply",
    "is_applied",
    is_flag=True,
    help="Write the changes where the target is declared, and run it again.",
)
@options.recipe
@options.output_format(text="a table")
@options.output
@options.python
@options.deadline
@click.option("-v", "--verbose", is_flag=True, help="Show the model's output, and tracebacks.")
def command(
    file: str,
    reach: float | None,
    budget: float | None,
    is_applied: bool,
    recipe: str | None,
    output_format: str,
    output: Path | None,
    interpreter: str,
    deadline_s: float | None,
    verbose: bool,
) -> int:
    """Measure which ops to keep in float, and what each wins.

    The targets of FILE are compared as `handlens check` does; then changes are measured one by one, and the
    best of them together. Control-C ends the search, and the text shows what was found until then.

    Exit status: 0 if the search ended, 1 if it did not reach --reach, 2 if something could not run or be
    changed.
    """
    plans = [_asking(plan, AdviceRequest(reach, budget)) for plan in plans_of(file, recipe)]
    if not plans and is_first():
        click.echo(f"{shown(file)}: information: {targets.HOW_TO_DECLARE}", err=True)
        return COULD_NOT_RUN
    found = Found()
    try:
        run(plans, interpreter, verbose, found, deadline_s, rank())
    except KeyboardInterrupt:
        # Other formats have what the comparison measured, which comes with the end of a run.
        if output_format != "text" or found.advice is None:
            raise
        found.reports.append(_unfinished(plans[len(found.reports)], found.advice))
        write(found, output_format, output, verbose)
        raise
    if not is_first():
        return NOTHING_FOUND
    write(found, output_format, output, verbose)
    status = _status(found.reports)
    if not is_applied:
        return status

    def rerun(target: Target) -> Report:
        again = Found()
        run(plans_of(f"{target.file}::{target.name}", recipe), interpreter, verbose, again)
        return again.reports[0]

    # Standard output has one document and nothing else where programs read it.
    console = Console(stderr=output_format != "text", highlight=False, markup=False, emoji=False)
    requests = [plan.run for plan in plans if isinstance(plan.run, RunRequest)]
    texts = {each.target.file: each.text or "" for each in requests}
    for request, report in zip(requests, found.reports):
        if not apply(report, request.target, texts, rerun, console):
            status = COULD_NOT_RUN
    return status


def _asking(plan: Plan, wish: AdviceRequest) -> Plan:
    if isinstance(plan.run, Report):
        return plan
    return replace(plan, run=replace(plan.run, advise=wish))


def _unfinished(plan: Plan, advice: Advice) -> Report:
    """The report of a search that was interrupted: the advice so far is all that there is."""
    assert isinstance(plan.run, RunRequest)
    target = plan.run.target
    return Report(target.name, target.file, plan.run.recipe or "", "ok", advice=advice)


def _status(reports: Collection[Report]) -> int:
    if any(report.advice is None or report.advice.reason for report in reports):
        return COULD_NOT_RUN
    if any(report.advice and report.advice.falls_short for report in reports):
        return FINDINGS
    return NOTHING_FOUND
