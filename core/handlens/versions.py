"""The versions of Python, torch and torchao that the tests have run with (docs/versions.md)."""

from __future__ import annotations

import re
from collections.abc import Collection

PYTHONS = ((3, 10), (3, 11), (3, 12), (3, 13))

TORCHAO = {
    (2, 10): (0, 16),
    (2, 11): (0, 17),
    (2, 12): (0, 17),
    (2, 13): (0, 18),
    (2, 14): (0, 18),
    (2, 15): (0, 18),
}
"""By torch, the torchao that it was tested with."""


def release(version: str) -> tuple[int, int]:
    """The first two numbers of a version: (2, 13) of "2.13.0+cpu"; (0, 0) if it has none."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def remarks(python: str, torch: str, torchao: str) -> tuple[str, ...]:
    """What a user of these versions should know, in sentences; nothing of most."""
    found = []
    if release(python) not in PYTHONS:
        found.append(f"Python {python} is untested: Handlens is tested with {_range(PYTHONS)}.")
    if release(torch) not in TORCHAO:
        found.append(f"torch {torch} is untested: Handlens is tested with {_range(TORCHAO)}.")
    elif release(torchao) != TORCHAO[release(torch)]:
        tested = ".".join(map(str, TORCHAO[release(torch)]))
        found.append(
            f"torchao {torchao} is untested with torch {torch}: Handlens is tested with {tested}."
        )
    if release(python) < (3, 11):
        found.append(
            f"Python {python} keeps no columns of expressions, so findings mark whole lines; "
            "Python 3.11 keeps them."
        )
    return tuple(found)


def _range(releases: Collection[tuple[int, int]]) -> str:
    low, high = min(releases), max(releases)
    return f"{low[0]}.{low[1]} to {high[0]}.{high[1]}"
