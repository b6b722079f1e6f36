"""``adjust``: how a target wants some ops quantized instead of as the recipe does it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from handlens.advice_report import ChangeKind
from handlens.capture.export import Captured
from handlens.loading.subject import InvalidTarget, Subject
from handlens.recipes.entries import kept_handles
from handlens.recipes.recipe import Quantized

_LACKING: dict[ChangeKind, str] = {
    "weight-per-channel": "no weight there has one scale for the tensor",
    "weight-finer-group": "no weight there can be quantized in groups",
    "weight-8-bit": "no weight there has fewer than 8 bits",
    "activation-16-bit": "no value there has a scale from calibration",
    "observer-min-max": "no value there has a scale from calibration",
    "observer-histogram": "no value there has a scale from calibration",
}


@dataclass(frozen=True)
class Adjustment:
    """A kind of change that a target asks for, and the ops that it is for, by their handles."""

    entry: str | int
    kind: ChangeKind
    handles: frozenset[int]


def adjustments(captured: Captured, subject: Subject) -> tuple[Adjustment, ...]:
    """What ``adjust`` asks for, in its order. Raises InvalidTarget for an entry that names no op."""
    return tuple(
        Adjustment(entry, kind, kept_handles(captured, (entry,), "adjust"))
        for entry, kind in subject.adjust
    )


def refusal(wanted: Adjustment, recipe: str, possible: Iterable[ChangeKind]) -> InvalidTarget:
    """The error for a kind of change that none of its ops can have; ``possible`` are those that one can."""
    kinds = " or ".join(repr(each) for each in dict.fromkeys(possible))
    rest = f"There can be {kinds}" if kinds else "Nothing there can be adjusted, only kept in float"
    return InvalidTarget(
        f"adjust has {wanted.kind!r} for {wanted.entry!r}, and with recipe {recipe} "
        f"{_LACKING[wanted.kind]}. {rest}."
    )


def alternatives(quantized: Quantized, handles: Iterable[int]) -> tuple[ChangeKind, ...]:
    """The kinds of change, beside keeping them in float, that change how one of some ops is quantized."""
    return tuple(
        dict.fromkeys(kind for handle in handles for kind in quantized.alternatives.get(handle, ()))
    )
