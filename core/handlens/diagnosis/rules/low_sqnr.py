from __future__ import annotations

from collections.abc import Iterator

from handlens.advised import gain, of_op
from handlens.diagnosis import causes
from handlens.diagnosis.causes.loss import Loss
from handlens.diagnosis.losses import Expression
from handlens.diagnosis.origins import sqnr
from handlens.diagnosis.phrases import instance
from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Advice, Cause, Finding, OpReport, Related
from handlens.words import at_module, decibels


class LowSqnr(Rule):
    """An operation loses accuracy by being quantized: at its output, or further down because of it,
    the signal-to-quantization-noise ratio (SQNR) is under the thresholds.

        net.py:28:29: HL101 error: conv2d 39.7 dB, down to 3.0 dB at conv2d · conv1

    The first number is the *accumulated* SQNR: how far the quantized model has drifted from the
    float model by this operation, everything before it included. "Introduces" is the SQNR the
    operation would have if its inputs were exact: the loss that is its own. "Down to" says where a
    loss that begins here is worst. 20 dB means that the noise is a tenth of the signal in
    amplitude, 40 dB a hundredth.

    An operation at its *noise floor* loses what rounding must cost, with its bits, its scale and
    its values: Δ²/12 for each value that is rounded to steps of Δ. The floor of one operation is
    about 40 dB with eight well-used bits, 20 dB with four, 56 dB in bfloat16 and 74 dB in float16.
    The thresholds follow from it: 10, 20 and 30 dB under the floor.

    | recipe | error under | warning under | information under |
    |---|---|---|---|
    | `x86`, `xnnpack`, `"module:callable"`, all other names with 8 bits | 10 dB | 20 dB | 30 dB |
    | `int4-weight-only` | 0 dB | 5 dB | 10 dB |
    | `bf16`, `fp16` | 25 dB | 35 dB | 45 dB |
    | setting | `error-db` | `warning-db` | `information-db` |

    With four bits there is not that much room: at 0 dB the noise is as loud as the signal. float16
    has the thresholds of bfloat16: a deep float16 model has about 50 dB, which is enough for nearly
    everyone, and an operation under 45 dB has lost more than rounding costs. Of recipes joined by
    `+` the coarsest decides. A threshold that you set holds for every recipe. One that you do not
    set moves if it would be out of order with it.

    ## Example

    ```python
    with torch.no_grad():
        self.conv1.weight[0] *= 200.0  # one channel dwarfs the others,
        self.conv2.weight[:, 0] /= 200.0  # and the next layer takes it back


    def forward(self, x):
        x = self.conv1(x)  # conv2d 35.3 dB, down to 0.6 dB at conv2d · conv1
        return self.conv2(x)  # conv2d 0.6 dB, introduces 10.2 dB · conv2
    ```

    The output of `conv1` has one scale for all channels. It must reach the largest value of the
    largest channel, so the small channels share a handful of its 256 steps. At `conv1` that is hard
    to see, since the large channel is fine; `conv2` needs the small ones.

    ## Causes, and what to do

    A finding has a line "cause" if what was measured leaves no doubt. The line "floor" appears if the
    operation is 3 dB or more worse than rounding alone.

    The line "help" says what wins accuracy back, with what the output was measured to be with it:
    `keep conv2 in float: output 9.2 → 39.5 dB`. An editor measures that behind the findings;
    in a terminal [`handlens advise`](../advice.md) does. A finding about an operation that turns out to win
    nothing in float, neither alone nor with what is proposed, is withdrawn. What cannot be
    measured so, such as other inputs for the calibration, is said where it has helped models with that
    cause.

    | cause | measured | what helps |
    |---|---|---|
    | values outside the quantizer's range | clipping is half of what the operation loses, or more | inputs like the real ones, if calibration has not seen such values: [HL104](HL104.md) |
    | the model's input | its quantization, or its cast, is half of the loss, or more | inputs like the real ones, if the range of its quantizer is another one |
    | its weight | at least half is lost before the output is rounded, and the model's input is not it | as measured |
    | one scale for a weight with a loud channel | one channel reaches 8 times as far as the median one | quantize the weight per channel |
    | one loud channel sets the scale | the median channel has an eighth of the steps, or fewer | move the channel's size into the next weight (cross-layer equalization) |
    | one scale with what it is put beside | a `cat` or `stack` gives its inputs one scale, and another one reaches 4 times as far | as measured |
    | masked values set the scale | a softmax follows, and the values that it does not take out use a quarter of the range, or less | as measured |
    | a range far wider than the values | the values use a quarter of it, or less | inputs like the real ones, if calibration has seen values that far |
    | a few large values | the largest is 16 times the rms or more, and the loss is that of rounding | as measured |
    | few bits | 16 steps or fewer, and the loss is that of rounding | as measured |
    | too small for float16 | the rms is below 6.1e-05, where float16 has fewer bits | scale the values up, or use bfloat16 |
    | bfloat16 | the loss is that of 8 significant bits | float16, if its range suffices |

    Name what stays in float in [`keep_float`](../recipes.md#keeping-modules-in-float). In half
    precision, the result of a kept operation is cast back, unless the model itself casts it to
    float32 next: keep the operations that read it as well.

    Values that a mask takes out of a softmax are not compared, as long as they are low enough in
    both models to have no weight there: -1e9, the smallest number of the type and -inf serve
    equally well.

    If nothing stands out and every operation loses a little, quantization-aware training goes
    further than post-training quantization can.

    ## Suppress

    `# handlens: ignore[HL101]` at the end of the line, `--ignore HL101`, or

    ```toml
    [tool.handlens]
    ignore = ["HL101"]
    ```
    """

    code = "HL101"
    name = "low-sqnr"
    is_helped_by_keep_float = True
    is_in_order_of_ops = True

    def find(self, measured: Measured) -> Iterator[Finding]:
        for expression in measured.losses.expressions:
            # A line shows its worst: what it loses itself comes before what it inherits.
            if expression.losing:
                yield self._finding(expression, measured)

    def _finding(self, expression: Expression, measured: Measured) -> Finding:
        losses = measured.losses
        op = min(expression.losing, key=lambda each: sqnr(losses.charged[each.handle]))
        worst = losses.charged[op.handle]
        severity = losses.severity(worst)
        assert severity is not None
        message = f"{op.name} {_ratio(op)}"
        related = [instance(each) for each in expression.instances if each is not op]
        if worst is not op and severity != losses.severity(op):
            message += f", down to {_ratio(worst)} at {worst.name}"
            place = instance(worst)
            related.insert(0, Related(f"worst after it: {place.message}", place.span, place.handle))
        elif op.introduced_sqnr_db is not None:
            message += f", introduces {decibels(op.introduced_sqnr_db)}"
        message = at_module(message, op.module)
        cause = causes.of_loss(Loss(op, losses.neighbours, losses.origins.missing(op)))
        help = _measured_help(op, measured.report.advice) or cause.help
        return Finding(
            self.code, severity, message, op.handle, op.span, tuple(related), Cause(cause.why, help)
        )


def _measured_help(op: OpReport, advice: Advice | None) -> str:
    """What was measured to win most at an op: ``keep conv2 in float: output 9.2 → 39.5 dB``."""
    offer = next(of_op(advice, op.handle), None) if advice else None
    if advice is None or offer is None:
        return ""
    return f"{offer.title[0].lower()}{offer.title[1:]}: {gain(advice, offer.output)}"


def _ratio(op: OpReport) -> str:
    return "" if op.sqnr_db is None else decibels(op.sqnr_db)
