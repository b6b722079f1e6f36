"""How a command ends: its exit status, and the message if it cannot do what was asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from handlens.rendering.view import clean

NOTHING_FOUND, FINDINGS, COULD_NOT_RUN, CANCELLED = 0, 1, 2, 130


class Refused(click.ClickException):
    """The command cannot do what was asked. The message says why; lines of detail may follow it."""

    exit_code = COULD_NOT_RUN

    def __init__(self, message: str, detail: Iterable[str] = ()) -> None:
        super().__init__(message)
        self._detail = tuple(detail)

    def show(self, file: Any = None) -> None:
        click.echo(f"handlens: error: {clean(self.message)}", file=file, err=True)
        for line in self._detail:
            click.echo(f"  {clean(line)}", file=file, err=True)
