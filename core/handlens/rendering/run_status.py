"""What standard error shows while runs are under way."""

from __future__ import annotations

from collections import deque

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from handlens.rendering.view import clean
from handlens.request import STAGES

_OUTPUT_KEPT = 20


class RunStatus:
    """What standard error shows meanwhile: the stage, on a terminal; the model's output, if asked."""

    def __init__(self, verbose: bool) -> None:
        self.recent: deque[str] = deque(maxlen=_OUTPUT_KEPT)
        """The last lines that the current run printed."""
        self._verbose = verbose
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[stages]}", markup=True),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> RunStatus:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, name: str) -> None:
        """A run of the target ``name`` begins."""
        self.recent.clear()
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(clean(name), stages=_stages(""))

    def stage(self, name: str) -> None:
        """The run comes to a stage."""
        if self._task is not None:
            self._progress.update(self._task, stages=_stages(name))

    def output(self, line: str) -> None:
        """The run printed a line."""
        # What a progress bar wrote over is gone, here as on a terminal.
        line = line.rsplit("\r", 1)[-1]
        self.recent.append(line)
        if self._verbose:
            self._progress.console.print(Text(clean(line)), soft_wrap=True)


def _stages(current: str) -> str:
    """The stages, with the current one bold and those to come dim."""
    if current not in STAGES:
        return "[dim]starting[/]"
    done = STAGES.index(current)
    styles = [
        "green" if at < done else "bold" if at == done else "dim" for at in range(len(STAGES))
    ]
    return " ".join(f"[{style}]{stage}[/]" for style, stage in zip(styles, STAGES))
