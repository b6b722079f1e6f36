"""Every architecture of ``benchmarks/architectures`` under a few recipes, run as an editor runs it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workloads import ROOT
from handlens.report import Report, Verdict
from handlens.request import RunRequest
from handlens.targets import Target, discover
from handlens.workers.client import Worker

FAMILIES = {
    "transformers: text": "language",
    "transformers: images and sound": "perception",
    "torchvision": "torchvision_models",
    "timm": "timm_models",
}
"""The files of ``benchmarks/architectures``, by what they are called."""
RECIPES = ("x86", "xnnpack", "int8-dynamic", "bf16")
PREFIX = "handlens_"
DEADLINE_S = 180.0
"""For one architecture under one recipe."""


@dataclass(frozen=True)
class Cell:
    """One architecture under one recipe."""

    family: str
    architecture: str
    recipe: str
    seconds: float
    error: str = ""
    """Why there is no result."""
    verdict: Verdict = "not-compared"
    """Of the outputs."""
    sqnr_db: float | None = None
    ops: int = 0
    compared: int = 0
    unexpected: tuple[tuple[str, str, int], ...] = ()
    """Op, reason and number of what was not compared and should have been."""
    differs: str = ""
    """Where the graph that was quantized computes something else than the model, or why that was not
    checked; empty where it computes the same."""

    @property
    def sound(self) -> bool:
        """Whether there is a result, about what the model computes, and every op is accounted for."""
        return not (self.error or self.unexpected or self.differs)


def targets(family: str) -> list[Target]:
    """The architectures of a family, each as a target."""
    file = str(ROOT / f"benchmarks/architectures/{FAMILIES[family]}.py")
    return discover(Path(file).read_text("utf-8"), file)


def name(target: Target) -> str:
    """``bert`` for ``handlens_bert``."""
    return target.name.removeprefix(PREFIX)


def rows() -> list[tuple[str, str]]:
    """All families and architectures, in the order of their files."""
    return [(family, name(target)) for family in FAMILIES for target in targets(family)]


async def measure(
    families: Iterable[str], recipes: Iterable[str], only: Iterable[str] = ()
) -> AsyncIterator[Cell]:
    """The cells of all architectures, or of those that are named, one after another.

    Each is a run of its own process: a crash costs one cell. An architecture is exported once.
    """
    worker, _ = await Worker.start(sys.executable, on_output=lambda line: None, cwd=str(ROOT))
    try:
        for family in families:
            for target in targets(family):
                if only and name(target) not in only:
                    continue
                for number, recipe in enumerate(recipes):
                    request = RunRequest(
                        target,
                        recipe=recipe,
                        workspace=(str(ROOT),),
                        hold_export=True,
                        reuse_export=number > 0,
                    )
                    start = time.perf_counter()
                    report = await worker.run(request, lambda stage: None, DEADLINE_S)
                    seconds = time.perf_counter() - start
                    yield _cell(family, target, recipe, round(seconds, 1), report)
    finally:
        await worker.close()


def _cell(family: str, target: Target, recipe: str, seconds: float, report: Report) -> Cell:
    found = family, name(target), recipe, seconds
    if report.error is not None:
        return Cell(*found, error=report.error.message)
    assert report.output is not None
    assert report.verified is not None
    assert report.coverage is not None
    unexpected = Counter(
        (each.op, each.reason) for each in report.coverage.unmatched if not each.expected
    )
    return Cell(
        *found,
        verdict=report.output.verdict,
        sqnr_db=report.output.sqnr_db,
        ops=report.coverage.ops,
        compared=report.coverage.matched,
        unexpected=tuple((op, reason, count) for (op, reason), count in unexpected.items()),
        differs="; ".join(
            [each.message for each in report.findings if each.rule == "HL204"]
            or filter(None, [report.verified.reason])
        ),
    )
