"""A result is checked against the model itself, and a comparison against the graphs by themselves."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from handlens import verification
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.report import Report
from handlens.versions import release
from tests.needs import needs_written_slices

from .conftest import RunText

_IMPORTS = """
import torch
from torch import nn
"""


def finding(report: Report, rule: str) -> tuple[str, str, int]:
    """Severity, message and line of the only finding of a rule."""
    [found] = [each for each in report.findings if each.rule == rule]
    assert found.span is not None
    return found.severity, found.message, found.span.line


def run(run_text: RunText, model: str, target: str) -> Report:
    body = "".join(f"    {line}\n" for line in target.strip().splitlines())
    return run_text(f"{_IMPORTS}{model}\n\ndef handlens_main():\n    torch.manual_seed(0)\n{body}")


# -- the recipe's graph against the model ----------------------------------------------------------

_SHARED = """
class Levels(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(2))
        for variance, norm in zip((0.1, 5.0), self.norms):
            norm.running_var.fill_(variance)

    def forward(self, x, y):
        return [norm(self.conv(each)) for each, norm in zip((x, y), self.norms)]
"""

_UNREAD = """
class Unread(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.norm.running_var.fill_(0.1)
        self.levels = Levels()

    def forward(self, x, y):
        z = self.first(x)
        z.exp()
        return self.levels(self.norm(z), y)
"""

_TIED = """
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 4, 1, bias=False)
        self.second = nn.Conv2d(4, 4, 1, bias=False)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm2d(4)
        self.norm.running_var.fill_(0.1)

    def forward(self, x, y):
        return self.norm(self.first(x)) + self.second(y)
"""


@pytest.mark.parametrize(
    ("model", "name", "line"),
    [(_SHARED, "Levels", 14), (_TIED, "Tied", 15), (_SHARED + _UNREAD, "Unread", 14)],
    ids=["shared", "tied", "unread"],
)
@pytest.mark.parametrize("recipe", ["x86", "xnnpack"])
def test_a_batch_norm_folded_into_a_shared_weight_is_told_where_the_weight_is_used(
    run_text: RunText, model: str, name: str, line: int, recipe: str
) -> None:
    report = run(
        run_text,
        model,
        f"""
x, y = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
return {{"model": {name}().eval(), "example_inputs": (x, y), "recipe": {recipe!r}}}
""",
    )
    assert report.verified is not None
    assert report.verified.verdict == "differs"
    assert report.verified.sqnr_db is not None
    assert report.verified.sqnr_db < 15
    difference = report.verified.difference
    assert difference is not None
    assert (difference.by, difference.op) == ("recipe", "aten.conv2d.default")
    severity, message, found = finding(report, "HL204")
    assert (severity, found) == ("error", line)
    assert message.startswith("conv2d ")
    # The ratio to the recipe's own reference is no comfort, and is not what the target is judged by.
    assert report.output is not None
    assert report.output.sqnr_db is not None
    assert report.output.sqnr_db > 30
    assert "against the model" in finding(report, "HL105")[1]


def test_an_ordinary_fold_is_the_model_up_to_rounding(tiny_cnn: Report) -> None:
    assert tiny_cnn.verified is not None
    assert tiny_cnn.verified.verdict == "ok"
    assert tiny_cnn.verified.sqnr_db is not None
    assert tiny_cnn.verified.sqnr_db > 110
    assert tiny_cnn.verified.comparison == "merged"


def test_a_graph_that_nothing_is_folded_in_is_the_model_to_the_bit(
    transformer_block: Report,
) -> None:
    assert transformer_block.verified is not None
    assert transformer_block.verified.verdict == "exact"


# -- the exported graph against the model ----------------------------------------------------------


def _module(forward: str, init: str = "") -> str:
    lines = "".join(f"        {line}\n" for line in forward.strip().splitlines())
    return f"""
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        {init}

    def forward(self, x):
{lines}
"""


_TARGET = """
return {"model": Model().eval(), "example_inputs": (torch.randn(4, 8),), "recipe": "xnnpack"}
"""


@pytest.mark.parametrize(
    ("forward", "op", "line"),
    [
        (
            "import random\nx = self.linear(x)\nreturn torch.relu(x) * random.random()",
            "aten.mul.Tensor",
            14,
        ),
        (
            "x = self.linear(x)\nif torch.compiler.is_exporting():\n    x = x.sin()\nreturn x.cos()",
            "aten.cos.default",
            15,
        ),
    ],
    ids=["a number baked in", "another way when exported"],
)
def test_a_program_that_was_captured_otherwise_is_told_at_its_first_op(
    run_text: RunText, forward: str, op: str, line: int
) -> None:
    report = run(run_text, _module(forward), _TARGET)
    assert report.verified is not None
    assert report.verified.difference is not None
    assert report.verified.difference.by == "export"
    assert report.verified.difference.op == op
    assert finding(report, "HL204")[2] == line


@pytest.mark.parametrize(
    ("forward", "init"),
    [
        (
            "self.calls += 1\nself.seen.append(1)\n"
            "return self.linear(x) * self.calls + len(self.seen)",
            "self.calls = 0; self.seen = []",
        ),
        (
            "if not self.hooked:\n"
            "    self.linear.register_forward_hook(lambda module, args, output: output + 1)\n"
            "    self.hooked = True\n"
            "return self.linear(x)",
            "self.hooked = False",
        ),
        (
            "x = self.linear(x)\nself.hook.remove()\nreturn x",
            "self.hook = self.linear.register_forward_hook(lambda module, args, output: output + 1)",
        ),
        (
            "self.append()\nreturn self.linear(x) * len(self.recent)",
            "import collections; recent = self.recent = collections.deque(maxlen=9); "
            "self.append = lambda: recent.append(1)",
        ),
    ],
    ids=["a number and a list", "a hook", "a hook that is removed", "a deque that others hold"],
)
def test_what_a_forward_keeps_in_its_module_is_as_given_for_every_run(
    run_text: RunText, forward: str, init: str
) -> None:
    report = run(run_text, _module(forward, init), _TARGET)
    assert report.verified is not None
    assert report.verified.verdict == "exact"


def test_a_model_that_differs_from_itself_is_not_blamed(run_text: RunText) -> None:
    # What an operating system gives cannot be given again.
    forward = "import os\nreturn self.linear(x) + int.from_bytes(os.urandom(2), 'big') / 100"
    report = run(run_text, _module(forward), _TARGET)
    assert report.verified is not None
    assert report.verified.verdict == "not-checked"
    assert "differs from itself" in report.verified.reason
    assert not [each for each in report.findings if each.rule == "HL204"]


def test_dice_that_are_thrown_alike_are_no_difference(run_text: RunText) -> None:
    report = run(
        run_text,
        _module("return torch.dropout(self.linear(x), 0.5, True) + torch.randn(8)"),
        _TARGET,
    )
    assert report.verified is not None
    assert report.verified.verdict == "exact"


def test_an_index_that_rounding_decides_is_no_difference(run_text: RunText) -> None:
    model = """
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.norm.running_var.fill_(3.0)
        with torch.no_grad():
            # Two channels that are equal but for the last bit.
            self.conv.weight[1] = self.conv.weight[0]
            self.conv.bias[1] = self.conv.bias[0]
            self.norm.running_mean[1] = self.norm.running_mean[0] = 0.3
            self.norm.weight[1] = self.norm.weight[0] = 0.7

    def forward(self, x):
        return self.norm(self.conv(x))[:, :2].argmax(1)
"""
    target = """
return {"model": Model().eval(), "example_inputs": (torch.randn(4, 3, 32, 32),), "recipe": "xnnpack"}
"""
    report = run(run_text, model, target)
    assert report.verified is not None
    assert report.verified.verdict in ("ok", "exact")


# -- the comparison against the graphs -------------------------------------------------------------

_CHAIN = """
class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))
"""
_CHAINED = """
data = [(torch.randn(4, 8),) for _ in range(3)]
return {"model": Chain().eval(), "example_inputs": data[0], "evaluation": data, "recipe": "xnnpack"}
"""


def test_a_shortcut_that_gives_other_bits_is_not_taken(
    run_text: RunText, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(run_text, _CHAIN, _CHAINED)
    right = FakeQuantizer.into

    def wrong(self, value, out):  # type: ignore[no-untyped-def]
        return right(self, value, out).add_(0.25)

    monkeypatch.setattr(FakeQuantizer, "into", wrong)
    report = run(run_text, _CHAIN, _CHAINED)
    assert report.verified is not None
    assert report.verified.comparison == "plain"
    assert report.output == expected.output
    assert report.batches == 3
    assert [each.introduced_sqnr_db for each in report.ops] == pytest.approx(
        [each.introduced_sqnr_db for each in expected.ops], abs=1e-3
    )


def test_where_no_comparison_gives_the_bits_of_the_graphs_the_outputs_alone_are_shown(
    run_text: RunText, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(run_text, _CHAIN, _CHAINED)
    monkeypatch.setattr(verification._Plain, "agrees_with", lambda *_: False)
    report = run(run_text, _CHAIN, _CHAINED)
    assert report.verified is not None
    assert report.verified.comparison == "outputs"
    assert report.ops == ()
    assert report.coverage is not None
    assert len(report.coverage.unmatched) == report.coverage.ops == 3
    assert report.output == expected.output


@needs_written_slices
def test_a_buffer_that_is_written_and_returned_is_compared(run_text: RunText) -> None:
    model = _module(
        "self.seen[:2].add_(self.linear(x)[:2])\nreturn self.linear(x), self.seen",
        "self.register_buffer('seen', torch.zeros(4, 8))",
    )
    report = run(run_text, model, _TARGET)
    assert report.verified is not None
    assert (report.verified.verdict, report.verified.comparison) == ("exact", "merged")
    assert report.coverage is not None
    # Before torchao 0.18, the slice is a view of the buffer that was made beforehand.
    is_made_before = release(version("torchao")) < (0, 18)
    left = {"aten.slice.Tensor"} if is_made_before else set()
    assert {each.op for each in report.coverage.unmatched} == left


# -- debugging -------------------------------------------------------------------------------------


def test_the_comparison_graph_is_written_into_a_folder(
    run_text: RunText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "graphs"
    monkeypatch.setenv("HANDLENS_DUMP_GRAPH", str(folder))
    model = "\nclass Model(nn.Linear):\n    pass\n"
    report = run(run_text, model, "return Model(4, 4).eval(), (torch.randn(2, 4),)")
    assert report.error is None
    [file] = folder.iterdir()
    code = file.read_text()
    assert file.name == "model_line_9.py"
    assert "self.fake_quantize" in code
    assert f"self.handle_{report.ops[0].handle}(" in code
