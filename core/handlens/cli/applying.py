"""Writes advice into the target that it is for, and tells what comes of it."""

from __future__ import annotations

import difflib
import io
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from handlens import words
from handlens.cli.plans import shown
from handlens.rendering.advice import to_paste
from handlens.rendering.view import clean
from handlens.report import Report, digest
from handlens.target_edits import Additions, NoEdit, add, declaring_file
from handlens.targets import Target

_STYLES = {"+": "green", "-": "red"}


def apply(
    report: Report,
    target: Target,
    texts: dict[str, str],
    rerun: Callable[[Target], Report],
    console: Console,
) -> bool:
    """Write what a report recommends into its target, run it again, and print what came of it.

    Args:
        texts: By file, the texts that were run. An edit changes them, too.

    Returns False if the target cannot be edited, or does not run any more.
    """
    if report.advice is None or not report.advice.changes:
        return True
    name = f"{shown(target.file)}::{clean(target.name)}"
    try:
        file, difference = _edit(target, Additions.of(report.advice.changes), texts)
    except NoEdit as reason:
        click.echo(f"handlens: error: {name} is left as it is: {clean(str(reason))}", err=True)
        for line in to_paste(report.advice):
            click.echo(f"  to paste: {clean(line)}", err=True)
        return False
    console.print(Text.assemble((shown(file), "bold"), ":"), soft_wrap=True)
    for line in difference:
        console.print(Text(f"  {clean(line)}", _STYLES.get(line[0], "dim")), soft_wrap=True)
    after = rerun(target)
    came = clean(after.error.message) if after.error else ", ".join(_changes(report, after))
    console.print(Text.assemble((name, "bold"), f": {came}"), soft_wrap=True)
    return after.error is None


def _edit(target: Target, additions: Additions, texts: dict[str, str]) -> tuple[str, list[str]]:
    """Add to a target. Returns the file that declares it, and what has changed in there. Raises NoEdit."""
    file = Path(declaring_file(target))
    data = file.read_bytes()
    encoding = "utf-8"
    if target.kind == "function":
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    text = data.decode(encoding)
    if digest(text) != digest(texts.setdefault(str(file), text)):
        raise NoEdit("its file was edited meanwhile")
    changed = texts[str(file)] = add(text, target, additions).apply(text)
    file.write_bytes(changed.encode(encoding))
    lines = difflib.unified_diff(text.splitlines(), changed.splitlines(), n=1, lineterm="")
    return str(file), [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def _changes(before: Report, after: Report) -> Iterator[str]:
    """What has come of each measure of the output: ``output 9.2 → 39.5 dB``."""
    old, new = before.output, after.output
    if old is None or new is None:
        return
    if old.sqnr_db is not None and new.sqnr_db is not None:
        yield f"output {words.change(old.sqnr_db, new.sqnr_db)}"
    else:
        yield f"output {clean(words.output(old))} → {clean(words.output(new))}"
    if old.logits and new.logits:
        yield f"top-1 {words.top1(old.logits)} → {words.top1(new.logits)}"
    if old.metric and new.metric:
        values = words.metric_value(old.metric.quantized), words.metric_value(new.metric.quantized)
        yield f"{clean(new.metric.name)} {' → '.join(values)}"
