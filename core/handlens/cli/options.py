"""Options that several commands have."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from handlens.cli.ending import Refused
from handlens.rendering.formats import FORMATS

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

recipe: _Decorator = click.option(
    "--recipe", metavar="NAME", help="Quantize with this recipe instead of the target's."
)
python: _Decorator = click.option(
    "--python",
    "interpreter",
    metavar="INTERPRETER",
    default=sys.executable,
    help="The Python that runs the model, with torch and torchao. Default: the one that runs this.",
)
deadline: _Decorator = click.option(
    "--deadline",
    "deadline_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="End the run of a target after this time, and show the line that it is at.",
)


def output_format(text: str = FORMATS["text"].summary) -> _Decorator:
    """The option ``--format``. ``text`` says what the format of that name shows."""
    summaries = {name: each.summary for name, each in FORMATS.items()} | {"text": text}
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(list(FORMATS)),
        default="text",
        show_default=True,
        help=f"What to print: {'; '.join(f'{name}, {said}' for name, said in summaries.items())}.",
    )


def _in_a_folder(
    context: click.Context, parameter: click.Parameter, output: Path | None
) -> Path | None:
    if output and not output.parent.is_dir():
        raise Refused(f"cannot write {output}: there is no folder {output.parent}")
    return output


output: _Decorator = click.option(
    "--output",
    metavar="PATH",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_in_a_folder,
    help="Write to this file instead of standard output.",
)
