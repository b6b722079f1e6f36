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
from handlens.request import RunRequest
from handlens.target_edits import Additions, NoEdit, add, declaring_file

_STYLES = {"+": "green", "-": "red"}


def apply(
    request: RunRequest, report: Report, rerun: Callable[[RunRequest], Report], console: Console
) -> bool:
    """Write what a report recommends into its target, run it again, and print what came of it.

    Returns False if the target cannot be edited, or does not run any more.
    """
    if report.advice is None or not report.advice.changes:
        return True
    target = f"{shown(request.target.file)}::{clean(request.target.name)}"
    try:
        file, difference = _edit(request, Additions.of(report.advice.changes))
    except NoEdit as reason:
        click.echo(f"handlens: error: {target} is left as it is: {clean(str(reason))}", err=True)
        for line in to_paste(report.advice):
            click.echo(f"  to paste: {clean(line)}", err=True)
        return False
    console.print(Text.assemble((shown(file), "bold"), ":"), soft_wrap=True)
    for line in difference:
        console.print(Text(f"  {clean(line)}", _STYLES.get(line[0], "dim")), soft_wrap=True)
    after = rerun(request)
    came = clean(after.error.message) if after.error else ", ".join(_changes(report, after))
    console.print(Text.assemble((target, "bold"), f": {came}"), soft_wrap=True)
    return after.error is None


def _edit(request: RunRequest, additions: Additions) -> tuple[str, list[str]]:
    """Add to the target of a run. Returns the file that declares it, and what has changed in there.

    Raises NoEdit.
    """
    target = request.target
    file = Path(declaring_file(target))
    data = file.read_bytes()
    encoding = "utf-8"
    if target.kind == "function":
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    text = data.decode(encoding)
    if target.kind == "function" and digest(text) != digest(request.text or ""):
        raise NoEdit("its file was edited meanwhile")
    changed = add(text, target, additions).apply(text)
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
        yield f"top-1 {words.percent(old.logits.top1)} → {words.percent(new.logits.top1)}"
    if old.metric and new.metric:
        yield f"metric {old.metric.quantized:.4g} → {new.metric.quantized:.4g}"
