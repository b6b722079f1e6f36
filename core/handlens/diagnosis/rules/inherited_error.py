from __future__ import annotations

from collections.abc import Iterator

from handlens.diagnosis.losses import Expression, Losses
from handlens.diagnosis.origins import sqnr
from handlens.diagnosis.phrases import instance
from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Finding, Related
from handlens.words import at_module, decibels, in_module


class InheritedError(Rule):
    """The SQNR of an operation is under the thresholds, but the loss came from upstream: the operation passes
    on what was lost before it. The message names the origin.

        net.py:31:29: HL102 hint: relu 12.1 dB, inherited from conv2d in features.0

    One bad operation makes everything after it look bad. Handlens measures what each operation adds to
    the noise when its inputs are exact, so the origin gets the [HL101](HL101.md), and what follows from
    it gets this hint. "The sum of many small losses" means that no single operation answers for it; "where it could
    not be traced", that it came through something that was not compared.

    ## Example

    ```python
    x = self.features(x)  # HL101: introduces the loss
    x = torch.relu(x)  # HL102: inherits it
    return self.head(x)  # HL102: inherits it
    ```

    ## What to do

    Nothing here: repair the origin, and these go with it. Where many small losses add up, no line is to
    blame; use more bits, or keep the most sensitive part of the model in float.

    `handlens check` counts these under their origin; `--verbose` shows each. They do not change the exit
    status.

    ## Suppress

    `# handlens: ignore[HL102]` at the end of the line, or `--ignore HL102`.
    """

    code = "HL102"
    name = "inherited-error"
    is_in_order_of_ops = True

    def find(self, measured: Measured) -> Iterator[Finding]:
        for expression in measured.losses.expressions:
            if not expression.losing and expression.is_calibrated:
                yield self._finding(expression, measured.losses)

    def _finding(self, expression: Expression, losses: Losses) -> Finding:
        op = min(expression.instances, key=sqnr)
        related = [instance(each) for each in expression.instances if each is not op]
        origin = losses.inherited[op.handle] or losses.origins.not_finite(op)
        if origin is not None:
            source = f"inherited from {in_module(origin.name, origin.module)}"
            place = instance(origin)
            related.insert(0, Related(f"origin: {place.message}", place.span, place.handle))
        elif losses.origins.are_many(op):
            source = "the sum of many small losses before it"
        else:
            source = "lost before it, where it could not be traced"
        ratio = "" if op.sqnr_db is None else decibels(op.sqnr_db)
        message = at_module(f"{op.name} {ratio}, {source}", op.module)
        return Finding(self.code, "hint", message, op.handle, op.span, tuple(related))
