"""What ``keep_float`` names stays in float, whatever the recipe; what it does not name is quantized."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Node

from handlens.capture.nodes import is_dequantize, is_quantize
from handlens.loading.subject import InvalidTarget
from handlens.report import Report
from handlens.request import RunRequest
from handlens.targets import discover

from ..conftest import EXAMPLES, RunText, run
from ..quantizing import named, ops, quantize

PT2E = ["x86", "arm", "xnnpack"]


class Layers(nn.Module):
    """Three layers, of which the middle one branches: it is read by the last one and by the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.last = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(torch.relu(self.first(x)))
        return self.last(x) + x


def weight_of(linear: Node) -> Node:
    weight = linear.args[1]
    assert isinstance(weight, Node)
    return weight


@pytest.mark.parametrize("recipe", PT2E)
def test_a_kept_module_has_float_weights_and_the_others_have_not(recipe: str) -> None:
    result = quantize(Layers(), torch.randn(4, 8), recipe=recipe, keep_float=("block",))
    first, middle, last = named(result.actual, "linear")
    assert weight_of(middle).op == "get_attr"
    assert is_dequantize(weight_of(first))
    assert is_dequantize(weight_of(last))
    # What a kept op gives is quantized for nobody, inside or after.
    assert not any(map(is_quantize, middle.users))
    assert not is_dequantize(last.args[0])  # type: ignore[arg-type]
    assert is_dequantize(weight_of(last))


@pytest.mark.parametrize("recipe", PT2E)
def test_a_debug_handle_keeps_one_op(recipe: str) -> None:
    x = torch.randn(4, 8)
    handles = [
        handle
        for handle, node in ops(quantize(Layers(), x).reference).items()
        if "linear" in str(node.target)
    ]
    result = quantize(Layers(), x, recipe=recipe, keep_float=(handles[1],))
    kept = [weight_of(node).op == "get_attr" for node in named(result.actual, "linear")]
    assert kept == [False, True, False]


@pytest.mark.parametrize("recipe", PT2E)
def test_what_shares_a_quantizer_with_a_kept_op_does_without(recipe: str) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.other = nn.Conv2d(3, 8, 3)
            self.last = nn.Linear(16, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.cat([self.conv(x), self.other(x)], 1)
            x = torch.nn.functional.adaptive_avg_pool2d(x, 1)
            return self.last(x.flatten(1))

    for kept in ("conv", "other"):
        result = quantize(Pooled(), torch.randn(2, 3, 8, 8), recipe=recipe, keep_float=(kept,))
        convs = named(result.actual, "conv2d")
        assert sorted(weight_of(each).op for each in convs) == ["call_function", "get_attr"]


def test_what_takes_its_quantizer_from_a_kept_op_does_without() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 4))
    result = quantize(model, torch.randn(2, 3, 8, 8), recipe="xnnpack", keep_float=("0",))
    (conv,) = named(result.actual, "conv2d")
    (linear,) = named(result.actual, "linear")
    assert not any(map(is_quantize, conv.users))
    assert is_dequantize(weight_of(linear))


def test_to_keep_a_batch_norm_is_to_keep_what_it_is_folded_into() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3))
    result = quantize(model, torch.randn(1, 3, 8, 8), keep_float=("1",))
    first, second = named(result.actual, "conv2d")
    assert weight_of(first).op == "get_attr"
    assert is_dequantize(weight_of(second))


def test_a_recipe_is_not_said_to_pass_over_what_is_kept() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    assert quantize(model, torch.randn(1, 3, 8, 8), keep_float=("0",)).unquantized == ()


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ("frist", "Is it 'first'?"),
        ("model.block.0", "Is it 'block.0' or"),
        ("nowhere", "There are 'first', 'block', 'last'."),
        (99, "no op has that debug handle: there are 1 to 6"),
    ],
)
@pytest.mark.parametrize("recipe", ["x86", "bf16", "int8-weight-only"])
def test_an_entry_that_names_nothing_is_told(recipe: str, kept: str | int, said: str) -> None:
    with pytest.raises(InvalidTarget) as caught:
        quantize(Layers(), torch.randn(4, 8), recipe=recipe, keep_float=("first", kept))
    assert str(caught.value).startswith(f"keep_float has {kept!r}")
    assert said in str(caught.value)


DECLARED = """
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.last(self.first(x).relu())

    def inputs():
        return (torch.randn(4, 8),)
"""
TARGET = """
    def handlens_main():
        return {{"model": Model(), "example_inputs": inputs(), "keep_float": {0}}}
"""


def weights(report: Report) -> dict[str, bool]:
    """Whether each linear layer has a quantized weight."""
    assert report.status == "ok", report.error
    return {
        op.module: any(each.role == "weight" for each in op.quantizers)
        for op in report.ops
        if op.name == "linear"
    }


def test_a_target_declares_what_to_keep(run_text: RunText) -> None:
    report = run_text(DECLARED + TARGET.format("['first']"))
    assert weights(report) == {"first": False, "last": True}


def test_a_configured_target_declares_what_to_keep(run_text: RunText, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.handlens.targets.main]\n"
        "model = 'model:Model'\nexample_inputs = 'model:inputs'\nkeep_float = ['last']\n"
    )
    assert weights(run_text(DECLARED)) == {"first": True, "last": False}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("'first'", "a str as keep_float"),
        ("[True]", "a bool in keep_float"),
        ("['fist']", "Is it 'first'"),
    ],
)
def test_a_keep_float_that_is_none_is_told_at_the_target(
    run_text: RunText, given: str, said: str
) -> None:
    report = run_text(DECLARED + TARGET.format(given))
    assert report.error is not None
    assert report.error.rule == "HL305"
    assert said in report.error.message
    assert report.error.span is not None
    assert report.error.span.line == 16


def test_the_demo_gains_what_its_stem_loses(efficientnet_lite: Report) -> None:
    file = EXAMPLES / "efficientnet_lite.py"
    target = discover(file.read_text(), str(file))[0]
    report = run(RunRequest(target, workspace=(str(EXAMPLES),), keep_float=("stem",)))
    assert report.output is not None
    assert efficientnet_lite.output is not None
    assert efficientnet_lite.output.sqnr_db == pytest.approx(17.4, abs=0.5)
    # 20.9 or 21.4, by the order in which the threads of torch sum.
    assert report.output.sqnr_db == pytest.approx(21.1, abs=0.8)
