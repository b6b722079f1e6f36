"""What fails after the export is told at its op, with the reason where that was measured."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torchao.quantization.pt2e.quantizer import Quantizer

from handlens.failures import alternatives
from handlens.loading.subject import Subject
from handlens.report import Failure
from tests.needs import needs_columns

from ..conftest import RunText
from ..quantizing import captured

MODEL = """\
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.table = nn.Embedding(1000, 4)

    def forward(self, x, other):
        x = self.linear(x)
        {}

"""
MASK = "torch.tensor([[True, False, True, False]] * 2)"
INDEX = "torch.tensor([999.0, 500.0])"


def target(recipe: str, other: str, more: str = "") -> str:
    return (
        "def handlens_main():\n"
        f"    other = {other}\n"
        "    return dict(model=Model(), example_inputs=(torch.randn(2, 4), other),"
        f" recipe={recipe!r}, {more})\n"
    )


Fails = Callable[[str], tuple[Failure, str]]


@pytest.fixture
def fails(run_text: RunText) -> Fails:
    """Runs a text that fails; the failure, and the expression that it is told at."""

    def run(text: str) -> tuple[Failure, str]:
        report = run_text(text)
        assert report.error is not None, report.findings
        assert report.error.rule == "HL303"
        [finding] = report.findings
        assert (finding.message, finding.cause) == (report.error.message, report.error.cause)
        span = report.error.span
        assert span is not None
        lines = text.splitlines(keepends=True)[span.line - 1 : span.end_line]
        last = len(lines[-1]) - span.end_column
        return report.error, "".join(lines)[span.column : -last]

    return run


BEYOND = {
    "masked_fill": "return x.masked_fill(other, -1e9)",
    "clamp": "return x.clamp(max=1e9)",
    "full": "return x + torch.full((4,), -1e9, dtype=x.dtype)",
    "fill_": "y = torch.zeros_like(x); y.fill_(1e9); return x.minimum(y)",
    "hardtanh": "return nn.functional.hardtanh(x, -1e9, 1e9)",
    "in a branch": "return torch.cond(x.sum() > -1e8, lambda a: a.masked_fill(a > 0, -1e9) + 1,"
    " lambda a: a * 2, (x,))",
}
AT = {
    "masked_fill": "x.masked_fill(other, -1e9)",
    "clamp": "x.clamp(max=1e9)",
    "full": "torch.full((4,), -1e9, dtype=x.dtype)",
    "fill_": "y.fill_(1e9)",
    "hardtanh": "nn.functional.hardtanh(x, -1e9, 1e9)",
    "in a branch": "a.masked_fill(a > 0, -1e9)",
}


@needs_columns
@pytest.mark.parametrize("name", BEYOND)
def test_a_constant_that_float16_does_not_have_is_told_at_its_op(fails: Fails, name: str) -> None:
    error, expression = fails(MODEL.format(BEYOND[name]) + target("fp16", MASK))
    assert expression == AT[name]
    assert " of the quantized model failed on evaluation batch 1: RuntimeError" in error.message
    why, help_ = error.cause.why, error.cause.help
    assert why.endswith("1e+09 is beyond the range of float16, which ends at 65504")
    assert "torch.finfo(x.dtype)" in help_


@needs_columns
def test_a_constant_is_told_in_a_region(fails: Fails) -> None:
    body = "with torch.no_grad():\n            y = x.clamp(max=1e9)\n        return y"
    text = MODEL.format(body) + target("fp16", MASK)
    error, expression = fails(text)
    assert expression == "x.clamp(max=1e9)"
    assert "beyond the range of float16" in error.cause.why


LOOKUPS = {
    "embedding": "return x + self.table(other.long())",
    "index": "return x + torch.linspace(0, 1, 1000)[other.long()][:, None]",
    "gather": "return x.sum() + torch.linspace(0, 1, 1000).gather(0, other.round().to(torch.int64))",
    "index_select": "return x + self.table.weight.index_select(0, other.int())",
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_an_index_that_was_rounded_beyond_a_table_is_told_with_both_values(
    fails: Fails, name: str
) -> None:
    error, expression = fails(MODEL.format(LOOKUPS[name]) + target("bf16", INDEX))
    assert expression.endswith((")", "]"))
    assert error.message.startswith(f"{name} of the quantized model failed")
    assert error.cause.why == (
        "its index is 1000 where that of the float model is 999: bfloat16 makes 1000 of 999"
    )


@needs_columns
def test_an_index_is_told_in_a_region_on_the_batch_that_has_it(fails: Fails) -> None:
    body = "with torch.no_grad():\n            y = self.table(other.long())\n        return x + y"
    batches = "evaluation=[(torch.randn(2, 4), o) for o in (torch.tensor([1.0, 2.0]), other)]"
    error, expression = fails(MODEL.format(body) + target("bf16", INDEX, batches))
    assert expression == "self.table(other.long())"
    assert "failed on evaluation batch 2" in error.message
    assert "bfloat16 makes 1000 of 999" in error.cause.why


def test_an_index_that_is_wrong_in_the_float_model_too_is_not_blamed_on_the_recipe(
    fails: Fails,
) -> None:
    batches = "evaluation=[(torch.randn(2, 4), other + 1000)]"
    error, _ = fails(MODEL.format(LOOKUPS["embedding"]) + target("bf16", INDEX, batches))
    assert error.message.startswith("embedding of the float model failed on evaluation batch 1")
    assert not error.cause


@needs_columns
def test_types_that_a_cast_does_not_reach_are_told_where_they_meet(fails: Fails) -> None:
    as_it_runs = "return self.linear(torch.arange(4).float()) + x"
    as_it_is_exported = (
        "q = torch.ones(1, 1, 2, 4)\n"
        "        return nn.functional.scaled_dot_product_attention(q, x[None, None], x[None, None])"
    )
    for body, expression in [
        (as_it_runs, "self.linear(torch.arange(4).float())"),
        (as_it_is_exported, as_it_is_exported.partition("return ")[2]),
    ]:
        error, found = fails(MODEL.format(body) + target("bf16", INDEX))
        assert found == expression
        assert error.cause.why.startswith("it is given float32 and bfloat16: ")
    assert error.message.startswith("Exporting Model in bfloat16 failed: RuntimeError")


def test_what_symbolic_execution_raises_of_a_cast_model_is_told_on_its_line(fails: Fails) -> None:
    body = (
        "if not torch.compiler.is_dynamo_compiling():\n            raise RuntimeError('no')\n"
        "        q = torch.ones(1, 1, 2, 4)\n"
        "        return nn.functional.scaled_dot_product_attention(q, x[None, None], x[None, None])"
    )
    error, found = fails(MODEL.format(body) + target("bf16", INDEX))
    assert found.startswith("return nn.functional.scaled_dot_product_attention(")
    assert error.message.startswith("Exporting Model in bfloat16 failed: TorchRuntimeError")
    assert "(raised while handling RuntimeError: Expected query, key, and value" in error.message
    assert error.cause.why.startswith("it is given float32 and bfloat16: ")


def test_what_making_a_batch_raises_is_told_there(fails: Fails) -> None:
    text = (
        MODEL.format("return x")
        + "def batches(other):\n    yield torch.randn(2, 4), other\n    raise OSError('disk gone')\n"
    )
    for key in ("calibration", "evaluation"):
        error, expression = fails(text + target("x86", INDEX, f"{key}=batches(other)"))
        assert expression == "raise OSError('disk gone')"
        assert error.message == f"Making {key} batch 2 failed: OSError: disk gone"


# -- quantizers ------------------------------------------------------------------------------------


class Broken(Quantizer):
    """Raises as a quantizer of a library does, with an op in hand."""

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        return model

    def annotate(self, model: GraphModule) -> GraphModule:
        for node in model.graph.nodes:
            if str(node.target) == "aten.relu.default":
                self._look_at(node)
        return model

    def _look_at(self, node: torch.fx.Node) -> None:
        raise KeyError("no specification")

    def validate(self, model: GraphModule) -> None:
        pass


@needs_columns
def test_a_quantizer_that_raises_is_told_at_its_op_with_recipes_that_work(fails: Fails) -> None:
    recipe = f"{__name__}:Broken"
    error, expression = fails(MODEL.format("return x.relu() + 1") + target(recipe, INDEX))
    assert expression == "x.relu()"
    assert error.message.startswith(f"Quantizing relu with recipe {recipe} failed: KeyError")
    where, others = error.cause.why, error.cause.help
    assert where.startswith(f"it was raised in {__name__}, line ")
    assert others == "int8-dynamic, bf16 and x86 work on the same export"


class InItsLoop(Broken):
    """Has looked at several ops before it raises at one."""

    def annotate(self, model: GraphModule) -> GraphModule:
        first, *others = [n for n in model.graph.nodes if n.op == "call_function"]
        for node in others:
            if node.target != first.target:
                raise KeyError(str(node))
        return model


class AfterItsLoop(Broken):
    def annotate(self, model: GraphModule) -> GraphModule:
        for node in model.graph.nodes:
            node.meta["seen"] = True
        raise KeyError("no specification")


@needs_columns
@pytest.mark.parametrize(
    ("quantizer", "expression"), [("InItsLoop", "x.relu()"), ("AfterItsLoop", "handlens_main")]
)
def test_an_op_is_named_only_where_the_line_that_raises_is_about_it(
    fails: Fails, quantizer: str, expression: str
) -> None:
    text = MODEL.format("return x.relu() + 1") + target(f"{__name__}:{quantizer}", INDEX)
    _, found = fails(text)
    assert found == expression


@needs_columns
def test_a_quantizer_of_the_workspace_is_told_of_on_its_own_line(fails: Fails) -> None:
    text = (
        MODEL.format("return x.relu()")
        + "from tests.core.failures.test_failing import Broken\n"
        + "class Mine(Broken):\n    def _look_at(self, node):\n        return {}['spec']\n"
        + target("model:Mine", INDEX)
    )
    error, expression = fails(text)
    assert expression == "{}['spec']"
    assert not error.cause


class ConvolutionAlone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + 7e4


def test_only_recipes_that_quantize_and_give_finite_values_work() -> None:
    x = torch.randn(1, 2, 3)
    program = captured(ConvolutionAlone(), x)
    subject = Subject(ConvolutionAlone(), (x,))
    names = alternatives.working_recipes(program, subject, "x86")
    # It has no linear layer for int8-dynamic.
    assert names[0] == "bf16"
    assert "x86" not in names
    assert not alternatives._works("fp16", program, subject)
    assert not alternatives._works("int8-dynamic", program, subject)


def test_trying_other_recipes_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def endless(name: str, *_: object) -> bool:
        if next(calls):
            while True:
                signal.pause()
        return True

    monkeypatch.setattr(alternatives, "BUDGET_S", 0.2)
    monkeypatch.setattr(alternatives, "_works", endless)
    x = torch.randn(1, 2, 3)
    program = captured(ConvolutionAlone(), x)
    assert alternatives.working_recipes(program, Subject(ConvolutionAlone(), (x,)), "x86") == [
        "int8-dynamic"
    ]
