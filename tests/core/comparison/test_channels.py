"""Where the channels of an op's output are: a position or a head is none, though it may be as long."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401  (the decomposed ops)
from torch import Tensor, nn

from handlens.comparison.channels import ChannelNoise, channel_dim, magnitudes, sample
from handlens.comparison.fakequantize import FakeQuantizer

from ..conftest import RunText
from ..quantizing import captured

_ops = torch.ops.quantized_decomposed
FAKE = FakeQuantizer(
    _ops.quantize_per_tensor.default,
    _ops.dequantize_per_tensor.default,
    (0.05, 0, -128, 127, torch.int8),
)


class _Model(nn.Module):
    def __init__(self, then: Callable[[Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        # As many positions as channels: a wrong answer does not show in the sizes.
        self.conv, self.linear = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 8)
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(x, self)


def last_dim(then: Callable[[Tensor, nn.Module], Tensor]) -> int | None:
    """Where the channels of the last op are."""
    program = captured(_Model(then), torch.randn(2, 3, 8, 8)).program
    known: dict[torch.fx.Node, int | None] = {}
    for node in program.graph.nodes:
        if node.op == "call_function":
            known[node] = channel_dim(node, known)
    return list(known.values())[-1]


@pytest.mark.parametrize(
    ("then", "dim"),
    [
        (lambda x, m: m.conv(x), 1),
        (lambda x, m: torch.nn.functional.hardswish(m.conv(x)) * 2, 1),
        (lambda x, m: m.conv(x).flatten(2), 1),
        (lambda x, m: m.conv(x).flatten(1), None),
        (lambda x, m: m.conv(x).flatten(2).transpose(1, 2), 2),
        (lambda x, m: m.conv(x).permute(0, 2, 3, 1), 3),
        (lambda x, m: m.linear(x), 3),
        (lambda x, m: m.linear(x).transpose(-1, -2), 2),
        (lambda x, m: m.linear(x).transpose(-1, -2) + 1.0, 2),
        (lambda x, m: m.linear(x) + m.linear(x).transpose(-1, -2), None),
        (lambda x, m: m.linear(x) @ m.linear(x).transpose(-1, -2), None),
        (lambda x, m: x.softmax(-1) @ m.linear(x), 3),
        (lambda x, m: m.linear(x).view(2, 3, 8, 2, 4), None),
        (lambda x, m: m.linear(x).view(6, 8, 8), 2),
        (lambda x, m: m.linear(x).chunk(2, -1)[1], 3),
        (lambda x, m: torch.cat((m.conv(x), m.conv(x)), 1), 1),
        (lambda x, m: m.linear(x).mean(-1), None),
        (lambda x, m: m.linear(x) * 1j, None),
        (lambda x, m: torch.nn.functional.scaled_dot_product_attention(x, x, m.linear(x)), 3),
    ],
)
def test_channels_are_followed_or_there_are_none(
    then: Callable[[Tensor, nn.Module], Tensor], dim: int | None
) -> None:
    assert last_dim(then) == dim


def test_a_sample_has_a_column_for_each_channel() -> None:
    value = torch.arange(4.0).view(1, 4, 1, 1).expand(8, 4, 128, 128)
    (found,) = sample([value], 1)
    assert found.shape[1] == 4
    assert 1000 < found.numel() < 1 << 14
    assert torch.equal(found, value[:1, :, :1, :1].expand_as(found))


@pytest.mark.parametrize("dim", [0, 1, 3])
def test_the_noise_of_channels_is_that_of_each_by_itself(dim: int) -> None:
    torch.manual_seed(0)
    reference = torch.randn(4, 5, 3, 6)
    actual, own, exact = (reference + 0.1 * torch.randn_like(reference) for _ in range(3))

    def ratio(error: Tensor) -> float:
        others = [each for each in range(4) if each != dim]
        sums = error.double().square().sum(others), reference.double().square().sum(others)
        return float((sums[0] / sums[1]).clamp(max=1.0).mean())

    for given, error in (
        ((), torch.zeros(1)),
        ((own,), own - reference),
        ((own, None, exact), own - exact),
        ((None, FAKE), FAKE(reference) - reference),
        ((own, FAKE), FAKE(own) - reference),
    ):
        noise = ChannelNoise.of(dim, reference, actual, *given)
        assert noise.relative == pytest.approx(ratio(actual - reference))
        assert noise.introduced_relative == pytest.approx(ratio(error.expand_as(reference)))


@pytest.mark.parametrize("shift", [0.0, 5.0], ids=["both signs", "none below zero"])
def test_the_magnitude_of_a_channel_is_that_of_its_largest_value(shift: float) -> None:
    torch.manual_seed(0)
    value = torch.randn(2, 3, 4) + shift
    expected = value.abs().amax((0, 2))
    for lowest in (float(value.min()), -torch.inf):
        assert torch.equal(magnitudes(value, 1, lowest), expected)


def test_channels_that_vary_in_number_have_no_noise() -> None:
    one, other = (ChannelNoise.of(1, torch.ones(5, n), torch.ones(5, n) * 1.1) for n in (3, 4))
    assert one.relative == pytest.approx(0.01)
    assert (one + one).relative == pytest.approx(0.01)
    assert (one + other).relative is None
    assert (one + other + one).relative is None


MODEL = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(8, 8) for _ in range(3))

        def forward(self, x):
            {0}

    def handlens_main():
        torch.manual_seed(0)
        return {{"model": Net(), "example_inputs": (torch.randn(3000, 8),), "recipe": "{1}"}}
"""
FORWARDS = {
    "selections": "y = self.a(x); y = y[y[:, 0] > 0]; return torch.cat((self.b(y) + self.c(y), y), 1)",
    "complex": "return (self.a(x) * 1j + self.b(x) * (1 + 1j)).abs()",
    "mapped": "y = self.a(x); return torch.vmap(lambda row: torch.cat((row * 2 + row, row.tanh())))(y)",
    "truth values": "y, z = self.a(x), self.b(x); return torch.where(y > z, y, z)",
}


def _multiplies_complex() -> bool:
    try:
        return bool((torch.ones(1, dtype=torch.bfloat16) * 1j).abs())
    except NotImplementedError:
        return False


@pytest.mark.parametrize("recipe", ["int8-dynamic", "bf16"])
@pytest.mark.parametrize("forward", FORWARDS)
def test_what_comes_together_is_measured_or_left_alone(
    run_text: RunText, forward: str, recipe: str
) -> None:
    if (forward, recipe) == ("complex", "bf16") and not _multiplies_complex():
        pytest.skip("from torch 2.14 on, bfloat16 times 1j has a type without kernels")
    report = run_text(MODEL.format(FORWARDS[forward], recipe))
    assert report.status == "ok", report.error
    # Whatever is measured is measured of all that comes together.
    assert all(len(op.parts) == len(op.inputs) for op in report.ops if op.parts)
    assert not any(op.parts for op in report.ops if forward in ("complex", "mapped"))
