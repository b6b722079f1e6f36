"""Advice as an editor offers it: what to change, and what the output was measured to be with it."""

from __future__ import annotations

from handlens import words
from handlens.advice_report import Advice
from handlens.advised import Offer, gain, named, of_steps, wins
from handlens.rendering.advice import verdict


def whole(advice: Advice) -> Offer | None:
    """All that is recommended; None if nothing is."""
    return Offer(advice.changes, advice.output) if advice.changes else None


def is_best(advice: Advice, offer: Offer) -> bool:
    """True if no other change that was made alone gives more."""
    return bool(advice.alone) and offer.changes == (advice.alone[0].change,)


def so_far(advice: Advice) -> str:
    """The best that was found so far: ``conv2 → 39.5 dB``; empty if nothing helps yet."""
    best = of_steps(advice, len(advice.steps))
    if best is None and advice.alone:
        best = Offer((advice.alone[0].change,), advice.alone[0].output)
    if best is None or not wins(advice, best.output):
        return ""
    return f"{named(best.changes, 1)} → {words.scores(best.output)}"


def summary(advice: Advice) -> str:
    """All in one line: ``keep conv2 in float: output 9.2 → 39.5 dB``, or that nothing helps."""
    offer = whole(advice)
    if offer is None:
        return " ".join(verdict(advice))
    return f"{offer.title[0].lower()}{offer.title[1:]}: {gain(advice, offer.output)}"
