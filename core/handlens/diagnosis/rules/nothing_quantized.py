from __future__ import annotations

from collections.abc import Iterator

from handlens.diagnosis.rules.rule import Measured, Rule
from handlens.report import Finding


class NothingQuantized(Rule):
    """The recipe quantized no operation at all, or none of a kind that it claims to quantize though the model
    has some.

        net.py:40:5: HL201 warning: recipe x86 quantized no linear, though the model has some

    Without this warning the result would look perfect: a model that was not quantized agrees with itself.

    Where some operations of a kind were quantized and others not, those that were left out are
    [HL205](HL205.md).

    ## Example

    ```python
    class Net(nn.Module):
        def forward(self, x):
            return x @ self.weight  # a matmul; the recipe looks for linear layers
    ```

    ## What to do

    - Write the operation as the recipe knows it: `nn.Linear` or `F.linear` rather than `@`, `nn.Conv2d`
      rather than an unfold and a product.
    - Use a [recipe](../recipes.md) that quantizes the operation: `--recipe`, or `recipe` in the target.
    - Check your own recipe: a quantizer that looks for module types or `source_fn_stack` finds nothing in
      a graph that does not have them.

    ## Suppress

    The finding stands where the target is declared: `# handlens: ignore[HL201]` at the end of that line,
    or `--ignore HL201`.
    """

    code = "HL201"
    name = "nothing-quantized"

    def find(self, measured: Measured) -> Iterator[Finding]:
        recipe, coverage = measured.report.recipe, measured.coverage
        kinds = ", ".join(coverage.unquantized)
        if coverage.quantized == 0:
            message = f"recipe {recipe} quantized nothing, of {coverage.ops} op"
            message += "" if coverage.ops == 1 else "s"
            message += f": no {kinds}" if kinds else ""
        elif kinds:
            message = f"recipe {recipe} quantized no {kinds}, though the model has some"
        else:
            return
        yield Finding(self.code, "warning", message, None, measured.declaration)
