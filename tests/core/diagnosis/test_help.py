"""What a cause says to do is done, on a model that shows the cause: the output gains by it, and the cause
is gone; on the repaired model, which looks alike, it is not said."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from handlens.report import Finding, Report

from ..conftest import RunText

HEAD = """
    import torch
    import torch.nn.functional as F
    from torch import nn

    KEEP, MENDED = [], False

    def target(model, *data, recipe):
        return {
            "model": model.eval(), "example_inputs": data[0], "calibration": data, "recipe": recipe,
            "keep_float": KEEP,
        }
"""

LOUD_CHANNEL = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)
            if not MENDED:
                with torch.no_grad():
                    self.first.weight[0] *= 300
                    self.first.bias[0] *= 300
                    self.last.weight[:, 0] /= 300

        def forward(self, x):
            return self.last(torch.relu(self.first(x)))

    def handlens_main():
        torch.manual_seed(0)
        return target(Net(), *((torch.randn(2, 3, 16, 16),) for _ in range(4)), recipe="x86")
"""

MASK = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))

        def forward(self, x, mask):
            scores = 4 * self.q(x) @ self.k(x).transpose(-2, -1)
            scores = scores + (1.0 - mask)[:, None, :] * (-20.0 if MENDED else -10000.0)
            return torch.softmax(scores, dim=-1) @ self.v(x)

    def handlens_main():
        torch.manual_seed(0)
        mask = torch.ones(2, 6)
        mask[1, 4:] = 0.0
        return target(Net(), *((torch.randn(2, 6, 16), mask) for _ in range(4)), recipe="xnnpack")
"""

CAST_INPUT = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(16, 8)

        def forward(self, step):
            angle = step[:, None].float() * torch.logspace(0, -2, 16)
            return self.out(torch.sin(angle).to(self.out.weight.dtype))

    def handlens_main():
        torch.manual_seed(0)
        steps = torch.tensor([2.0, 1.0] if MENDED else [998.39, 937.7])
        return target(Net(), (steps,), recipe="bf16")
"""

BESIDE = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.loud, self.quiet = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3)
            self.last = nn.Conv2d(8, 4, 1)

        def forward(self, x):
            both = torch.cat((self.loud(x) * (1.0 if MENDED else 600.0), self.quiet(x)), 1)
            return self.last(both[:, 8:])

    def handlens_main():
        torch.manual_seed(0)
        return target(Net(), *((torch.randn(2, 3, 8, 8),) for _ in range(4)), recipe="xnnpack")
"""

QUANTIZER = """
    from dataclasses import replace

    from torchao.quantization.pt2e import MinMaxObserver
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer, get_default_x86_inductor_quantization_config
    )

    def quantizer(quant_max):
        config = get_default_x86_inductor_quantization_config()
        observer = MinMaxObserver.with_args(eps=2**-12)
        activation = replace(
            config.input_activation, observer_or_fake_quant_ctr=observer, quant_min=0, quant_max=quant_max
        )
        config = replace(config, input_activation=activation, output_activation=activation)
        return X86InductorQuantizer().set_global(config)
"""

FEW_LARGE = (
    QUANTIZER
    + """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x):
            return self.last(self.first(x) + (4.0 if MENDED else 40.0) * (x > 3.2))

    def handlens_main():
        torch.manual_seed(0)
        return target(Net(), (torch.randn(4096, 64),), recipe=lambda: quantizer(255))
"""
)

FEW_BITS = (
    QUANTIZER
    + """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x):
            return self.last(torch.tanh(self.first(x) / 8))

    def handlens_main():
        torch.manual_seed(0)
        data = (torch.randint(0, 16, (512, 64)).float(),)
        return target(Net(), data, recipe=lambda: quantizer(255 if MENDED else 15))
"""
)

INPUT_RANGE = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 16, 3)

        def forward(self, image):
            return torch.relu(self.first(image))

    def handlens_main():
        torch.manual_seed(0)
        images = [(torch.randn(2, 3, 16, 16),) for _ in range(4)]
        scaled = [(FACTOR * each,) for each, in images]
        return {**target(Net(), *(images if MENDED else scaled), recipe="x86"), "evaluation": images}
"""

SMALL = """
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.last(self.first(x) * (1.0 if MENDED else 1e-7)) * 1.0

    def handlens_main():
        torch.manual_seed(0)
        model = Net()
        with torch.no_grad():
            model.last.bias.zero_()
            model.last.weight *= 1.0 if MENDED else 1e4
        return target(model, (torch.randn(16, 8),), recipe="fp16")
"""


@dataclass(frozen=True)
class Case:
    text: str
    said: str
    """What the cause begins or goes on with."""
    kept: str
    """The op that is kept in float; empty where the model is mended instead."""
    gain_db: float
    help: str
    """What is said to help; empty where only advice could tell it, which measures."""


CASES = {
    "loud channel, op kept": Case(LOUD_CHANNEL, "channel 0 reaches", "relu", 9, ""),
    "loud channel, equalized": Case(LOUD_CHANNEL, "channel 0 reaches", "", 20, "cross-layer equalization"),
    "mask, op kept": Case(MASK, "its masked values reach -1e+04", "add", 20, ""),
    "cast input, op kept": Case(CAST_INPUT, "the model's input step", "unsqueeze", 20, ""),
    "beside a louder one, cat kept": Case(BESIDE, "the cat at line", "cat", 20, ""),
    "a few large values, op kept": Case(FEW_LARGE, "a few values reach", "add", 10, ""),
    "a few large values, made less large": Case(FEW_LARGE, "a few values reach", "", 5, ""),
    "few bits, op kept": Case(FEW_BITS, "its output has 16 steps", "tanh", 10, ""),
    "few bits, more of them": Case(FEW_BITS, "its output has 16 steps", "", 15, ""),
    "narrow input": Case(
        INPUT_RANGE.replace("FACTOR", "0.2"), "the values of the model's input image", "", 10, "calibrate"
    ),
    "wide input": Case(
        INPUT_RANGE.replace("FACTOR", "200"), "quantizer of the model's input image", "", 20, "calibrate"
    ),
    "too small for float16": Case(SMALL, "are too small for float16", "", 10, "scale the values up"),
}  # fmt: skip


def output(report: Report) -> float:
    assert report.status == "ok", report.error
    assert report.output is not None
    assert report.output.sqnr_db is not None
    return report.output.sqnr_db


def causes(report: Report) -> list[Finding]:
    return [each for each in report.findings if each.rule == "HL101"]


@pytest.mark.parametrize("name", CASES)
def test_what_is_said_to_help_helps(run_text: RunText, name: str) -> None:
    case = CASES[name]
    before = run_text(HEAD + case.text)
    (finding, *_) = [each for each in causes(before) if case.said in each.cause.why]
    assert case.help in finding.cause.help
    assert "in float" not in finding.cause.help
    kept = [op.handle for op in before.ops if op.name == case.kept][-1:]
    assert bool(kept) == bool(case.kept)
    change = f"KEEP, MENDED = {kept}, {not kept}"
    after = run_text(HEAD.replace("KEEP, MENDED = [], False", change) + case.text)
    assert output(after) > output(before) + case.gain_db
    assert not [each for each in causes(after) if case.said in each.cause.why]


def test_bfloat16_holds_what_is_too_small_for_float16(run_text: RunText) -> None:
    half = run_text(HEAD + SMALL)
    brain = run_text(HEAD + SMALL, recipe="bf16")
    assert output(brain) > output(half) + 10
