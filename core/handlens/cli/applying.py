"""Writes advice into the target that it is for, and tells what comes of it."""

from __future__ import annotations

import difflib
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from handlens import words
from handlens.cli.plans import shown
from handlens.rendering.view import clean
from handlens.report import Report, digest
from handlens.request import RunRequest
from handlens.target_edits import Additions, NoEdit, add, declaring_file

_STYLES = {"+": "green", "-": "red"}


def apply(request: RunRequest, additions: Additions, console: Console) -> None:
    """Add to the target of a run, in the file that declares it, and print what that changes there.

    Raises NoEdit, and OSError.
    """
    target = request.target
    file = Path(declaring_file(target))
    data = file.read_bytes()
    encoding = "utf-8"
    if target.kind != "configured":
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    text = data.decode(encoding)
    if target.kind == "function" and request.text and digest(text) != digest(request.text):
        raise NoEdit(f"{shown(str(file))} was edited meanwhile")
    changed = add(text, target, additions).apply(text)
    file.write_bytes(changed.encode(encoding))
    console.print(Text.assemble((f"{shown(str(file))} is changed:", "bold")))
    for line in _difference(text, changed):
        console.print(Text(f"  {clean(line)}", _STYLES.get(line[0], "dim")), soft_wrap=True)


def before_and_after(before: Report, after: Report) -> str:
    """What a change has done to the output: ``output 9.2 → 39.5 dB, top-1 87.5 % → 99.5 %``."""
    if after.output is None or before.output is None:
        return f"the run failed: {after.error.message}" if after.error else "nothing was compared"
    return ", ".join(_changes(before, after))


def _changes(before: Report, after: Report) -> Iterator[str]:
    old, new = before.output, after.output
    assert old is not None
    assert new is not None
    if old.sqnr_db is not None and new.sqnr_db is not None:
        yield f"output {words.change(old.sqnr_db, new.sqnr_db)}"
    else:
        yield f"output {words.output(old)} → {words.output(new)}"
    if old.logits and new.logits:
        yield f"top-1 {words.percent(old.logits.top1)} → {words.percent(new.logits.top1)}"
    if old.metric and new.metric:
        yield f"metric {old.metric.quantized:.4g} → {new.metric.quantized:.4g}"


def _difference(before: str, after: str) -> list[str]:
    """The lines that went and came, each with its sign, and the line before and after them."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]
