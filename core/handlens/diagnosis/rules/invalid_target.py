from __future__ import annotations

from handlens.diagnosis.rules.rule import Rule


class InvalidTarget(Rule):
    """The target does not give what a target has to, or asks for something that there is not.

        net.py:60:5: HL305 error: handlens_main returned a Net: return (model, example_inputs), or a mapping …

    A target is a function named `handlens_<name>` that takes nothing and returns
    `(model, example_inputs)` or a mapping with these keys:

    | key | value |
    |---|---|
    | `model` | an `nn.Module` |
    | `example_inputs` | a tuple of positional inputs |
    | `example_kwargs` | a mapping of keyword inputs; optional |
    | `dynamic_shapes` | as `torch.export.export` takes it; optional |
    | `calibration` | an iterable of input tuples; optional, the example inputs unless given |
    | `evaluation` | an iterable of input tuples; optional, the example inputs unless given. With a `metric`, the batches may have labels beside the inputs |
    | `recipe` | the name of a [recipe](../recipes.md), or a callable that returns a torchao `Quantizer`; optional |
    | `keep_float` | a list of module paths and debug handles that [stay in float](../recipes.md#keeping-modules-in-float); optional |
    | `metric` | a function [`metric(outputs, batch)`](../metric.md) that gives a number, higher if better; optional |
    | `adjust` | a mapping of module paths and debug handles to [kinds of change](../recipes.md#adjusting-before-keeping-in-float); optional |

    ## Example

    ```python
    def handlens_main():
        return Net()  # HL305: the inputs are missing; return Net(), (torch.randn(1, 3, 32, 32),)
    ```

    ## What to do

    The message names what was given and what is expected. For targets in pyproject.toml
    (`[tool.handlens.targets.<name>]`), every value is a `"module:callable"` string, but `recipe`,
    which may be a name, `keep_float`, which is a list of module paths, and `adjust`, a table of them.

    A failure cannot be suppressed.
    """

    code = "HL305"
    name = "invalid-target"
    can_be_suppressed = False
