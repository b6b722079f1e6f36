"""Half precision: the cast model bit for bit, matched op by op with the float one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from handlens.capture.nodes import graph_modules
from handlens.loading.importing import Sources
from handlens.loading.module import load
from handlens.loading.subject import build
from handlens.source_text import read
from handlens.targets import discover

from ..conftest import EXAMPLES, RunText
from ..quantizing import named, ops, quantize

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def example(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    file = str(EXAMPLES / name)
    subject = build(discover(read(file), file)[0], load(Sources(file, read(file))))
    return subject.model, subject.args


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
@pytest.mark.parametrize("recipe", DTYPES)
@pytest.mark.parametrize("name", ["transformer_block.py", "tiny_cnn.py"])
def test_the_graph_is_the_cast_model_and_every_op_is_matched(
    name: str, recipe: str, strict: bool
) -> None:
    model, args = example(name)
    before = copy.deepcopy(model.state_dict())
    result = quantize(model, *args, recipe=recipe, strict=strict)
    half = copy.deepcopy(model).to(DTYPES[recipe])
    expected = half(
        *(each.to(DTYPES[recipe]) if each.is_floating_point() else each for each in args)
    )
    assert torch.equal(result.actual(*args), expected)
    assert torch.equal(result.reference(*args), model(*args))
    assert ops(result.actual).keys() == ops(result.reference).keys()
    assert [str(node.target) for node in ops(result.actual).values()] == [
        str(node.target) for node in ops(result.reference).values()
    ]
    # The user's model is as it was.
    after = model.state_dict()
    assert all(
        torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype
        for key in before
    )


def test_code_that_looks_at_the_dtype_comes_out_right() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
            return x.masked_fill(hidden, torch.finfo(x.dtype).min) / 2

    x, hidden = torch.randn(2, 4), torch.tensor([True, False, False, True]).expand(2, 4)
    result = quantize(Masked(), x, hidden, recipe="fp16")
    assert torch.equal(result.actual(x, hidden), Masked()(x.half(), hidden))
    assert result.actual(x, hidden).isfinite().all()


def test_an_op_that_only_one_side_has_is_left_unmatched() -> None:
    class Careful(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.dtype == torch.float32:
                x = x.cos()
            return (torch.exp if x.dtype == torch.float32 else torch.tan)(x.cos().tanh())

    result = quantize(Careful(), torch.randn(4), recipe="bf16")
    names = {str(node.target) for node in ops(result.actual).values()}
    assert names == {"aten.cos.default", "aten.tanh.default"}
    assert list(ops(result.reference)) == [1, 2, 3, 4]
    assert list(ops(result.actual)) == [2, 3]


def test_an_op_that_takes_the_place_of_another_is_compared_with_it(run_text: RunText) -> None:
    report = run_text(
        """
        import torch

        class Experts(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.randn(4, 8))

            def product(self, x):
                if x.dtype == torch.bfloat16:
                    return torch.matmul(x.to(self.weight.dtype), self.weight.t())
                return torch.mm(x.to(self.weight.dtype), self.weight.t())

            def forward(self, x):
                return torch.relu(self.product(x.sin())).sum(1)

        def handlens_experts():
            torch.manual_seed(0)
            return Experts(), (torch.randn(16, 8),)
        """,
        recipe="bf16",
    )
    assert report.coverage is not None
    assert {each.op for each in report.coverage.unmatched if not each.expected} == set()
    (product,) = [op for op in report.ops if op.name == "mm"]
    assert product.sqnr_db == pytest.approx(50, abs=5)
    assert product.introduced_sqnr_db == pytest.approx(55, abs=5)


def test_an_op_of_another_shape_takes_no_place() -> None:
    class Shorter(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            values = x.exp() if x.dtype == torch.float32 else x[:1].tan()
            return values.sum().sin()

    result = quantize(Shorter(), torch.randn(4), recipe="bf16")
    names = [str(node.target) for node in ops(result.actual).values()]
    assert names == ["aten.sum.default", "aten.sin.default"]


def test_ops_of_a_loop_are_matched_in_turn() -> None:
    class Loop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(3):
                x = x.sin()
            return x.sin()

    result = quantize(Loop(), torch.randn(4), recipe="bf16")
    assert list(ops(result.actual)) == list(ops(result.reference)) == [1, 2, 3, 4]


def test_what_is_half_is_described() -> None:
    class Counting(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x.exp(), x.argmax()

    result = quantize(Counting(), torch.randn(4), recipe="bf16")
    (exp,) = named(result.actual, "exp")
    assert result.described == {
        handle: result.described[handle]
        for handle, node in ops(result.actual).items()
        if node is exp
    }
    ((quantizer,),) = result.described.values()
    assert (quantizer.role, quantizer.dtype) == ("output", "bfloat16")
    assert (quantizer.granularity, quantizer.scale) == ("per-value", None)


class Three(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x)))


def test_a_kept_module_computes_in_float_between_casts() -> None:
    model, x = Three(), torch.randn(4, 8)
    result = quantize(model, x, recipe="fp16", keep_float=("b",))
    half = copy.deepcopy(model).half()
    expected = half.c(model.b(half.a(x.half()).float()).half())
    assert torch.equal(result.actual(x), expected)
    assert not torch.equal(expected, half(x.half()))
    assert len(result.described) == 2


def test_a_kept_first_module_gets_the_inputs_as_they_are() -> None:
    model, x = Three(), torch.randn(4, 8)
    result = quantize(model, x, recipe="bf16", keep_float=("a", "b"))
    expected = copy.deepcopy(model.c).bfloat16()(model.b(model.a(x)).bfloat16())
    assert torch.equal(result.actual(x), expected)


def test_all_that_is_kept_is_the_float_model() -> None:
    model, args = example("transformer_block.py")
    result = quantize(model, *args, recipe="bf16", keep_float=("",))
    assert torch.equal(result.actual(*args).float(), model(*args).bfloat16().float())
    assert result.described == {}


def test_a_kept_op_that_changes_its_input_changes_it_for_all() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.act = nn.Linear(8, 8), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            self.act(y[:, 4:])
            return y * 3

    model, x = InPlace(), torch.randn(4, 8)
    result = quantize(model, x, recipe="bf16", keep_float=("act",))
    expected = copy.deepcopy(model).bfloat16()(x.bfloat16())
    assert torch.equal(result.actual(x), expected)
    assert float(expected[:, 4:].min()) == 0


def test_a_kept_op_may_have_several_outputs() -> None:
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: Tensor) -> Tensor:
            low, high = self.inner(x * 2)
            return low * high

    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return (x / 3).chunk(2, -1)

    x = torch.randn(4, 8)
    result = quantize(Split(), x, recipe="bf16", keep_float=("inner",))
    low, high = ((x.bfloat16() * 2).float() / 3).bfloat16().chunk(2, -1)
    assert torch.equal(result.actual(x), low * high)


def test_a_model_that_overflows_in_half_precision_is_a_finding(run_text: RunText) -> None:
    report = run_text(
        """
        import torch

        class Model(torch.nn.Module):
            def forward(self, x):
                return (x * 300).square().sqrt()

        def handlens_main():
            return {"model": Model(), "example_inputs": (torch.ones(4),), "recipe": "fp16"}
        """
    )
    assert report.coverage is not None
    assert (report.coverage.matched, report.coverage.quantized) == (3, 3)
    first, output = report.findings
    assert (first.rule, first.span and first.span.line) == ("HL103", 6)
    assert (output.rule, output.severity) == ("HL105", "error")
    assert "HL201" not in {finding.rule for finding in report.findings}


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inside()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.sin()) * 3


class Inside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Any:
        return torch.cond(
            x.sum() > 0, lambda x: self.layer(x).tanh(), lambda x: (x / 3).exp(), (x,)
        )


@pytest.mark.parametrize("sign", [1, -1])
def test_a_module_is_kept_with_the_branches_in_it(sign: int) -> None:
    model, x = Branches(), sign * torch.rand(64, 4)
    half = copy.deepcopy(model).bfloat16()
    plain = quantize(model, x, recipe="bf16")
    assert torch.equal(plain.actual(x), half(x.bfloat16()))
    kept = quantize(model, x, recipe="bf16", keep_float=("inner",))
    expected = model.inner(x.bfloat16().sin().float()).bfloat16() * 3
    assert torch.equal(kept.actual(x), expected)
    assert not torch.equal(kept.actual(x), plain.actual(x))


def test_an_op_in_a_branch_is_kept_by_its_handle() -> None:
    model, x = Branches(), torch.rand(2, 4)
    tanh = next(
        handle
        for body in graph_modules(quantize(model, x).reference)
        for handle, node in ops(body).items()
        if node.name == "tanh"
    )
    result = quantize(model, x, recipe="bf16", keep_float=(tanh,))
    half = copy.deepcopy(model).bfloat16()
    linear = half.inner.layer(x.bfloat16().sin())
    assert torch.equal(result.actual(x), linear.float().tanh().bfloat16() * 3)
    assert tanh not in result.described
