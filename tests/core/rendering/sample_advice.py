"""Advice to render."""

from __future__ import annotations

from handlens.advice_report import (
    Advice,
    Alone,
    Change,
    ChangeKind,
    Cost,
    LogitsAgreement,
    Scores,
    Step,
)

NOTHING = Cost(0.0, 0.0)


def change(name: str, handle: int, kind: ChangeKind = "keep-float") -> Change:
    return Change(kind, (name,), (handle,), name)


def step(name: str, handle: int, output: Scores, verified: bool = True) -> Step:
    return Step(change(name, handle), output, Cost(0.41, 0.0525), verified)


CONV2 = Scores(39.46, logits=LogitsAgreement(0.995, 0.01, 400))
ADVICE = Advice(
    Scores(9.16, logits=LogitsAgreement(0.875, 0.3, 400)),
    steps=(step("conv2", 4, CONV2), step("head", 9, Scores(43.0), verified=False)),
    alone=(Alone(change("conv2", 4), CONV2, NOTHING),),
    alternatives=(Alone(change("conv2", 4, "activation-16-bit"), Scores(35.14), NOTHING),),
    units=9,
    measurements=75,
    seconds=3.21,
)
