"""Advice as plain data: which changes, made one after the other, win accuracy back, and what each costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ChangeKind = Literal[
    "keep-float",
    "weight-per-channel",
    "activation-16-bit",
    "observer-min-max",
    "observer-histogram",
    "weight-finer-group",
    "weight-8-bit",
]


@dataclass(frozen=True)
class LogitsAgreement:
    """How far two outputs agree that look like logits: rows of scores, one score for each class."""

    top1: float
    """The share of the rows whose largest score is that of the same class, from 0 to 1. Of several equal
    scores, it is the first."""
    kl_divergence: float | None
    """Mean over the rows of KL(softmax(reference) || softmax(quantized)), in nats; None if not finite."""
    rows: int


@dataclass(frozen=True)
class Scores:
    """The accuracy of a quantized model's outputs, over all evaluation batches."""

    sqnr_db: float | None
    """None if there is no noise at all, or if the outputs could not be compared."""
    exact: bool = False
    """True if the outputs are those of the reference to the bit."""
    logits: LogitsAgreement | None = None
    """None if the outputs do not look like logits."""
    metric: float | None = None
    """The mean over the batches of the target's own metric; None if the target has none, or if it is not
    finite."""


@dataclass(frozen=True)
class Cost:
    """The share of the model, from 0 to 1, that leaves the number format of the recipe by a change."""

    multiply_adds: float
    weight_bytes: float


@dataclass(frozen=True)
class Change:
    """One change to how a model is quantized. It concerns the ops of one unit."""

    kind: ChangeKind
    entries: tuple[str | int, ...]
    """What to add to the target's ``keep_float``, or to its ``adjust`` for another kind of change."""
    handles: tuple[int, ...]
    """The ops that it concerns, in their order."""
    name: str
    """The ops for people, by their modules: ``conv2``, or ``features.3.conv with relu6``."""


@dataclass(frozen=True)
class Alone:
    """One change, made alone."""

    change: Change
    output: Scores
    cost: Cost


@dataclass(frozen=True)
class Step:
    """A change that is made after those of all steps before it, and what all of them give together."""

    change: Change
    output: Scores
    """With this change and all before it."""
    cost: Cost
    """Of this change and all before it."""
    verified: bool = False
    """True if ``output`` is from a real run of the recipe with these changes, and not from a switch."""


@dataclass(frozen=True)
class Advice:
    """Which changes win accuracy back, best first. Every number was measured."""

    before: Scores
    """Without any change."""
    objective: Literal["sqnr", "metric"] = "sqnr"
    steps: tuple[Step, ...] = ()
    """The search's path: each step has the changes of the steps before it, too."""
    alone: tuple[Alone, ...] = ()
    """The changes that were measured by themselves, the best first."""
    alternatives: tuple[Alone, ...] = ()
    """Changes before float, each in place of the same unit's ``keep-float`` and made alone, best first."""
    units: int = 0
    """How many units could be changed."""
    measurements: int = 0
    seconds: float = 0.0
    reach_db: float | None = None
    """The SQNR of the output that was asked for."""
    complete: bool = True
    """False while the search goes on, and if its budget ended it."""
    reason: str = ""
    """Why there is no advice, in words that follow "no advice: "."""

    @property
    def recommended(self) -> int:
        """How many steps to take: those that reach the wish; else all that win something worth a change."""
        outputs = [self.before, *(step.output for step in self.steps)]
        reaching = (count for count, each in enumerate(outputs) if self._reaches(each))
        return next(reaching, len(self.steps))

    @property
    def changes(self) -> tuple[Change, ...]:
        """All that is recommended."""
        return tuple(step.change for step in self.steps[: self.recommended])

    @property
    def output(self) -> Scores:
        """With all that is recommended."""
        return self.steps[self.recommended - 1].output if self.recommended else self.before

    @property
    def falls_short(self) -> bool:
        """True if there is a wish, and nothing that was found reaches it."""
        return self.reach_db is not None and not self._reaches(self.output)

    def _reaches(self, output: Scores) -> bool:
        if self.reach_db is None:
            return False
        return output.exact or (output.sqnr_db is not None and output.sqnr_db >= self.reach_db)
