"""Read a document of results: rows by what they are about, and how figures are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

Document = dict[str, Any]
"""What the JSON of a run holds, and any part of it."""

CONTENDERS = {
    "float": "float",
    "quantized": "quantized",
    "accumulated": "Handlens",
    "introduced": "+ introduced",
    "torchao": "torchao",
}
"""Those of ``contenders``, and how the tables call them."""
COMPARISONS = ("accumulated", "introduced")
"""What Handlens can compute; the second includes the first."""


class Block:
    """The rows that were measured in one environment."""

    def __init__(self, block: Document) -> None:
        self.environment: str = block["environment"]
        self.variables: dict[str, str] = block["variables"]
        self._rows: list[Document] = block["rows"]

    def rows(self, measure: str) -> Iterator[Document]:
        return (row for row in self._rows if row["measure"] == measure)

    def workloads(self, measure: str) -> list[str]:
        """The names of the workloads that have such a row, in order."""
        return list(dict.fromkeys(row["workload"] for row in self.rows(measure)))

    def row(self, measure: str, workload: str, contender: str = "") -> Document:
        """The one such row; a row without figures if it was not measured."""
        for row in self.rows(measure):
            if row["workload"] == workload and row["contender"] == contender:
                return row
        return {"figures": {}, "error": "n/a: not measured"}

    def batches(self) -> dict[tuple[str, str], tuple[dict[int, int], str]]:
        """Peak memory by number of batches, and an error if there was one, by workload and contender."""
        found: dict[tuple[str, str], tuple[dict[int, int], str]] = {}
        for row in self.rows("batches"):
            key = (row["workload"], row["contender"])
            peaks, error = found.get(key, ({}, ""))
            if not row["error"]:
                peaks[row["figures"]["batches"]] = row["figures"]["peak"]
            found[key] = peaks, error or row["error"] or ""
        return found

    def memory_ratio(self, workload: str, comparison: str, *below: str) -> float | None:
        """The peak of a comparison by the highest peak of those ``below``; None where one is missing."""
        peaks = [
            self.row("alone", workload, each)["figures"].get("peak")
            for each in (comparison, *below)
        ]
        if None in peaks or not max(peaks[1:]):
            return None
        return float(peaks[0] / max(peaks[1:]))

    def time_ratio(self, row: Document, kind: str, comparison: str) -> float | None:
        """One of the ratios that were measured with all contenders in one process."""
        found = row["figures"].get(kind, {}).get(comparison)
        return None if found is None else float(found)


def blocks(document: Document) -> list[Block]:
    return [Block(each) for each in document["blocks"]]


def duration(*seconds: float) -> str:
    """Times in one unit."""
    scale, unit = (1000, "ms") if max(seconds) < 9.995 else (1, "s")
    return "/".join(_digits(each * scale) for each in seconds) + f" {unit}"


def best_and_median(seconds: list[float]) -> str:
    return duration(min(seconds), median(seconds))


def size(size: float) -> str:
    """Bytes in MB, or in GB from ten thousand MB on."""
    return f"{_digits(size / 1e6)} MB" if size < 9.995e9 else f"{_digits(size / 1e9)} GB"


def ratios(values: Iterable[float | None]) -> str:
    """One ratio or a pair of them; a dash where there is none."""
    shown = ["–" if each is None else f"{_digits(each)}×" for each in values]
    return "–" if set(shown) == {"–"} else "/".join(shown)


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def p95(samples: list[float]) -> float:
    """What 95 % of the samples do not exceed."""
    return sorted(samples)[math.ceil(0.95 * len(samples)) - 1]
