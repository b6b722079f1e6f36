from __future__ import annotations

from collections.abc import Iterator

from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Finding, op_name


class Unmatched(Rule):
    """An operation of the model could not be compared, and the message says why.

        net.py:31:16: HL202 information: mul was not compared: inside the body of another op
        net.py:44:5: HL202 warning: the output was not compared: shapes differ: (1, 8) and (1, 16)

    What is not compared is not known to be good. Operations that a recipe folds into others (a batch norm
    into the convolution before it), and those without a tensor as output, are expected: they are counted
    in the summary and are no finding.

    Where the output itself was not compared, nothing is known of the model as a whole. That is a warning, where the
    target is declared, and no `--fail-under` passes with it.

    ## Example

    ```python
    return torch.cond(x.sum() > 0, self.left, self.right, (x,))
    ```

    The operations in `left` and `right` run or not, depending on the input; the `cond` as a whole is
    compared.

    ## What to do

    - Not executed: give an evaluation input that takes that way.
    - Taken in some executions and not in others: the models decide differently. The ratio of what they decide by
      says why.
    - The output was not compared: give a target whose model returns tensors, of the same shapes for both models.
    - Different shapes on both sides: the recipe replaced the operation by something else; compare with a
      recipe that does not.
    - Inside a control-flow operation: check the branch as a target of its own.

    ## Suppress

    `# handlens: ignore[HL202]` at the end of the line, or `--ignore HL202`.
    """

    code = "HL202"
    name = "unmatched"

    def find(self, measured: Measured) -> Iterator[Finding]:
        output = measured.report.output
        if output is not None and output.verdict == "not-compared":
            message = f"the output was not compared: {output.reason}"
            yield Finding(self.code, "warning", message, None, measured.declaration)
        for each in measured.coverage.unmatched:
            if not each.expected:
                message = f"{op_name(each.op)} was not compared: {each.reason}"
                span = each.span or measured.declaration
                yield Finding(self.code, "information", message, each.handle, span)
