"""``handlens server``: the language server, which the package of the server adds to the command line."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import click

from handlens.cli.ending import Refused


@click.command("server", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Serve an editor over standard input and output. ARGUMENTS go to the server."""
    # Core knows nothing of the server: a package that has one names its main function in its metadata.
    found = entry_points(group="handlens.commands", name="server")
    if not found:
        raise Refused(
            f"no language server is installed for {sys.executable}",
            (
                "Install Handlens with it: python -m pip install handlens",
                "(in a checkout: python -m pip install --editable .)",
            ),
        )
    serve = next(iter(found)).load()
    return int(serve(list(arguments)) or 0)
