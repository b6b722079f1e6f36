"""``handlens rule``: what a rule finds, and what to do."""

from __future__ import annotations

import re

import click
from rich.console import Console
from rich.markdown import Markdown
from rich.theme import Theme

from handlens.diagnosis.rules import RULES
from handlens.rendering.view import clean

_WIDTH = 100
# Without the background that rich gives to code, which is black on a white terminal, too.
_THEME = Theme({"markdown.code": "bold cyan"})
_RELATIVE_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")


@click.command("rule")
@click.argument("code", required=False)
def command(code: str | None) -> int:
    """Show what the rule CODE finds, and what to do; without CODE, list the rules."""
    if code is None:
        for rule in RULES.values():
            click.echo(f"{rule.code}  {rule.name}")
        return 0
    known = RULES.get(code.upper())
    if known is None:
        raise click.UsageError(f"There is no rule {clean(code)}. `handlens rule` lists them.")
    # The pages that it links to are no files here.
    page = _RELATIVE_LINK.sub(r"\1", known.page)
    console = Console(highlight=False, theme=_THEME)
    if console.is_terminal:
        shown = Markdown(page, code_theme="ansi_dark", justify="left")
        console.print(shown, width=min(console.width, _WIDTH))
    else:
        click.echo(page, nl=False)
    return 0
