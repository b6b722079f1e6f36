"""NaN and Inf that the float model itself gives: which are told of, and where."""

from __future__ import annotations

import pytest

from handlens.report import Document, Finding, Report, dump
from tests.needs import needs_columns

from ..conftest import RunText

MODEL = """\
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x, keep):
        {}

def handlens_main():
    torch.manual_seed(0)
    model = Model().eval()
    x, keep = torch.randn(3, 2, 4), torch.tensor([[{}, False], [True, True]])
    bad = x.clone()
    bad[0, 0, 0] = float("nan")
    {}
    return dict(model=model, example_inputs=(x, keep), recipe={!r}, {})
"""

SCORES = "s = self.a(x) @ self.b(x).transpose(-2, -1)\n        "
MASKED = SCORES + "s = s.masked_fill(~keep, float('-inf'))\n        "
DOUBLE = SCORES + (
    "low = torch.finfo(x.dtype).min\n"
    "        m = torch.zeros_like(s).masked_fill(~keep, low)\n"
    "        return torch.softmax(s + (m + m), -1) @ x"
)


def text(
    body: str, recipe: str = "bf16", row_is_masked: bool = True, more: str = "", first: str = "pass"
) -> str:
    return MODEL.format(body, not row_is_masked, first, recipe, more)


def told(report: Report, source: str) -> tuple[Finding, str]:
    """The one finding of the rule, and the expression that it is on."""
    # A number that is not finite is none of JSON's.
    assert dump(Document("0", "2", (report,)))
    [found] = [each for each in report.findings if each.rule == "HL208"]
    assert found.span is not None
    line = source.splitlines()[found.span.line - 1]
    return found, line[found.span.column : found.span.end_column]


MADE = {
    "0/0": (
        "return self.b(x.relu() / (x.relu() * 0))",
        "x.relu() / (x.relu() * 0)",
        "div gives NaN",
    ),
    "log(0)": ("return self.b(torch.log(x.relu()))", "torch.log(x.relu())", "log gives -Inf"),
    "sqrt(-1)": ("return torch.sqrt(self.a(x)) * 2", "torch.sqrt(self.a(x))", "sqrt gives NaN"),
    "exp": ("return torch.exp(self.a(x) * 1e4)", "torch.exp(self.a(x) * 1e4)", "exp gives Inf"),
    "in a branch": (
        "return torch.cond(x.sum() > -1e8, lambda a: a.sqrt() + 1, lambda a: a * 2, (x,))",
        "a.sqrt()",
        "sqrt gives NaN",
    ),
    "behind a branch": (
        "y = torch.cond(x.sum() > -1e8, lambda a: a * 2, lambda a: a + 1, (x.sqrt(),))\n"
        "        return self.a(y)",
        "x.sqrt()",
        "sqrt gives NaN",
    ),
    "in a region": (
        "y = self.a(x)\n        with torch.no_grad():\n            y = y.sqrt()\n        return y + 1",
        "y.sqrt()",
        "sqrt gives NaN",
    ),
    "decided by": (
        "return self.b(x), self.a(x).sqrt().argmax(-1)",
        "self.a(x).sqrt()",
        "sqrt gives NaN",
    ),
    "compared": (
        "return self.b(x) * (self.a(x).sqrt() > 0.5)",
        "self.a(x).sqrt()",
        "sqrt gives NaN",
    ),
    "two masks": (
        DOUBLE,
        "m + m",
        "add gives -Inf in the float model itself, and softmax makes NaN",
    ),
}


@needs_columns
@pytest.mark.parametrize("name", MADE)
def test_the_first_op_that_gives_nan_or_inf_is_told_of(run_text: RunText, name: str) -> None:
    body, expression, message = MADE[name]
    report = run_text(text(body))
    found, place = told(report, text(body))
    assert report.status == "ok"
    assert place == expression
    assert found.message.startswith(message)
    assert found.severity == "warning"
    assert found.cause.why.startswith("what it reads is finite, and ")
    # What has no finite value after it is no news.
    assert not [each for each in report.findings if each.handle and "throughout" in each.message]


@needs_columns
def test_a_row_that_is_masked_wholly_is_told_of_where_nan_is_made_of_it(run_text: RunText) -> None:
    body = MASKED + "return torch.softmax(s, -1) @ x"
    found, place = told(run_text(text(body)), text(body))
    assert place == "torch.softmax(s, -1)"
    assert found.cause.why == (
        "6 of 12 values on evaluation batch 1 are NaN, made of infinities that masked_fill gives"
    )
    [mask] = found.related
    assert mask.span is not None
    assert "masked_fill" in text(body).splitlines()[mask.span.line - 1]


MEANT = {
    "a mask": MASKED + "return torch.softmax(s, -1) @ x",
    "an additive mask": SCORES
    + "m = torch.zeros(2, 2, dtype=x.dtype).masked_fill(~keep, float('-inf'))\n"
    "        return torch.softmax(s + m, -1) @ x",
    "nan_to_num": MASKED + "return torch.nan_to_num(torch.softmax(s, -1)) @ x",
    "where": MASKED
    + "p = torch.softmax(s, -1)\n        return torch.where(torch.isnan(p), 0.0, p) @ x",
    "masked_fill": MASKED
    + "return torch.softmax(s, -1).masked_fill(~keep, 0.0).nan_to_num(0.0) @ x",
    "a selection": MASKED + "return torch.softmax(s, -1)[:, 1:] @ x",
    "shapes": MASKED + "p = torch.softmax(s, -1)\n"
    "        return torch.zeros_like(p, dtype=torch.bool), torch.nan_to_num(p)",
}


@pytest.mark.parametrize("recipe", ["bf16", "x86"])
@pytest.mark.parametrize("name", MEANT)
def test_infinities_before_a_softmax_and_nan_that_is_replaced_are_as_they_should_be(
    run_text: RunText, name: str, recipe: str
) -> None:
    masked = name not in ("a mask", "an additive mask")
    report = run_text(text(MEANT[name], recipe, masked))
    assert report.status == "ok", report.error
    assert [each.rule for each in report.findings if each.rule == "HL208"] == []


@needs_columns
@pytest.mark.parametrize(
    ("first", "holder"),
    [
        ("model.mean[1] = float('nan')", "buffer mean"),
        ("model.a.weight.data[0, 0] = float('nan')", "parameter a.weight"),
    ],
)
@pytest.mark.parametrize("recipe", ["bf16", "int8-dynamic", "x86"])
def test_a_buffer_or_a_parameter_that_holds_nan_is_named(
    run_text: RunText, first: str, holder: str, recipe: str
) -> None:
    body = "return self.b(self.a(x) - self.mean)"
    found, place = told(run_text(text(body, recipe, first=first)), text(body, first=first))
    assert place == ("self.a(x)" if "weight" in holder else "self.a(x) - self.mean")
    assert (
        found.cause.why
        == f"{holder} holds NaN: 1 of {16 if 'weight' in holder else 4} values is NaN"
    )


@needs_columns
@pytest.mark.parametrize("recipe", ["xnnpack", "x86"])
def test_calibration_that_fails_at_nan_is_told_at_the_op_that_gives_it(
    run_text: RunText, recipe: str
) -> None:
    body = "y = self.a(x).sqrt()\n        return self.b(y)"
    report = run_text(text(body, recipe))
    found, place = told(report, text(body, recipe))
    assert report.error is not None
    assert (report.status, report.error.rule, found.severity) == ("failed", "HL208", "error")
    assert place == "self.a(x).sqrt()"
    assert found.message.startswith(
        "sqrt gives NaN in the float model itself, and calibration fails at sqrt: RuntimeError: "
    )
    assert (
        found.cause.why
        == "what it reads is finite, and 12 of 24 values on calibration batch 1 are NaN"
    )


def test_nan_in_the_data_is_told_of_as_that(run_text: RunText) -> None:
    body = "return self.b(self.a(x))"
    calibrated = text(body, "x86", more="calibration=[(x, keep), (bad, keep)]")
    found, place = told(run_text(calibrated), calibrated)
    assert place == "handlens_main"
    assert found.message.startswith(
        "input x of calibration batch 2 itself holds NaN, and calibration fails at linear: "
    )
    evaluated = text(body, "bf16", more="evaluation=[(x, keep), (bad, keep)]")
    found, place = told(run_text(evaluated), evaluated)
    assert place == "handlens_main"
    assert found.message == "input x of evaluation batch 2 itself holds NaN"
    assert found.cause.why == "1 of 24 values is NaN"


def test_the_finding_can_be_suppressed(run_text: RunText) -> None:
    body = "return self.a(x).sqrt() * 2  # handlens: ignore[HL208]"
    report = run_text(text(body))
    assert report.suppressed == 1
    assert not [each for each in report.findings if each.rule in ("HL203", "HL208")]


@pytest.mark.parametrize("recipe", ["x86", "xnnpack", "int8-dynamic", "bf16"])
@pytest.mark.parametrize(
    ("body", "lowest"),
    [
        (
            SCORES + "m = torch.zeros(1, 2, 2, dtype=x.dtype).masked_fill(~keep, float('-inf'))\n"
            "        return torch.softmax(s + m, -1) @ x",
            None,
        ),
        (
            SCORES + "m = torch.zeros(1, 2, 2, dtype=x.dtype).masked_fill(~keep, -1e4)\n"
            "        m = torch.stack([m[0], m[0].masked_fill(~keep[0], float('-inf')), m[0]])\n"
            "        return torch.softmax(s + m, -1) @ x",
            -1e4,
        ),
    ],
    ids=["nothing else", "finite ones beside"],
)
def test_infinities_of_a_mask_are_no_numbers_of_a_report(
    run_text: RunText, body: str, lowest: float | None, recipe: str
) -> None:
    report = run_text(text(body, recipe, row_is_masked=False))
    assert report.status == "ok", report.error
    dump(Document("0", None, (report,)))
    (scores,) = [op for op in report.ops if op.name == "add"]
    if recipe == "xnnpack":
        # What it quantizes is finite.
        return
    assert scores.masked > 0
    assert scores.masked_min == (None if lowest is None else pytest.approx(lowest, rel=0.01))
