from __future__ import annotations

from collections.abc import Iterator

from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Cause, Finding, op_name
from handlens.words import at_module


class ReferenceDiffers(Rule):
    """The float graph that the quantized model is compared with computes something else than your model. The finding
    stands on the first operation at which they part, with both ratios.

        net.py:44:36: HL204 error: conv2d -6.9 dB: from here on the graph that x86 quantizes is not the model (output -6.8 dB) · conv
           = cause: all other numbers compare the quantized model with that graph, not with the model: against the model, its outputs have -6.7 dB

    Every ratio of a report compares the quantized model with a reference: the exported program, after the recipe's
    own rewrites. On the first evaluation batch, and from the same random state, the reference is run beside the
    model itself. Where float32 reordering explains the difference (80 dB or more; 50 dB in a float16 model, 30 dB
    in a bfloat16 one), the summary says `verified  reference = model (131 dB)`. Where it does not, the other
    numbers may look perfect and mean nothing: a quantized copy of the wrong model.

    The message says who made it differ: "the exported graph" is torch.export's, "the graph that x86 quantizes" is what
    the recipe made of it. The cause says how far the quantized model is off the model itself.

    ## Example

    ```python
    def forward(self, x):
        once = self.bn1(self.conv(x))  # bn1 is folded into self.conv,
        return self.bn2(self.conv(once))  # and then bn2 into the same weight
    ```

    The recipe folds each batch norm into the convolution before it, and here both have one weight. The convolution
    computes with the wrong scales from then on, in the reference as in the quantized model, so they agree.

    ## What to do

    - The graph of the recipe differs: give each batch norm a convolution of its own, or fold it yourself before
      export. Try whether another [recipe](../recipes.md) leaves the operation alone.
    - The exported graph differs: look for what the export fixed at the values of one call: Python numbers and flags
      that the model changes as it runs, branches on the values of tensors, inputs or buffers changed in place.
      `torch.export.export(model, inputs).module()(*inputs)` shows the difference without Handlens.
    - Until then read nothing else of the report. With this finding no `--fail-under` passes.

    A model that differs from itself when it is run twice is not blamed: it was not checked, and the summary says so.

    ## Suppress

    `# handlens: ignore[HL204]` at the end of the line. The summary, the editor's report and the page go on to say
    that the reference is not the model.
    """

    code = "HL204"
    name = "reference-differs"

    def find(self, measured: Measured) -> Iterator[Finding]:
        verified = measured.report.verified
        if verified is None or verified.difference is None:
            return
        begins = verified.difference
        quantized = f"graph that {measured.report.recipe} quantizes"
        graph = "exported graph" if begins.by == "export" else quantized
        output = "" if verified.sqnr_db is None else f" (output {verified.sqnr_db:.1f} dB)"
        if begins.op:
            ratio = "" if begins.sqnr_db is None else f" {begins.sqnr_db:.1f} dB"
            message = (
                f"{op_name(begins.op)}{ratio}: from here on the {graph} is not the model{output}"
            )
            message = at_module(message, begins.module)
        else:
            message = f"the {graph} computes something else than the model{output}"
        why = "all other numbers compare the quantized model with that graph, not with the model"
        if verified.actual_sqnr_db is not None:
            why += f": against the model, its outputs have {verified.actual_sqnr_db:.1f} dB"
        span = begins.span or measured.declaration
        yield Finding(self.code, "error", message, begins.handle, span, cause=Cause(why))
