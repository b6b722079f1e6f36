"""The stages of a run, for people."""

from __future__ import annotations

from dataclasses import dataclass

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
