from __future__ import annotations

from collections.abc import Iterator

from handlens.diagnosis.grouping import by_line
from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Finding, Related, op_name
from handlens.words import at_module


class StaysInFloat(Rule):
    """An operation of a kind that the recipe quantizes stayed in float, and the message says why. There is one finding
    for each line; the others of the line are listed with it.

        net.py:19:34: HL205 information: linear stays in float: it is inside torch.no_grad(), where torchao quantizes nothing · gate

    What stays in float loses nothing, so its numbers look best of all. But it costs what it cost before: its weights
    take four times the memory, and a backend for integers may not run it. [HL201](HL201.md) is for a kind of which
    *none* was quantized; this is for those left out where others were not.

    ## Example

    ```python
    with torch.no_grad():
        gate = torch.sigmoid(self.gate(x))  # export makes a region of this, and torchao looks into none
    return self.head(x) * gate
    ```

    ## Why, and what to do

    | reason | what to do |
    |---|---|
    | it is inside `torch.no_grad()`, `torch.autocast`, a branch of `torch.cond`, the body of a loop, … | take the operation out of the region; a model in `eval` that is only run needs no `no_grad` in its `forward`. Exported within `with torch.no_grad():`, it has no such region, and its operations are quantized |
    | the quantizer did not take it; not this transposed convolution | write it as the quantizer knows it |
    | it computes in float64 | `model.float()`: torchao quantizes float32, float16 and bfloat16 |
    | control flow does not run with the weights of `quantize_` | take the layer out of the branch or loop, or use a static recipe |
    | its weight is computed | bake the weight in before: `torch.nn.utils.parametrize.remove_parametrizations` |
    | `quantize_` takes `nn.Linear` layers, and this one is in `MultiheadAttention` | write the projections as layers of their own |
    | no recurrent layers | nothing but `bf16` and `fp16` does; `keep_float` says that it is meant |
    | its number of inputs or outputs has no kernel | pad the layer to a multiple of what the message names |

    Operations that [`keep_float`](../recipes.md#keeping-modules-in-float) names, and kinds that the recipe does not
    touch, are as they should be and no finding. The hover of each says "not quantized" and why.

    ## Suppress

    `# handlens: ignore[HL205]` at the end of the line, or `--ignore HL205`.
    """

    code = "HL205"
    name = "stays-in-float"

    def find(self, measured: Measured) -> Iterator[Finding]:
        for first, *others in by_line(measured.coverage.in_float):
            message = at_module(f"{op_name(first.op)} stays in float: {first.reason}", first.module)
            related = tuple(
                Related(
                    f"{op_name(each.op)} stays in float: {each.reason} · {each.module or each.node}",
                    each.span,
                    each.handle,
                )
                for each in others
            )
            span = first.span or measured.declaration
            yield Finding(self.code, "information", message, first.handle, span, related)
