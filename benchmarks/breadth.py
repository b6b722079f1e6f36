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
"""The names of the files in ``benchmarks/architectures``, by the library of the architectures."""
RECIPES = ("x86", "xnnpack", "int8-dynamic", "bf16")
PREFIX = "handlens_"
DEADLINE_S = 180.0
"""The longest time for one architecture under one recipe."""


@dataclass(frozen=True)
class Cell:
    """The result of one architecture under one recipe."""

    family: str
    architecture: str
    recipe: str
    seconds: float
    error: str = ""
    """Why there is no result."""
    verdict: Verdict = "not-compared"
    """The verdict about the outputs."""
    sqnr_db: float | None = None
    ops: int = 0
    compared: int = 0
    unexpected: tuple[tuple[str, str, int], ...] = ()
    """The ops that should have been compared and were not: their kind, the reason, and their number."""
    differs: str = ""
    """Where the quantized graph begins to compute something else than the model, or why that was not
    checked; empty if both compute the same."""

    @property
    def sound(self) -> bool:
        """True if there is a result, it is about the model, and every op was compared that should be."""
        return not (self.error or self.unexpected or self.differs)


def targets(family: str) -> list[Target]:
    """The targets of a family, one for each architecture."""
    file = str(ROOT / f"benchmarks/architectures/{FAMILIES[family]}.py")
    return discover(Path(file).read_text("utf-8"), file)


def name(target: Target) -> str:
    """The name of the architecture of a target: ``bert`` for ``handlens_bert``."""
    return target.name.removeprefix(PREFIX)


def rows() -> list[tuple[str, str]]:
    """All families and architectures, in the order of their files."""
    return [(family, name(target)) for family in FAMILIES for target in targets(family)]


async def measure(
    families: Iterable[str], recipes: Iterable[str], only: Iterable[str] = ()
) -> AsyncIterator[Cell]:
    """The cells of all architectures, or of those that are named, one after another.

    Every cell is run in a process of its own, so that a crash costs one cell. The export of an
    architecture is used for all recipes.
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
