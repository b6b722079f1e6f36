"""Names in a target that mean nothing, and those that were probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from handlens.report import Misspelled

_MOST = 3
_LEAST_LIKENESS = 0.5


def near(given: str, known: Iterable[str]) -> Misspelled | None:
    """The known names that are like ``given``, the nearest first; None if there is none."""
    found = difflib.get_close_matches(given, list(known), _MOST, _LEAST_LIKENESS)
    return Misspelled(given, tuple(found)) if found else None


def question(misspelled: Misspelled) -> str:
    return f"Is it {' or '.join(map(repr, misspelled.meant))}?"
