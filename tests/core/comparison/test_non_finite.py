"""Values that are not finite, wherever they come up, leave a report that can be sent."""

from __future__ import annotations

import pytest

from handlens.dataclass_json import to_json
from handlens.report import Report
from handlens.workers import wire
from tests.core.conftest import RunText

MODEL = """\
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.other, self.last = (nn.Conv2d(8, 8, 1) for _ in range(3))
        self.norm = nn.GroupNorm(2, 8)

    def forward(self, x):
        x = self.first(x)
        y = {expression}
        z = y + x
        return self.last(torch.cat([z, x * 2], 2)) + self.norm(z).mean()

def handlens_main():
    torch.manual_seed(0)
    batches = [(torch.randn(2, 8, 4, 4),) for _ in range(3)]
    batches = {{"example_inputs": batches[0], "calibration": batches[:1], "evaluation": batches[1:]}}
    return {{"model": Model(), **batches}}
"""

EXPRESSIONS = {
    "infinite in half precision": "self.other(x * 1e5)",
    "NaN in half precision": "self.other(x * 1e5) - self.other(x * 1e5 + 1)",
    "infinite in one channel": "self.other(x) * torch.tensor([1e9] + [1.0] * 7).view(8, 1, 1).to(x)",
    "infinite of either sign": "(x * 1e5).softmax(1) + x.sign() * 1e5 * 1e5",
    "infinite in the model": "self.other(x) / (x > 0)",
    "NaN in the model": "torch.log(x)",
    "NaN in the second batch": "self.other(x) / (x.flatten()[0] > 0)",
    "zero over zero": "(x * 1e-30) * 1e-30 / ((x * 1e-30) * 1e-30)",
}


@pytest.mark.parametrize("recipe", ["fp16", "bf16", "x86"])
@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_what_is_not_finite_is_no_number_of_a_report(
    run_text: RunText, expression: str, recipe: str
) -> None:
    report: Report = run_text(MODEL.format(expression=expression), recipe=recipe)
    # Where the model itself gives NaN, torchao cannot calibrate, and that is told.
    assert report.error is None or report.error.rule == "HL208"
    assert wire.decode(wire.encode({"report": to_json(report)}).strip())
    assert report.error or any(
        op.verdict == "non-finite" or op.sqnr_db is not None for op in report.ops
    )
