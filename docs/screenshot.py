"""Draws what the terminal shows of a command: ``python docs/screenshot.py PICTURE.svg check FILE``."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from handlens import report
from handlens.rendering import text
from handlens.rendering.view import View

FINDINGS = 1


def main(picture: str, *arguments: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "handlens", *arguments, "--format", "json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    command = " ".join(("handlens", *arguments))
    if run.returncode > FINDINGS:
        sys.exit(f"{command} ended with status {run.returncode}")
    document = report.load(run.stdout)
    widest = max(len(line) for line in _draw(document, width=500).export_text().splitlines())
    svg = _draw(document, width=widest).export_svg(title=command, unique_id="handlens")
    # The picture must not ask another site for its font; any monospaced one will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    # Some viewers drop the spaces that a line begins with.
    svg = svg.replace("<text ", '<text xml:space="preserve" ')
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    Path(picture).write_text(svg, "utf-8")


def _draw(document: report.Document, width: int) -> Console:
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        markup=False,
        emoji=False,
    )
    view = View(lambda name: Path(name).read_text("utf-8"), str(Path.cwd()))
    for each in document.reports:
        text.print_report(each, console, view)
    return console


if __name__ == "__main__":
    main(*sys.argv[1:])
