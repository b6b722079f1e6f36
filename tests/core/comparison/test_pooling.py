"""What is measured on batches is the same to the bit, however the batches are shared out and pooled."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from handlens.comparison import Comparison, Statistics, merge
from handlens.comparison.channels import ChannelNoise
from handlens.comparison.measuring import measure
from handlens.recipes import Quantized
from tests.core.quantizing import quantize

energies = st.floats(0.0, 2.0**300, allow_subnormal=True)
sums_of_batches = st.lists(
    st.lists(st.tuples(energies, energies, energies), min_size=2, max_size=2),
    min_size=1,
    max_size=12,
)


def pooled(batches: list[ChannelNoise]) -> ChannelNoise:
    found = batches[0]
    for each in batches[1:]:
        found = found + each
    return found


@given(sums_of_batches, st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_noise_of_channels_is_summed_without_rounding(
    sums: list[list[tuple[float, float, float]]], random: Any, ranks: int
) -> None:
    rows = [torch.tensor(each, dtype=torch.float64).T for each in sums]
    expected = [
        [math.fsum(column) for column in zip(*each)] for each in zip(*map(Tensor.tolist, rows))
    ]
    noises = [ChannelNoise(row.unsqueeze(0)) for row in rows]
    random.shuffle(noises)
    shares = [noises[rank::ranks] for rank in range(ranks)]
    found = pooled([pooled(share) for share in shares if share])
    assert [each.tolist() for each in found.sums] == expected


def test_noise_that_is_not_finite_stays_so() -> None:
    infinite, finite = (ChannelNoise(torch.full((1, 3, 1), value)) for value in (math.inf, 1.0))
    for batches in ([infinite, finite, finite], [finite, finite, infinite]):
        assert [each.item() for each in pooled(batches).sums] == [math.inf] * 3


@given(st.permutations(range(4)))
@settings(max_examples=10)
def test_one_of_several_mismatches_is_told_whatever_the_order(order: list[int]) -> None:
    total = Statistics()
    for number in order:
        batch = Statistics(mismatch=f"shapes differ: {number}" if number else "")
        batch.add(measure(torch.ones(3), torch.ones(3) * 2))
        total.update(batch)
    assert total.mismatch == "shapes differ: 1"


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x))
        # One of the branches is not executed for the first batch.
        x = torch.cond(x.sum() > 30, lambda y: y * 2, lambda y: y + 1, (x,))
        return self.head(torch.cat((x, x + 1), 1).mean((2, 3))).softmax(-1)


@pytest.fixture(scope="module")
def quantized() -> Quantized:
    torch.manual_seed(0)
    return quantize(_Model().eval(), torch.randn(4, 2, 8, 8))


def compared(quantized: Quantized, batches: dict[int, Tensor]) -> Comparison:
    comparison = merge(quantized.reference, quantized.actual)
    for number, batch in batches.items():
        comparison.batches = number
        comparison.run((batch.clone(),), {})
    return comparison


def figures(comparison: Comparison) -> list[Any]:
    found: list[Any] = []
    for each in comparison.compared:
        total, noise = each.measured, each.measured.channel_noise
        found += [
            *(each.handle, total.executions, total.errors, total.worst_batch, total.worst_sqnr_db),
            *(total.accumulated.sqnr_db, total.accumulated.cosine, total.introduced.sqnr_db),
            *(float(total.weight_noise), float(total.clipping_noise), total.outside),
            *((noise.relative, noise.introduced_relative) if noise else ()),
            None if total.magnitudes is None else total.magnitudes.tolist(),
            None if each.parts is None else each.parts[1].relative,
        ]
    return found


@pytest.mark.parametrize("ranks", [2, 3])
def test_shares_of_the_batches_pool_to_what_one_comparison_measures(
    quantized: Quantized, ranks: int
) -> None:
    torch.manual_seed(1)
    batches = {number: torch.randn(4, 2, 8, 8) * (1 + number / 2) for number in range(7)}
    whole = compared(quantized, batches)
    *others, first = (
        compared(quantized, {n: b for n, b in batches.items() if n % ranks == rank})
        for rank in range(ranks)
    )
    for each in others:
        first.update(each.totals)
    assert figures(first) == figures(whole)
    assert any(each.measured.worst_batch for each in whole.compared)
