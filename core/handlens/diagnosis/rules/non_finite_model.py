from __future__ import annotations

from collections.abc import Iterator

from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Cause, Finding, NonFinite, Related, op_name
from handlens.words import at_module


class NonFiniteModel(Rule):
    """The float model itself gives NaN or Inf, before anything is quantized. The finding stands on the first operation
    that does.

        net.py:50:35: HL208 warning: add gives -Inf in the float model itself, and softmax makes NaN of it
           = cause: what it reads is finite, and 2 of 4 values on evaluation batch 1 are -Inf
           = softmax makes NaN of it (net.py:50:16)

    Values without a number cannot be compared: all ratios leave them out, so that a model may look fine that computes
    nothing. Observers cannot be calibrated with them either. If that is where the run ends, this rule is its error, and
    the message names the operation at which calibration fails, too.

    ## Example

    ```python
    low = torch.finfo(x.dtype).min
    mask = causal.masked_fill(future, low) + padding.masked_fill(absent, low)  # low + low is -Inf
    return torch.softmax(scores + mask, dim=-1)  # a row of -Inf alone is NaN
    ```

    ## What is reported, and what is not

    Infinities are numbers: a mask of `-inf` before a softmax is as it should be. NaN that the model replaces is what
    somebody meant. So there is a finding only for

    - NaN or Inf that comes out of the model;
    - NaN that a decision is made of: it is compared, cast to integers, or its place is asked for (`argmax`, `topk`,
      `sort`). Tests for it (`isnan`, `==`) are none;
    - NaN or Inf at which calibration fails.

    Nothing is said of NaN that goes no further: replaced by `nan_to_num`, `where` or `masked_fill`, or not selected.

    It stands on the operation that gives NaN of values without NaN. If those have infinities that nobody wrote down (an
    overflow, a division by zero, `log(0)`), it stands on the operation that gives these. Where infinities were written
    down (`masked_fill(…, -inf)`, a mask among the buffers), that place is related. A parameter or a buffer that holds
    NaN is named at the first operation that reads it, an input at the target. There is one finding: mend it, and the next
    run tells of the next.

    ## What to do

    - Masks: build one with `torch.where` or `&` instead of adding two, and let no row be masked wholly.
    - Divisions, logarithms, square roots: clamp what they read, or add an epsilon.
    - A parameter or a buffer: look at the checkpoint. Random memory of `torch.empty` is a common reason.
    - An input: look at the data that `calibration` or `evaluation` gives.

    ## Suppress

    `# handlens: ignore[HL208]` at the end of the line. As the error of a run it cannot be suppressed.
    """

    code = "HL208"
    name = "non-finite-model"

    def find(self, measured: Measured) -> Iterator[Finding]:
        if (found := measured.report.non_finite) is not None:
            message, cause, related = describe(found)
            span = found.span or measured.declaration
            yield Finding(self.code, "warning", message, found.handle, span, related, cause)


def describe(found: NonFinite) -> tuple[str, Cause, tuple[Related, ...]]:
    """The message, the cause, and the other place that belongs to it."""
    value, some = found.value, f"{found.count} of {found.values} values"
    verb = "is" if found.count == 1 else "are"
    if not found.op:
        return (
            f"{found.held_by} of {found.batch} itself holds {value}",
            Cause(f"{some} {verb} {value}"),
            (),
        )
    message = f"{op_name(found.op)} gives {value} in the float model itself"
    related: tuple[Related, ...] = ()
    if found.held_by:
        why = f"{found.held_by} holds {value}: {some} {verb} {value}"
    elif found.infinity:
        why = f"{some} on {found.batch} {verb} {value}, made of infinities that {found.infinity} gives"
        related = (Related(f"{found.infinity} gives infinities", found.infinity_span),)
    else:
        why = f"what it reads is finite, and {some} on {found.batch} {verb} {value}"
    if found.nan:
        message += f", and {found.nan} makes NaN of it"
        related = (Related(f"{found.nan} makes NaN of it", found.nan_span),)
    return at_module(message, found.module), Cause(why), related
