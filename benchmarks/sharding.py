"""Measure what two processes save: the same command alone and by torchrun, one thread for each process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.figures import Document, duration
from benchmarks.readme import line, taken
from benchmarks.workloads import ROOT, TARGETS

_RANKS = (1, 2)
_WHOLE = "whole command"


@dataclass(frozen=True)
class _Subject:
    title: str
    command: str
    target: str
    stage: str
    """The stage that is shared out."""


_SUBJECTS = (
    _Subject(
        "`check`, 16 batches of EfficientNet-Lite0 ×4",
        "check",
        "handlens_efficientnet_16_batches",
        "compare",
    ),
    _Subject("`advise`, EfficientNet-Lite0 ×1", "advise", "handlens_efficientnet", "advise"),
)


@dataclass(frozen=True)
class Row:
    """One command, alone and shared by two ranks."""

    title: str
    identical: bool
    """True if all reports were the same, times aside."""
    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By what was timed, and by the number of ranks."""


def measure(rounds: int) -> Iterator[Row]:
    """Measure each command, alone and shared in turn."""
    for subject in _SUBJECTS:
        seconds: dict[str, dict[str, list[float]]] = {subject.stage: {}, _WHOLE: {}}
        reports = []
        for _ in range(rounds):
            for ranks in _RANKS:
                report, whole = _run(subject, ranks)
                took = {subject.stage: report.pop("timings")[subject.stage], _WHOLE: whole}
                for what, each in took.items():
                    seconds[what].setdefault(str(ranks), []).append(each)
                reports.append(report)
        yield Row(subject.title, all(each == reports[0] for each in reports), seconds)


def _run(subject: _Subject, ranks: int) -> tuple[dict[str, Any], float]:
    """The report, and the seconds that the command took."""
    shared = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks))
    start = time.perf_counter()
    done = subprocess.run(
        [
            *(sys.executable, *(shared if ranks > 1 else ()), "-m", "handlens"),
            *(subject.command, f"{TARGETS}::{subject.target}", "--format", "json"),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    [report] = json.loads(done.stdout)["reports"]
    if report["error"]:
        sys.exit(f"{subject.target} failed: {report['error']['message']}\n{done.stderr[-4000:]}")
    if report["advice"]:
        report["advice"]["seconds"] = None
    return report, seconds


def section(document: Document) -> str:
    """Date and machine, and a table of the best times and the efficiency."""
    lines = [
        line(("", "", "1 process", "2 ranks", "efficiency", "report")),
        line(["---", "---", "--:", "--:", "--:", "---"]),
    ]
    for row in document["rows"]:
        same = "identical" if row["identical"] else "**differs**"
        for what, seconds in row["seconds"].items():
            alone, shared = min(seconds["1"]), min(seconds["2"])
            times = duration(alone), duration(shared)
            lines.append(line([row["title"], what, *times, f"{alone / (2 * shared):.2f}", same]))
    busy = f"Other processes had a load of {document['machine']['load']:.1f}."
    return f"\n{taken(document)} {busy}\n\n" + "\n".join(lines) + "\n\n"
