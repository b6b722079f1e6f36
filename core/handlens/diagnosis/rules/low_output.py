from __future__ import annotations

from collections.abc import Iterator

from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Finding
from handlens.words import decibels


class LowOutput(Rule):
    """The output of the quantized model is under the thresholds. The finding stands where the target
    is declared.

        net.py:44:5: HL105 warning: output 17.3 dB with recipe x86

    All outputs are pooled over all evaluation batches. The thresholds are those of
    [HL101](HL101.md), which suit the recipe. It is an error if the output is NaN or infinite where
    the reference is finite, or is zero in the reference and not in the quantized model.

    HL101 is about single operations, this rule about the model as a whole: many small losses can
    add up to an output that nobody wants, with no line to blame. Conversely, an operation may lose
    much that the output never shows.

    ## Example

    ```python
    def handlens_main():  # output 17.3 dB with recipe x86
        return {"model": Net(), "example_inputs": (photo,)}
    ```

    ## What to do

    - Where there are findings of HL101, begin with those: they name what the output lost, and
      where.
    - Where there are none, every operation loses a little. Another [recipe](../recipes.md) with
      finer scales or more bits, calibration with more inputs, or the most sensitive part of the
      model in float ([`keep_float`](../recipes.md#keeping-modules-in-float)) moves the sum.
    - The ratio is of the output's values. Whether 17 dB matters is for your metric to say: a
      classifier may give the same answers. A target's own [`metric`](../metric.md) is measured
      of both models, and how far logits agree stands beside the ratio. Set `warning-db` and its like in `[tool.handlens]` to
      what suits the model.

    In CI, `--fail-under 20` asks for an output of 20 dB, whatever the thresholds are.

    ## Suppress

    `# handlens: ignore[HL105]` at the end of the line that declares the target, or
    `--ignore HL105`.
    """

    code = "HL105"
    name = "low-output"

    def find(self, measured: Measured) -> Iterator[Finding]:
        report, output = measured.report, measured.report.output
        if output is None:
            return
        if output.verdict == "non-finite":
            yield self._error("NaN or infinite where the reference is finite", measured)
        elif output.verdict == "no-signal" and output.mse:
            yield self._error("zero in the reference, and not in the quantized model", measured)
        elif output.verdict == "ok" and output.sqnr_db is not None:
            ratio, against = output.sqnr_db, ""
            if (verified := report.verified) and verified.actual_sqnr_db is not None:
                ratio, against = verified.actual_sqnr_db, " against the model"
            if severity := measured.thresholds.severity(ratio):
                message = f"output {decibels(ratio)}{against} with recipe {report.recipe}"
                yield Finding(self.code, severity, message, None, measured.declaration)

    def _error(self, what: str, measured: Measured) -> Finding:
        return Finding(self.code, "error", f"the output is {what}", None, measured.declaration)
