"""The loss that a cause is looked for, and where in an op it happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from handlens.diagnosis.neighbours import Neighbours
from handlens.report import OpReport, Quantizer

Place = Literal["write", "clipping", "input", "weight", "cast", "output"]
"""What an op loses accuracy by: what it writes in place is lost, its output is clipped, an input of the
model or a weight is quantized, its output is cast to half precision, or it is rounded to integers."""

MOST = 0.5
"""The share of an op's own noise from which on its source is *the* cause."""

NEAR_FLOOR_DB = 3.0
"""How far, in dB, a measurement may be from the noise floor and still be rounding to steps."""

# Where the channels, each relative to its own signal, lose this many times as much as all of them together,
# the quiet channels are what loses.
_HIDDEN = 8.0


@dataclass(frozen=True)
class Loss:
    """An op that loses accuracy, and the ops around it."""

    op: OpReport
    neighbours: Neighbours
    missed_by: Sequence[OpReport] = ()
    """The ops that do not see what ``op`` writes in place."""

    @property
    def place(self) -> Place | None:
        """Where most of the loss happens; None where that is not known."""
        op = self.op
        if self.missed_by:
            return "write"
        if op.introduced_verdict != "ok" or op.weight_share is None:
            return None
        if op.clipping_share >= MOST and not self._is_in_quiet_channels:
            return "clipping"
        if (op.input_share or 0.0) >= MOST:
            return "input"
        outputs = op.quantizers_of("output")
        # In half precision the weight is cast as the output is, and has no quantizer of its own.
        if op.weight_share >= MOST and len(outputs) < len(op.quantizers):
            return "weight"
        if not outputs:
            return None
        return "cast" if outputs[0].format else "output"

    @property
    def output(self) -> Quantizer:
        """The coarsest quantizer of the op's output; there must be one."""
        outputs = self.op.quantizers_of("output")
        return max(outputs, key=lambda each: each.scale[1] if each.scale else 0.0)

    @property
    def own_weight_share(self) -> float:
        """The share of the introduced noise that comes of the weight, and not of the model's input."""
        return (self.op.weight_share or 0.0) - (self.op.input_share or 0.0)

    def is_rounding(self, tolerance_db: float) -> bool:
        """True if the op loses what rounding alone must cost it, give or take ``tolerance_db``."""
        floor, introduced = self.op.floor_sqnr_db, self.op.introduced_sqnr_db
        if floor is None or introduced is None:
            return False
        return abs(floor - introduced) <= tolerance_db

    @property
    def _is_in_quiet_channels(self) -> bool:
        """True if the op loses most in channels that are too quiet to show in its ratio."""
        noise, introduced = self.op.introduced_channel_noise, self.op.introduced_sqnr_db
        return (
            noise is not None
            and introduced is not None
            and noise > _HIDDEN * 10 ** (-introduced / 10)
        )
