from __future__ import annotations

from handlens.diagnosis.rules.rule import Rule


class ExportFailed(Rule):
    """`torch.export` cannot turn the model into a graph.

        net.py:43:16: HL302 error: Exporting Net failed: GuardOnDataDependentSymNode: Could not guard on …

    Handlens tries export by tracing first and by symbolic execution after it; the message is that of the
    first.

    ## Example

    ```python
    def forward(self, x):
        if x.sum() > 0:  # depends on the data: a graph has no `if`
            return self.left(x)
        return self.right(x)
    ```

    ## What to do

    - A branch on data: `torch.cond`, `torch.where`, or take the decision outside the model.
    - A loop over data: `torch.while_loop`, or a fixed number of steps.
    - `.item()`, `.tolist()` and NumPy in `forward`: stay with tensors, or move them to the preparation of
      inputs.
    - Shapes that must vary: `dynamic_shapes` in the target.
    - Export only what is quantized: make the backbone the model of the target, and leave the
      pre- and post-processing out.

    `--verbose` shows the traceback, with what `torch.export` suggests. A failure cannot be suppressed.
    """

    code = "HL302"
    name = "export-failed"
    can_be_suppressed = False
