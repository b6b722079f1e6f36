from __future__ import annotations

from collections.abc import Iterator

from handlens.diagnosis import causes
from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.grouping import by_expression
from handlens.diagnosis.phrases import instance
from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Finding
from handlens.words import at_module


class NonFinite(Rule):
    """The quantized model gives NaN or Inf where the float model gives a finite value.

        net.py:40:15: HL103 error: div gives NaN or Inf where the reference is finite · attention

    No SQNR can describe this, and everything computed from it is lost. Only the first operation on the
    way is reported.

    ## Example

    ```python
    scale = x.abs().mean(dim=-1, keepdim=True)
    return x / scale  # a small mean is rounded to zero, and this divides by it
    ```

    ## Causes, and what to do

    Two causes are told where they are certain:

    - **Overflow.** The operation's values are cast to float16, and the reference goes beyond 65504. Use bfloat16, which
      has the range of float32, or scale the values down. An operation that is kept in float32 alone is cast back and
      overflows one operation later: keep all up to where values are small again.
    - **A divisor that is rounded to zero.** A division, a logarithm or a reciprocal square root reads values
      that are small in the reference and zero in the quantized model. Add an epsilon *larger* than one step of
      the quantizer, or clamp from below.

    Where no cause is told:

    - Check that the calibration inputs are finite.

    ## Suppress

    `# handlens: ignore[HL103]` at the end of the line. Think twice: the output of such a model is seldom
    of any use.
    """

    code = "HL103"
    name = "non-finite"
    is_helped_by_keep_float = True
    is_in_order_of_ops = True

    def find(self, measured: Measured) -> Iterator[Finding]:
        ops = measured.report.ops
        broken = {op.handle for op in ops if op.verdict == "non-finite"}
        first = [op for op in ops if op.handle in broken and not broken & set(op.inputs)]
        for op, *others in by_expression(first):
            message = f"{op.name} gives NaN or Inf where the reference is finite"
            message = at_module(message, op.module)
            related = tuple(map(instance, others))
            cause = causes.of_non_finite(Loss(op, measured.losses.neighbours))
            yield Finding(self.code, "error", message, op.handle, op.span, related, cause)
