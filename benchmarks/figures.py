"""Read the JSON of a benchmark run, and write its figures with units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

Document = dict[str, Any]
"""The JSON of a benchmark run, or a part of it."""

CONTENDERS = {
    "float": "float",
    "quantized": "quantized",
    "accumulated": "Handlens",
    "introduced": "+ introduced",
    "torchao": "torchao",
}
"""The functions of ``contenders`` by name, and their names in the tables."""
COMPARISONS = ("accumulated", "introduced")
"""The comparisons of Handlens. The second measures introduced errors in addition."""


class Block:
    """The rows that were measured in one environment."""

    def __init__(self, block: Document) -> None:
        self.environment: str = block["environment"]
        self.variables: dict[str, str] = block["variables"]
        self._rows: list[Document] = block["rows"]

    def rows(self, measure: str) -> Iterator[Document]:
        return (row for row in self._rows if row["measure"] == measure)

    def workloads(self, measure: str) -> list[str]:
        """The names of the workloads that have a row of a kind, in their order."""
        return list(dict.fromkeys(row["workload"] for row in self.rows(measure)))

    def row(self, measure: str, workload: str, contender: str = "") -> Document:
        """The row of a kind for a workload; a row without figures if it was not measured."""
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
        """Peak memory of a comparison over the highest peak of those ``below``; None if one is missing."""
        peaks = [
            self.row("alone", workload, each)["figures"].get("peak")
            for each in (comparison, *below)
        ]
        if None in peaks or not max(peaks[1:]):
            return None
        return float(peaks[0] / max(peaks[1:]))

    def time_ratio(self, row: Document, kind: str, comparison: str) -> float | None:
        """A ratio of times that were measured in one process, in turn."""
        found = row["figures"].get(kind, {}).get(comparison)
        return None if found is None else float(found)


def blocks(document: Document) -> list[Block]:
    return [Block(each) for each in document["blocks"]]


def duration(*seconds: float) -> str:
    """Write times in the same unit."""
    scale, unit = (1000, "ms") if max(seconds) < 9.995 else (1, "s")
    return "/".join(_digits(each * scale) for each in seconds) + f" {unit}"


def best_and_median(seconds: list[float]) -> str:
    return duration(min(seconds), median(seconds))


def size(size: float) -> str:
    """Write bytes in MB, or in GB from ten thousand MB on."""
    return f"{_digits(size / 1e6)} MB" if size < 9.995e9 else f"{_digits(size / 1e9)} GB"


def ratios(values: Iterable[float | None]) -> str:
    """Write one ratio or a pair of ratios, with a dash for None."""
    shown = ["–" if each is None else f"{_digits(each)}×" for each in values]
    return "–" if set(shown) == {"–"} else "/".join(shown)


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def p95(samples: list[float]) -> float:
    """The 95th percentile: 95 % of the samples do not exceed it."""
    return sorted(samples)[math.ceil(0.95 * len(samples)) - 1]
