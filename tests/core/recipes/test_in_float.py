"""What a recipe leaves in float is told op by op, with the reason, and at its line if it is unexpected."""

from __future__ import annotations

import pytest
import torch
import torchao

from handlens.report import Report

from ..conftest import RunText


def report_of(run_text: RunText, recipe: str, init: str, forward: str, inputs: str) -> Report:
    lines = "".join(f"        {line}\n" for line in forward.splitlines())
    return run_text(
        f"""import torch
from torch import nn
import torch.nn.functional as F

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {init}

    def forward(self, x):
{lines}
def handlens_main():
    torch.manual_seed(0)
    return {{"model": Model().eval(), "example_inputs": ({inputs},), "recipe": {recipe!r}}}
"""
    )


def left(report: Report) -> dict[str, str]:
    """Why ops of claimed kinds stayed in float, by kind; the findings say the same at their lines."""
    assert report.coverage is not None
    assert report.status == "ok"
    reasons = {each.op.split(".")[1]: each.reason for each in report.coverage.in_float}
    told = [each.message for each in report.findings if each.rule == "HL205"]
    assert bool(told) == bool(reasons)
    for op in report.ops:
        assert bool(op.in_float) == (op.handle not in _quantized(report))
    return reasons


def _quantized(report: Report) -> set[int]:
    return {op.handle for op in report.ops if not op.in_float}


_STACK = "torch.randn(2, 5, 16)"
_IMAGE = "torch.randn(2, 3, 8, 8)"


@pytest.mark.parametrize(
    ("recipe", "layer", "op"),
    [
        ("x86", "LSTM", "lstm"),
        ("xnnpack", "RNN", "rnn_tanh"),
        ("int8-dynamic", "GRU", "gru"),
        ("int8-weight-only", "LSTM", "lstm"),
    ],
)
def test_recurrent_layers(run_text: RunText, recipe: str, layer: str, op: str) -> None:
    init = f"self.r, self.f = nn.{layer}(16, 16, batch_first=True), nn.Linear(16, 8)"
    report = report_of(run_text, recipe, init, "return self.f(self.r(x)[0])", _STACK)
    assert "recurrent" in left(report)[op]
    assert [each.in_float for each in report.ops if each.name == "linear"] == [""]


def test_a_transposed_convolution(run_text: RunText) -> None:
    init = "self.a, self.b = nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 3, 2, 2)"
    for recipe, stays in (("x86", True), ("xnnpack", False)):
        report = report_of(run_text, recipe, init, "return self.b(self.a(x)).relu()", _IMAGE)
        assert ("conv_transpose2d" in left(report)) == stays
        assert report.coverage is not None
        assert report.coverage.unquantized == ()


def test_a_region_and_a_branch_that_torchao_does_not_annotate(run_text: RunText) -> None:
    init = "self.a, self.b, self.c = (nn.Linear(16, 16) for _ in range(3))"
    forward = """y = self.a(x)
with torch.no_grad():
    y = self.b(y)
return self.c(y)"""
    report = report_of(run_text, "x86", init, forward, _STACK)
    assert left(report) == {
        "linear": "it is inside torch.no_grad(), where torchao quantizes nothing"
    }
    [finding] = [each for each in report.findings if each.rule == "HL205"]
    assert finding.span is not None
    assert (finding.span.line, finding.severity) == (13, "information")
    forward = (
        "return torch.cond(x.sum() > 0, lambda y: self.b(y), lambda y: self.c(y), (self.a(x),))"
    )
    report = report_of(run_text, "x86", init, forward, _STACK)
    assert "inside a branch of torch.cond" in left(report)["linear"]


@pytest.mark.parametrize("recipe", ["int8-dynamic", "int8-weight-only"])
def test_the_projections_of_attention(run_text: RunText, recipe: str) -> None:
    init = "self.a, self.f = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 8)"
    forward = "return self.f(self.a(x, x, x, need_weights=False)[0])"
    report = report_of(run_text, recipe, init, forward, _STACK)
    assert "MultiheadAttention" in left(report)["linear"]
    # A line has one finding, however many ops of it stay.
    [finding] = [each for each in report.findings if each.rule == "HL205"]
    assert finding.span is not None
    assert finding.span.line == 11
    assert report.coverage is not None
    assert report.coverage.quantized == 1


def test_a_size_that_has_no_kernel(run_text: RunText) -> None:
    init = "self.a, self.b = nn.Linear(64, 32), nn.Linear(32, 10)"
    report = report_of(
        run_text, "int4-weight-only", init, "return self.b(self.a(x))", "torch.randn(4, 64)"
    )
    assert left(report) == {
        "linear": "it has 32 inputs and 10 outputs, "
        "and 4 bit weights need a multiple of 32 inputs and of 16 outputs"
    }
    assert report.coverage is not None
    assert report.coverage.unquantized == ()


@pytest.mark.parametrize("recipe", ["xnnpack", "int8-weight-only"])
def test_a_weight_that_is_computed(run_text: RunText, recipe: str) -> None:
    init = "self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)"
    forward = "return F.linear(self.a(x), self.b.weight.abs())"
    report = report_of(run_text, recipe, init, forward, _STACK)
    reasons = left(report)
    if recipe == "int8-weight-only":
        assert "nn.Linear layers" in reasons["linear"]


def test_what_nothing_reads(run_text: RunText) -> None:
    init = "self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)"
    forward = "unused = self.b(x).relu()\nreturn self.a(x)"
    for recipe in ("x86", "xnnpack", "x86+embedding", "int8-weight-only"):
        report = report_of(run_text, recipe, init, forward, _STACK)
        assert left(report) == {}
        assert report.coverage is not None
        told = [(each.op, each.reason) for each in report.coverage.unmatched]
        assert told == [
            ("aten.linear.default", "nothing reads its output"),
            ("aten.relu.default", "nothing reads its output"),
        ]
        assert (report.coverage.ops, report.coverage.matched) == (3, 1)


def test_what_nothing_reads_is_not_said_to_be_folded(run_text: RunText) -> None:
    init = "self.c, self.n = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)"
    report = report_of(run_text, "x86", init, "unused = x.exp()\nreturn self.n(self.c(x))", _IMAGE)
    assert report.coverage is not None
    assert [(each.op, each.reason) for each in report.coverage.unmatched] == [
        ("aten.exp.default", "nothing reads its output"),
        ("aten.batch_norm.default", "folded by the recipe"),
    ]


def test_what_nothing_reads_but_changes_something_stays(run_text: RunText) -> None:
    init = "self.a = nn.Linear(16, 16)\n        self.register_buffer('seen', torch.zeros(5, 16))"
    forward = "self.seen.copy_(x[0])\nreturn self.a(x) + self.seen"
    report = report_of(run_text, "x86", init, forward, _STACK)
    assert report.coverage is not None
    assert "nothing reads its output" not in {each.reason for each in report.coverage.unmatched}
    assert report.verified is not None
    assert report.verified.verdict == "exact"


@pytest.mark.parametrize("recipe", ["x86", "xnnpack"])
def test_what_computes_in_float64(run_text: RunText, recipe: str) -> None:
    init = "self.a, self.b = nn.Linear(16, 16).double(), nn.Linear(16, 16)"
    report = report_of(run_text, recipe, init, "return self.b(self.a(x.double()).float())", _STACK)
    assert left(report) == {"linear": "it computes in float64, which torchao does not quantize"}


def test_what_was_asked_for_is_no_finding(run_text: RunText) -> None:
    report = run_text(
        """
        import torch
        from torch import nn

        def handlens_main():
            model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).eval()
            return {"model": model, "example_inputs": (torch.randn(2, 8),), "keep_float": ["0"]}
        """
    )
    assert left(report) == {}
    first, relu, last = report.ops
    assert first.in_float == "keep_float asks for it"
    # Its output is quantized for the layer after it.
    assert (relu.in_float, last.in_float) == ("", "")


def test_what_is_in_half_precision_already(run_text: RunText) -> None:
    report = report_of(
        run_text,
        "bf16",
        "self.a = nn.Linear(16, 16).to(torch.bfloat16)",
        "return self.a(x)",
        "torch.randn(4, 16, dtype=torch.bfloat16)",
    )
    [op] = report.ops
    assert op.in_float == "it computes in bfloat16 already"
    assert [each.rule for each in report.findings] == ["HL201"]
    assert report.findings[0].message == "recipe bf16 quantized nothing, of 1 op"


@pytest.mark.parametrize(
    ("recipe", "name", "package"),
    [
        ("x86", "X86InductorQuantizer", "torchao"),
        ("int8-dynamic", "Int8DynamicActivationInt8WeightConfig", "torchao"),
        ("bf16", "Module.to(torch.bfloat16)", "torch"),
    ],
)
def test_a_report_names_what_quantized(
    run_text: RunText, recipe: str, name: str, package: str
) -> None:
    report = report_of(run_text, recipe, "self.a = nn.Linear(16, 16)", "return self.a(x)", _STACK)
    [by] = report.quantized_by
    version = {"torch": torch.__version__, "torchao": torchao.__version__}[package]
    assert (by.name, by.package, by.version) == (name, package, version)


def test_recipes_that_are_joined_name_all_their_quantizers(run_text: RunText) -> None:
    init = "self.t, self.a = nn.Embedding(9, 16), nn.Linear(16, 16)"
    report = report_of(
        run_text, "x86+embedding", init, "return self.a(self.t(x))", "torch.arange(9)[None]"
    )
    assert [each.name for each in report.quantized_by] == [
        "X86InductorQuantizer",
        "EmbeddingQuantizer",
    ]
    assert left(report) == {}


def test_a_weight_that_is_cast_to_the_type_it_has_is_quantized(run_text: RunText) -> None:
    report = run_text(
        """
        import torch
        from torch import nn

        class Cast(nn.Linear):
            def forward(self, x):
                return nn.functional.linear(x, self.weight.to(x.dtype), self.bias)

        def handlens_main():
            x = torch.randn(2, 16)
            return {"model": Cast(16, 16), "example_inputs": (x,), "recipe": "int8-weight-only"}
        """
    )
    assert left(report) == {}
    assert [each.name for each in report.ops if not each.in_float] == ["linear"]


def test_a_model_that_is_exported_without_gradients_has_no_region(run_text: RunText) -> None:
    init = "self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)"
    forward = "y = self.a(x)\nwith torch.no_grad():\n    y = self.b(y)\nreturn y"
    assert "no_grad" in left(report_of(run_text, "xnnpack", init, forward, _STACK))["linear"]
    with torch.no_grad():
        assert left(report_of(run_text, "xnnpack", init, forward, _STACK)) == {}
