"""What was not compared is said, and is never fine: neither for an op nor for the output nor for a gate."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handlens.report import Document, Report, dump, load, op_name

from ..conftest import RunText

_MODEL = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 8)

    def forward(self, x):
        y = self.linear(x)
        return RETURNED

def handlens_main():
    torch.manual_seed(0)
    return {"model": Model().eval(), "example_inputs": (torch.randn(4, 16),), "recipe": "x86"}
"""


def report_of(run_text: RunText, returned: str) -> Report:
    return run_text(_MODEL.replace("RETURNED", returned))


def output_finding(report: Report) -> tuple[str, str]:
    """Severity and message of the finding about the output, at the target."""
    [found] = [
        each for each in report.findings if each.rule in ("HL105", "HL202") and each.handle is None
    ]
    assert found.span is not None
    assert found.span.line == 14
    return found.severity, found.message


_UNKNOWN = "the reference is NaN or infinite throughout"


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("y.to_sparse()", "not dense: torch.sparse_coo and torch.sparse_coo"),
        ("torch.log(y - 1e6)", _UNKNOWN),
        ("y / 0 * 0", _UNKNOWN),
        ("(y, (y - 1e6).sqrt().to_sparse())", "not dense: torch.sparse_coo and torch.sparse_coo"),
        ("(y, y[y > y.mean()])", "shapes differ"),
        ("y[:0]", "its output has no values"),
        ("3", "no tensor output"),
    ],
)
def test_an_output_that_cannot_be_compared_is_told_with_the_reason(
    run_text: RunText, returned: str, reason: str
) -> None:
    report = report_of(run_text, returned)
    assert report.output is not None
    if returned.startswith("(y, y[") and report.output.verdict == "ok":
        # Both models have selected the same values here.
        return
    assert report.output.verdict == "not-compared"
    assert reason in report.output.reason
    assert report.output.sqnr_db is None
    severity, message = output_finding(report)
    assert severity == "warning"
    assert message == f"the output was not compared: {report.output.reason}"
    assert load(dump(Document("1", "2", (report,)))).reports == (report,)


def test_an_op_without_a_number_is_counted_with_its_reason_and_told_once(
    run_text: RunText,
) -> None:
    report = report_of(run_text, "torch.log(y - 1e6) * 2 + 1")
    assert report.coverage is not None
    assert report.coverage.matched == 2
    assert {each.reason for each in report.coverage.unmatched} == {_UNKNOWN}
    # What comes of NaN is NaN: the first op is enough.
    told = [each.message for each in report.findings if each.handle]
    assert told == ["log gives NaN in the float model itself"]


@pytest.mark.parametrize(
    ("returned", "mse"), [("torch.relu(y - 1e6)", 0.0), ("torch.relu(y - 1e6) * 0", 0.0)]
)
def test_a_reference_that_is_zero_everywhere_is_no_signal(
    run_text: RunText, returned: str, mse: float
) -> None:
    report = report_of(run_text, returned)
    assert report.output is not None
    assert (report.output.verdict, report.output.sqnr_db) == ("no-signal", None)
    assert report.output.mse == mse


def test_values_that_the_models_select_differently_are_not_compared(run_text: RunText) -> None:
    text = _MODEL.replace("torch.randn(4, 16)", "torch.randn(512, 16)")
    report = run_text(text.replace("RETURNED", "torch.relu(y[y.sum(-1) > 0])"))
    assert report.status == "ok", report.error
    assert report.coverage is not None
    reasons = {op_name(each.op): each.reason for each in report.coverage.unmatched}
    assert reasons["index"] == "the models select different values"
    assert reasons["relu"] == "the models select different values"
    told = [each.message for each in report.findings if each.rule == "HL202" and each.handle]
    assert told == ["index was not compared: the models select different values"]
    assert report.output is not None
    assert report.output.verdict == "not-compared"


def test_values_that_the_models_select_alike_are_compared(run_text: RunText) -> None:
    report = report_of(run_text, "torch.relu(y[x.sum(-1) > 0])")
    assert report.status == "ok", report.error
    assert "relu" in {each.name for each in report.ops}
    assert report.output is not None
    assert report.output.verdict == "ok"


def test_memory_that_nothing_was_written_to_is_not_compared(run_text: RunText) -> None:
    report = report_of(run_text, "torch.empty_like(y).copy_(y) + torch.empty(8)[:4].fill_(0).sum()")
    assert report.coverage is not None
    reasons = {op_name(each.op): each.reason for each in report.coverage.unmatched}
    assert reasons == {
        "empty_like": "its memory is not initialized",
        "empty": "its memory is not initialized",
        "slice": "its memory is not initialized",
    }
    assert report.output is not None
    assert report.output.verdict == "ok"


# -- the target itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "severity"), [(1.0, None), (12.0, "information"), (60.0, "warning"), (300.0, "error")]
)
def test_an_output_under_the_thresholds_is_a_finding_on_the_target(
    run_text: RunText, scale: float, severity: str | None
) -> None:
    # The louder one channel that is then taken away, the fewer steps the others have.
    report = run_text(
        f"""
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)
                self.a.weight.data[0] *= {scale}
                self.b.weight.data[:, 0] = 0

            def forward(self, x):
                return self.b(self.a(x))

        def handlens_main():
            torch.manual_seed(0)
            return {{"model": Model().eval(), "example_inputs": (torch.randn(64, 16),)}}
        """
    )
    found = [each for each in report.findings if each.rule == "HL105"]
    assert [each.severity for each in found] == ([] if severity is None else [severity])
    assert report.output is not None
    for each in found:
        assert each.message == f"output {report.output.sqnr_db:.1f} dB with recipe x86"
        assert each.span is not None
        assert each.span.line == 15


# -- a gate ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "falls"),
    [
        ("y", False),
        ("y.to_sparse()", True),
        ("torch.log(y - 1e6)", True),
        ("torch.relu(y - 1e6)", True),
        ("(y, y[:0].to_sparse())", True),
    ],
)
def test_no_gate_passes_on_what_was_not_compared(
    run_text: RunText, returned: str, falls: bool
) -> None:
    report = report_of(run_text, returned)
    assert replace(report, fail_under=-100.0).falls_short == falls


def test_no_gate_passes_on_a_reference_that_is_not_the_model(run_text: RunText) -> None:
    # A number that export takes for a constant.
    report = report_of(run_text, "y * __import__('random').random()")
    assert report.output is not None
    assert report.output.sqnr_db is not None
    assert report.output.sqnr_db > 30
    assert replace(report, fail_under=10.0).falls_short


# -- integers and truth values ---------------------------------------------------------------------


def test_a_mask_is_not_held_against_thresholds_that_are_for_values(run_text: RunText) -> None:
    text = _MODEL.replace("torch.randn(4, 16)", "torch.randn(512, 16)")
    report = run_text(text.replace("RETURNED", "torch.where(y > 0.1, y, -y)"))
    [mask] = [each for each in report.ops if each.name == "gt"]
    assert mask.whole
    assert mask.sqnr_db is not None
    assert mask.sqnr_db < 30
    assert not [each for each in report.findings if "gt" in each.message]


def test_an_output_of_integers_counts_where_it_is_another_number_of_them(
    run_text: RunText,
) -> None:
    text = _MODEL.replace("torch.randn(4, 16)", "torch.randn(512, 16)")
    report = run_text(text.replace("RETURNED", "((y > 0.1).nonzero(), y)"))
    assert report.output is not None
    assert report.output.verdict == "not-compared"
    assert "shapes differ" in report.output.reason


def test_what_only_dead_code_reads_is_told_as_that(run_text: RunText) -> None:
    report = report_of(run_text, "y if (y.amax() + 1) is not None else y")
    assert report.coverage is not None
    assert {each.reason for each in report.coverage.unmatched} == {"nothing reads its output"}
    assert not [each for each in report.findings if each.rule == "HL202"]
