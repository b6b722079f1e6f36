from __future__ import annotations

from collections.abc import Iterator

from handlens.diagnosis.grouping import by_line
from handlens.diagnosis.phrases import CALIBRATE
from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Cause, Finding, Related
from handlens.words import at_module

_CAUSE = Cause("scales and zero points are what an observer starts with", CALIBRATE)


class NotCalibrated(Rule):
    """A quantizer has no range to go by: calibration gave it nothing, or zeros only. Its scale and zero point are what an
    observer starts with, so what it quantizes is far off.

        net.py:22:34: HL206 warning: conv1d is not calibrated: the model's input x was zero in all of the calibration · a

    Nothing else is said of such an operation, for it has no other fault that could be told. What comes after it inherits
    the loss ([HL102](HL102.md)). If nothing at all was calibrated, there is one finding, at the target. What is zero in the
    evaluation, too, needs no range, and is no finding.

    ## Example

    ```python
    def handlens_main():
        return {
            "model": Net(),
            "example_inputs": (frames,),
            "calibration": [(torch.zeros_like(frames),)],  # the padding before the first frame
            "evaluation": [(frames,)],
        }
    ```

    ## What to do

    - Calibrate with inputs like those that the model meets: `calibration` in the target, an iterable of tuples.
    - Where a part of the model runs for some inputs only, have such inputs among them.

    ## Suppress

    `# handlens: ignore[HL206]` at the end of the line, or `--ignore HL206`.
    """

    code = "HL206"
    name = "not-calibrated"

    def find(self, measured: Measured) -> Iterator[Finding]:
        """One finding for each line whose quantizers have no range to go by; one for all if none has."""
        ops = measured.report.ops
        lines = list(by_line(op for op in ops if op.uncalibrated))
        reasons = {op.uncalibrated for op in ops if op.quantizers}
        if len(lines) > 1 and len(reasons) == 1:
            message = f"nothing was calibrated: {reasons.pop()}"
            yield Finding(self.code, "warning", message, None, measured.declaration, cause=_CAUSE)
            return
        for first, *others in lines:
            message = f"{first.name} is not calibrated: {first.uncalibrated}"
            message = at_module(message, first.module)
            related = tuple(
                Related(
                    f"{each.name} is not calibrated: {each.uncalibrated}", each.span, each.handle
                )
                for each in others
            )
            span = first.span or measured.declaration
            yield Finding(self.code, "warning", message, first.handle, span, related, _CAUSE)
