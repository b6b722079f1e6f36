"""``handlens targets``: what can be checked in a file."""

from __future__ import annotations

import dataclasses
import json

import click

from handlens import targets
from handlens.cli.ending import COULD_NOT_RUN, NOTHING_FOUND
from handlens.cli.plans import plans_of, shown
from handlens.rendering.view import clean
from handlens.request import RunRequest
from handlens.targets import Target


@click.command("targets")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="What to print.",
)
def command(files: tuple[str, ...], output_format: str) -> int:
    """List what can be checked in files; nothing is run."""
    listed: list[Target] = []
    status = NOTHING_FOUND
    for name in files:
        plans = plans_of(name)
        if not plans:
            click.echo(f"{shown(name)}: information: {targets.HOW_TO_DECLARE}", err=True)
        for plan in plans:
            if isinstance(plan.run, RunRequest):
                listed.append(plan.run.target)
            elif plan.run.error:
                status = COULD_NOT_RUN
                click.echo(f"handlens: error: {clean(plan.run.error.message)}", err=True)
    if output_format == "json":
        document = {"version": 1, "targets": [dataclasses.asdict(each) for each in listed]}
        click.echo(json.dumps(document, indent=2))
        return status
    for target in listed:
        place = f":{target.line}:{target.column + 1}" if target.kind != "configured" else ""
        click.echo(f"{shown(target.file)}{place}: {clean(target.name)} ({target.kind})")
    return status
