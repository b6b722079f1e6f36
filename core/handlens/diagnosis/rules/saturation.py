from __future__ import annotations

from collections.abc import Iterator

from handlens.diagnosis import causes
from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Finding
from handlens.words import at_module

# Clipping costs accuracy where it is a quarter of what the op loses, or more: without it the op would be
# better by 1.2 dB at least.
_COSTLY = 0.25


class Saturation(Rule):
    """More than one value in a hundred lies outside the range of an operation's quantizer, is clipped to its
    edge, and it costs accuracy: clipping is a quarter of what the operation loses, or more.

        net.py:22:13: HL104 warning: conv2d clips 4.1% of its values · features.0

    The range of a quantizer is what calibration has seen. Values beyond it are not rounded, they are cut
    off: the error is as large as the overshoot. A little clipping is often right, since a narrower range
    has finer steps; so this is shown only where the operation loses accuracy too ([HL101](HL101.md)), and
    loses a good part of it by clipping. The cause says how far the values reach, what the range is, what
    calibration has seen, and how much of the loss that makes.

    ## Example

    ```python
    def handlens_main():
        return {
            "model": Net(),
            "example_inputs": (photo,),
            "calibration": [(0.3 * photo,)],  # darker than what the model will meet
            "evaluation": [(photo,)],
        }
    ```

    ## What to do

    - Calibrate with inputs that are like those the model will meet, and with enough of them: `calibration`
      in the target.
    - If calibration has seen such values, the observer has cut them off for finer steps: more of them change nothing.
    - The limit is `saturated-share` in `[tool.handlens]`, 0.01 unless set.

    ## Suppress

    `# handlens: ignore[HL104]` at the end of the line, or `--ignore HL104`.
    """

    code = "HL104"
    name = "saturation"
    is_helped_by_keep_float = True
    is_in_order_of_ops = True

    def find(self, measured: Measured) -> Iterator[Finding]:
        limit, losses = measured.thresholds.saturated_share, measured.losses
        for expression in losses.expressions:
            clipping = [
                op
                for op in expression.losing
                if op.saturated > limit and op.clipping_share >= _COSTLY
            ]
            if clipping:
                op = max(clipping, key=lambda each: each.saturated)
                message = at_module(f"{op.name} clips {op.saturated:.1%} of its values", op.module)
                cause = causes.of_clipping(Loss(op, losses.neighbours))
                yield Finding(self.code, "warning", message, op.handle, op.span, cause=cause)
