"""Whose memory a value is in, what is written to it, and which writes a quantized graph loses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from handlens.comparison.memory import Memory, state_restored, written_by
from handlens.report import Report

from ..conftest import RunText
from ..quantizing import captured


class Of(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.linear = nn.Linear(8, 8)
        self.register_buffer("state", torch.zeros(4, 8))

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def graph_of(function: Callable[..., Any]) -> GraphModule:
    model = captured(Of(function), torch.randn(4, 8)).program.module()
    assert isinstance(model, GraphModule)
    return model


def named(model: GraphModule, name: str) -> Node:
    [node] = [each for each in model.graph.nodes if each.name == name]
    return node


def _in_a_region(self: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        self.state.copy_(x)
    return self.linear(x) + self.state


def _through_a_slice(self: Any, x: Tensor) -> Tensor:
    self.state[:2].add_(x[:2])
    return self.linear(x) + self.state


def _through_views(self: Any, x: Tensor) -> Tensor:
    self.state.view(-1).reshape(8, 4).t()[0].add_(2)
    return self.linear(x) + self.state


def _by_an_index(self: Any, x: Tensor) -> Tensor:
    self.state[torch.tensor([0, 2])] = x[:2]
    return self.linear(x) + self.state


def _by_statistics(self: Any, x: Tensor) -> Tensor:
    self.state[0]
    return torch.batch_norm(x, None, None, self.state[0], self.state[1], True, 0.1, 1e-5, False)


def _not_at_all(self: Any, x: Tensor) -> Tensor:
    y = self.state + x
    y.relu_()
    return self.linear(y) + self.state.clone().mul_(2)


@pytest.mark.parametrize(
    ("function", "written"),
    [
        (_in_a_region, True),
        (_through_a_slice, True),
        (_through_views, True),
        (_by_an_index, True),
        (_by_statistics, True),
        (_not_at_all, False),
    ],
)
def test_a_buffer_is_written_by_whatever_name(function: Callable[..., Any], written: bool) -> None:
    model = graph_of(function)
    assert Memory(model).is_written(named(model, "state")) == written
    state = model.get_buffer("state")
    before = state.clone()
    x = torch.randn(4, 8)
    with torch.no_grad():
        first = model(x)
        changed = not torch.equal(state, before)
        state.copy_(before)
        # What is known to be written is what a run is spared of.
        with state_restored(model):
            assert torch.equal(model(x), first)
    assert changed == written
    assert torch.equal(state, before)


def test_an_activation_owns_its_memory_and_its_views_do_not() -> None:
    def function(self: Any, x: Tensor) -> Tensor:
        y = self.linear(x)
        view = y.flatten()
        y[0].relu_()
        return view * 2

    model = graph_of(function)
    memory = Memory(model)
    [write] = [each for each in model.graph.nodes if each.name.startswith("relu_")]
    assert [each.name for each in written_by(write)] == ["select"]
    assert memory.shares(named(model, "flatten"), named(model, "linear"))
    assert memory.is_written(named(model, "flatten"))
    assert not memory.is_written(named(model, "mul"))
    assert not memory.is_written(named(model, "x"))


# -- lost writes -----------------------------------------------------------------------------------


def _model(forward: str) -> str:
    lines = "".join(f"        {line}\n" for line in forward.strip().splitlines())
    return f"""import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.next = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)

    def forward(self, x):
{lines}
def handlens_main():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 16)
    return {{"model": Model().eval(), "example_inputs": (x,), "recipe": "xnnpack"}}
"""


def _charged(report: Report) -> dict[int, str]:
    """The causes of what is lost, by line."""
    return {
        each.span.line: each.cause.why
        for each in report.findings
        if each.rule == "HL101" and each.span is not None
    }


def _output(report: Report) -> float:
    assert report.output is not None
    assert report.output.sqnr_db is not None
    return report.output.sqnr_db


@pytest.mark.parametrize(
    ("in_place", "out_of_place"),
    [
        (
            "y = self.conv(x)\ny[:, :8] *= 3\nreturn self.next(y) + y.amax()",
            "y = self.conv(x)\ny = torch.cat([y[:, :8] * 3, y[:, 8:]], 1)\n"
            "return self.next(y) + y.amax()",
        ),
        (
            "y = self.conv(x)\nv = y.flatten(1)\ny.clamp_(min=0.3)\nreturn self.next(y) + v.amin()",
            "y = self.conv(x)\ny = y.clamp(min=0.3)\nv = y.flatten(1)\n"
            "return self.next(y) + v.amin()",
        ),
    ],
    ids=["a slice", "a view taken before"],
)
def test_a_write_that_quantization_loses_is_the_cause_and_writing_out_of_place_helps(
    run_text: RunText, in_place: str, out_of_place: str
) -> None:
    lost, helped = run_text(_model(in_place)), run_text(_model(out_of_place))
    causes = _charged(lost)
    told = [line for line, cause in causes.items() if "what it writes in place is lost" in cause]
    lines = in_place.splitlines()
    writes = next(i for i, each in enumerate(lines) if "*=" in each or "_(" in each)
    assert told == [10 + writes]
    assert any(each.missed for each in lost.ops)
    assert min(each.sqnr_db for each in lost.ops if each.sqnr_db is not None) < 10
    assert "what it writes in place" not in str(_charged(helped))
    assert _output(helped) > 25


@pytest.mark.parametrize(
    "forward",
    [
        "y = self.conv(x)\ny.relu_()\nreturn self.next(y)",
        "y = self.conv(x)\ny.add_(1.0)\nreturn self.next(y) + y.amax()",
    ],
)
def test_a_write_that_all_see_is_no_cause(run_text: RunText, forward: str) -> None:
    report = run_text(_model(forward))
    assert "what it writes in place" not in str(_charged(report))
    assert not any(each.missed for each in report.ops)
