"""Blame goes through bodies: what a region hands on was lost where it was lost without the region."""

from __future__ import annotations

import pytest

from handlens.report import Finding, Report

from ..conftest import RunText


def report_of(run_text: RunText, forward: str, recipe: str = "xnnpack") -> Report:
    lines = "".join(f"        {line}\n" for line in forward.strip().splitlines())
    return run_text(
        f"""import torch
from torch import nn
from torch._higher_order_ops.map import map as map_over

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Linear(16, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 8)
        with torch.no_grad():
            # One loud channel leaves the others few steps of the quantizer.
            self.stem.weight[0] *= 3000
            self.inner.weight[:, 0] /= 3000

    def forward(self, x):
{lines}
def handlens_main():
    torch.manual_seed(0)
    return {{"model": Model().eval(), "example_inputs": (torch.randn(4, 6, 16),), "recipe": "{recipe}"}}
"""
    )


def charged(report: Report) -> set[str]:
    """The modules of the ops that answer for losses."""
    ops = {op.handle: op for op in report.ops}
    return {ops[f.handle].module for f in report.findings if f.rule == "HL101" and f.handle}


def inherited(report: Report) -> list[Finding]:
    return [each for each in report.findings if each.rule == "HL102"]


_PLAIN = "y = self.inner(self.stem(x)).tanh()\nreturn self.head(y)"


@pytest.mark.parametrize(
    "forward",
    [
        "y = self.stem(x)\nwith torch.no_grad():\n    y = self.inner(y).tanh()\nreturn self.head(y)",
        "y = self.stem(x)\nwith torch.no_grad():\n    a, b = self.inner(y).tanh().chunk(2, -1)\n"
        "return self.head(torch.cat([b, a], -1))",
        "y = self.stem(x)\nwith torch.autocast('cpu', enabled=False):\n    y = self.inner(y).tanh()\n"
        "return self.head(y)",
        "y = self.stem(x)\n"
        "y = torch.cond(y.sum() > -1e9, lambda y: self.inner(y).tanh(), lambda y: y.cos(), (y,))\n"
        "return self.head(y)",
        "y = self.stem(x)\ny = map_over(lambda row: self.inner(row).tanh(), y)\nreturn self.head(y)",
    ],
    ids=["no_grad", "two outputs", "autocast", "cond", "map"],
)
def test_the_op_before_a_body_answers_for_what_is_lost_behind_it(
    run_text: RunText, forward: str
) -> None:
    report = report_of(run_text, forward)
    assert report.status == "ok", report.error
    assert "stem" in charged(report_of(run_text, _PLAIN))
    assert charged(report) == {"stem"}
    assert "inner" in {op.module for op in report.ops if "." in op.node}
    assert inherited(report)
    assert all("inherited from linear in stem" in each.message for each in inherited(report))


def test_what_comes_round_in_a_loop_is_charged_to_nobody_it_was_not_traced_to(
    run_text: RunText,
) -> None:
    forward = """y = self.stem(x)
def more(n, y):
    return n < 4
def step(n, y):
    return n + 1, self.inner(y).tanh()
return torch.while_loop(more, step, (torch.tensor(0), y))[1]"""
    report = report_of(run_text, forward)
    assert report.status == "ok", report.error
    bodies = [op for op in report.ops if op.node.startswith("while_loop_body")]
    assert any(not op.traced for op in bodies)
    messages = {each.message for each in inherited(report)}
    assert messages
    assert not any("sum of many small losses" in each for each in messages)


def test_nan_is_told_where_it_begins_though_that_is_inside_a_region(run_text: RunText) -> None:
    forward = """y = self.head(x) * 0 + 300
with torch.no_grad():
    y = (y * y).sqrt()
return y + 1"""
    report = report_of(run_text, forward, "fp16")
    [found] = [each for each in report.findings if each.rule == "HL103"]
    assert found.message.startswith("mul gives NaN or Inf")
    assert found.span is not None
    assert found.span.line == 18


def test_what_comes_from_an_op_that_was_not_compared_is_charged_to_nobody(
    run_text: RunText,
) -> None:
    # How often the loop runs depends on the last digits of what it is given.
    forward = """y = self.stem(x)
def more(n, y):
    return n + y.mean() * 1e4 < 3
def step(n, y):
    return n + 1, y.sin()
y = torch.while_loop(more, step, (torch.tensor(-1000), y.tanh()))[1]
return self.head(y)"""
    report = report_of(run_text, forward)
    assert report.coverage is not None
    reasons = {each.reason for each in report.coverage.unmatched}
    assert any("the models took different ways" in each for each in reasons)
    messages = {each.message for each in inherited(report)}
    assert any("lost before it, where it could not be traced" in each for each in messages)
    assert not any("sum of many small losses" in each for each in messages)
