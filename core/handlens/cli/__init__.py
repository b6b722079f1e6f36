"""The command line: one module for each command, and this one to run them.

A command reads its arguments, starts what works, and prints. Models run in a worker process (see
``handlens.workers.client``): torch is never imported here, and need not be installed beside it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from handlens import __version__
from handlens.cli import advise, check, explain_rule, list_targets, serve
from handlens.cli.ending import CANCELLED, COULD_NOT_RUN
from handlens.cli.ranks import tell_torchrun
from handlens.rendering.view import clean


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[
        check.command,
        advise.command,
        list_targets.command,
        explain_rule.command,
        serve.command,
    ],
)
@click.version_option(__version__)
def cli() -> None:
    """Shows which line of a PyTorch model loses accuracy when the model is quantized."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal cannot show is written as an escape, and does not end the command.
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
    tell_torchrun(status)
    sys.exit(status)
