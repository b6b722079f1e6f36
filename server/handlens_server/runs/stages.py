"""The stages of a run, for people."""

from __future__ import annotations

from dataclasses import dataclass

from handlens.request import Progress

STARTING = "starting"
"""The stage before those of ``handlens.request.STAGES``: the run waits for a worker."""


@dataclass(frozen=True)
class Stage:
    """How far a run is when a stage begins."""

    percentage: int | None
    """None if nobody knows."""
    description: str


STAGES = {
    STARTING: Stage(0, "starting Python and torch"),
    "load": Stage(5, "loading the model"),
    "export": Stage(15, "exporting"),
    "quantize": Stage(45, "quantizing"),
    "compare": Stage(70, "comparing"),
    "advise": Stage(None, "searching for what helps"),
}


def stage_at(name: str, progress: Progress | None = None) -> Stage:
    """How far a run is in a stage, which has come as far as ``progress`` says since it began."""
    begun = STAGES[name]
    if progress is None or begun.percentage is None:
        return begun
    later = [each.percentage for each in STAGES.values() if each.percentage is not None]
    end = min((each for each in later if each > begun.percentage), default=100)
    percentage = begun.percentage + int(progress.share * (end - begun.percentage))
    return Stage(percentage, f"{begun.description}: {progress}")
