"""Advice as text: the steps, what can be done instead of float, and what to write into the target."""

from __future__ import annotations

from collections.abc import Iterator

import rich.table
from rich.console import Console
from rich.text import Text

from handlens import words
from handlens.advice_report import Advice
from handlens.rendering import advice as shown
from handlens.rendering.advice import Table, Tables
from handlens.rendering.summary import row
from handlens.rendering.view import STYLES, View, clean
from handlens.report import Report

_NARROWEST_CHANGE = 16
# Where no terminal shows it, a line is as long as it needs to be.
_UNLIMITED = 500


def advice_lines(report: Report, advice: Advice, console: Console, view: View) -> Iterator[Text]:
    """The lines about the advice of a report."""
    title = Text(view.title(report), "bold")
    if report.recipe:
        title.append(f" · recipe {clean(report.recipe)}", "not bold dim")
    yield title
    if advice.reason:
        yield row("no advice", Text(clean(advice.reason), STYLES["warning"]))
        return
    yield Text()
    for table in _tables(report, advice):
        yield from _drawn(table, console)
        yield Text()
    if begins := words.beginning(report):
        yield Text(
            f"  {clean(begins)} The outputs here are beside that graph's.", STYLES["warning"]
        )
    for sentence in shown.verdict(advice):
        yield Text(f"  {clean(sentence)}", STYLES["warning"] if advice.falls_short else "")
    yield row("measured", Text(shown.effort(advice)))
    if advice.steps:
        is_verified = any(step.verified for step in advice.steps)
        mark = ("✓ ", "green") if is_verified else ""
        yield row("verified", Text.assemble(mark, shown.verification(advice)))
        yield row("MACs, weights", Text(shown.COST))
    label = "to paste"
    for line in shown.to_paste(advice):
        yield row(label, Text(clean(line), "bold"))
        label = ""


def _tables(report: Report, advice: Advice) -> Iterator[Table]:
    tables = Tables(report, advice)
    yield tables.steps
    if not advice.steps and advice.alone:
        yield tables.alone
    if advice.alternatives:
        yield tables.alternatives


def _drawn(table: Table, console: Console) -> Iterator[Text]:
    drawn = rich.table.Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    drawn.add_column(width=3, justify="right")
    change, *measured = table.header
    drawn.add_column(change, min_width=_NARROWEST_CHANGE, overflow="fold")
    for number, name in enumerate(measured, 1):
        # Numbers are not cut off, however narrow a terminal is.
        width = max(len(name), *(len(each.cells[number]) for each in table.rows))
        style = "green" if name == "wins" else ""
        drawn.add_column(name, justify="right", min_width=width, style=style)
    if any(each.is_verified for each in table.rows):
        drawn.add_column(min_width=1)
    for each in table.rows:
        mark = [Text("✓", "green")] if each.is_verified else []
        style = "" if each.is_recommended else "dim"
        drawn.add_row(str(each.number or ""), *map(clean, each.cells), *mark, style=style)
    options = console.options.update_width(_UNLIMITED)
    if console.is_terminal:
        least = console.measure(drawn, options=options).minimum
        options = options.update_width(max(console.width, least))
    for line in console.render_lines(drawn, options, pad=False):
        text = Text.assemble(*((each.text, each.style or "") for each in line))
        text.rstrip()
        yield text
