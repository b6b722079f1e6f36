"""Measure the time and the memory of a function in this process. Memory needs Linux."""

from __future__ import annotations

import ctypes
import gc
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


@dataclass(frozen=True)
class Effort:
    """How often to repeat: for ``budget`` seconds, within a least and a greatest number of times."""

    least: int
    most: int
    budget: float


THOROUGH = Effort(least=3, most=50, budget=4.0)
QUICK = Effort(least=1, most=1, budget=0.0)


def peak_above(function: Callable[[], object]) -> int:
    """The peak of resident memory while ``function`` runs, less what was resident before, in bytes.

    What earlier work has freed goes back to the system first; kept by the allocator, it would serve
    ``function`` and count for nothing.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR.write_text(_RESET_PEAK)
    before = _resident("VmRSS")
    function()
    return _resident("VmHWM") - before


def peak() -> int:
    """The peak of resident memory of this process so far, in bytes."""
    return _resident("VmHWM")


def _resident(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def seconds(function: Callable[[], object]) -> float:
    """The seconds that one call takes."""
    gc.collect()
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def rounds(functions: Mapping[str, Callable[[], object]], effort: Effort) -> dict[str, list[float]]:
    """The seconds of each function, called in turn, round by round, after a warm-up round.

    What slows the machine down for a while then slows all of them down.
    """
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    start = time.perf_counter()
    for done in range(effort.most):
        if done >= effort.least and time.perf_counter() - start > effort.budget:
            break
        for name, function in functions.items():
            times[name].append(seconds(function))
    return times


def ratio(above: list[float], below: list[float]) -> float:
    """The median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(above, below))
