"""What standard error shows while runs are under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from rich.console import Console
from rich.progress import Progress as ProgressBar
from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from handlens.advice_report import Advice
from handlens.rendering.advice import so_far
from handlens.rendering.view import clean
from handlens.request import Progress, Stage

_LINES_REMEMBERED = 20


class RunStatus:
    """Shows the stage of the current run on a terminal, and what the model prints if that is asked for."""

    def __init__(self, verbose: bool) -> None:
        self.recent: deque[str] = deque(maxlen=_LINES_REMEMBERED)
        """The last lines that the current run printed."""
        self._verbose = verbose
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._progress = ProgressBar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[stages]}", markup=True),
            TextColumn("{task.fields[so_far]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._ahead: Sequence[Stage] = ()

    def __enter__(self) -> RunStatus:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, name: str, stages: Sequence[Stage]) -> None:
        """Show that the run of the target ``name`` has begun, and the stages that it will go through."""
        self.recent.clear()
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._ahead = stages
        self._task = self._progress.add_task(clean(name), stages=_stages("", stages), so_far="")

    def stage(self, name: str) -> None:
        """Show the stage that the run has reached."""
        if self._task is not None:
            self._progress.update(self._task, stages=_stages(name, self._ahead), so_far="")

    def progress(self, progress: Progress) -> None:
        """Show how far that stage is."""
        if self._task is not None:
            self._progress.update(self._task, so_far=str(progress))

    def advice(self, advice: Advice) -> None:
        """Show the best that the search for advice has found so far."""
        if self._task is not None:
            # What was done before has no room beside it in a terminal of the usual width.
            self._progress.update(
                self._task, stages=f"[bold]{self._ahead[-1]}[/]", so_far=clean(so_far(advice))
            )

    def remark(self, text: str) -> None:
        """Show something about the interpreter that the user should know."""
        self._progress.console.print(Text(clean(text)), soft_wrap=True)

    def output(self, line: str) -> None:
        """Remember a line that the run printed, and show it if that is asked for."""
        # A progress bar overwrites its line; only what it wrote last counts.
        line = line.rsplit("\r", 1)[-1]
        self.recent.append(line)
        if self._verbose:
            self._progress.console.print(Text(clean(line)), soft_wrap=True)


def _stages(current: str, stages: Sequence[str]) -> str:
    """The names of all stages, with the current one bold and later ones dim."""
    if current not in stages:
        return "[dim]starting[/]"
    done = stages.index(current)
    styles = [
        "green" if at < done else "bold" if at == done else "dim" for at in range(len(stages))
    ]
    return " ".join(f"[{style}]{stage}[/]" for style, stage in zip(styles, stages))
