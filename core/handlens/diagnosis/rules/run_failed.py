from __future__ import annotations

from handlens.diagnosis.rules.rule import Rule


class RunFailed(Rule):
    """The model was exported, and what follows failed: calibrating, quantizing or casting it,
    running an evaluation input, or the target's own metric.

        net.py:21:18: HL303 error: masked_fill of the quantized model failed on evaluation batch 1: RuntimeError: value cannot be converted to type c10::Half without overflow
           = cause: the constant -1e+09 is beyond the range of float16, which ends at 65504
           = help: torch.finfo(x.dtype).min follows the type of what it is used with, and so does -inf

    The error is on the line of the operation that failed, or that the quantizer was looking at; or
    in your own code if that raised it: a custom operation, a quantizer, the generator of the
    batches, a [metric](../metric.md). The message says which of the two models fails. "Of the float model" means that it
    raises on the same input without being quantized.

    ## Example

    ```python
    scores = scores.masked_fill(~keep, -1e9)  # float16 has no such number
    ```

    ## What to do

    A cause is named where it was measured:

    - **A constant that the type does not have.** Take it from the type: `torch.finfo(x.dtype).min`,
      or `-inf`.
    - **Another index than in the float model.** Positions or timesteps that are floating point
      numbers are rounded with the rest, and what is rounded up may be beyond the end of a table.
      Pass them as integers.
    - **float32 meets float16 or bfloat16.** A cast reaches parameters, buffers and inputs. Tensors
      that `forward` makes itself must follow them: `torch.zeros(n, dtype=x.dtype)`.
    - **The quantizer of a library raised.** The cause names the place. Up to three recipes that
      were tried on the same export, and worked on its example inputs, are named:
      `int8-dynamic, bf16 and xnnpack work on the same export`. Trying takes 20 seconds at most.
      Report the failure to the library: `--verbose` shows the traceback.

    Where no cause is named:

    - Shapes: inputs for calibration and evaluation must fit the exported model. Give them the shape
      of `example_inputs`, or declare what varies in `dynamic_shapes`.
    - `calibration` and `evaluation` are iterables of *tuples* of inputs; a single input is `(x,)`.
    - `quantize_` takes layers whose weight is a parameter. One that is computed at every call is
      made a parameter by the call that the message names, once the model is trained. Or leave the
      layer in float with [`keep_float`](../recipes.md#keeping-modules-in-float).

    Calibration that fails because the float model gives NaN or Inf is [HL208](HL208.md). A failure
    cannot be suppressed.
    """

    code = "HL303"
    name = "run-failed"
    can_be_suppressed = False
