"""What a mask takes out of a softmax is left out where both models take it out, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from handlens.comparison.masks import is_masked, masked

from ..quantizing import captured, named

LOWEST = torch.finfo(torch.float32).min


@pytest.mark.parametrize(
    ("reference", "actual", "left"),
    [
        ([1.0, -1e9, 2.0], [1.0, -65504.0, 2.0], [0, 2]),
        ([1.0, LOWEST, 2.0], [1.0, -torch.inf, 2.0], [0, 2]),
        # One model does not mask what the other does: the difference is what matters.
        ([1.0, -1e9, 2.0], [1.0, -3.0, 2.0], [0, 1, 2]),
        # Scores and biases reach this far.
        ([1.0, -30.0, 2.0], [1.0, -29.0, 2.0], [0, 1, 2]),
        ([-30.0, -35.0, -60.0], [-30.0, -35.0, -61.0], [0, 1, 2]),
        # A row that is masked wholly, alike in both, and one that is infinite in parts.
        ([LOWEST, LOWEST, LOWEST], [-65504.0, -65504.0, -65504.0], []),
        ([LOWEST, LOWEST, LOWEST], [-65504.0, -torch.inf, -65504.0], [0, 1, 2]),
        ([LOWEST, LOWEST, LOWEST], [-torch.inf, -torch.inf, -torch.inf], [0, 1, 2]),
    ],
)
def test_positions_that_both_mask_are_left_out(
    reference: list[float], actual: list[float], left: list[int]
) -> None:
    hidden = masked(torch.tensor([reference]), torch.tensor([actual]))
    kept = [0, 1, 2] if hidden is None else torch.nonzero(~hidden[0]).flatten().tolist()
    assert kept == left


class _Attention(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        bias = (1.0 - mask) * -1e4
        if self.how == "added":
            return (x @ x.transpose(1, 2) + bias[:, None]).softmax(-1) @ x
        if self.how == "filled and cast":
            scores = (x @ x.transpose(1, 2)).masked_fill(mask[:, None] == 0, -1e9)
            return scores.float().softmax(-1) @ x
        if self.how == "given to attention":
            bias = bias[:, None].expand(-1, x.shape[1], -1)
            return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=bias)
        if self.how == "another dimension":
            return (x @ x.transpose(1, 2) + bias[:, None]).softmax(1) @ x
        if self.how == "read by another":
            scores = x @ x.transpose(1, 2) + bias[:, None]
            return scores.softmax(-1) @ x + scores.sum()
        return (x * bias[..., None]).sum(1)


@pytest.mark.parametrize(
    ("how", "op", "is_one"),
    [
        ("added", "add", True),
        ("added", "mul", True),
        ("filled and cast", "masked_fill", True),
        ("given to attention", "mul", True),
        ("another dimension", "add", False),
        ("read by another", "add", False),
        ("multiplied", "mul", False),
    ],
)
def test_nothing_but_a_softmax_over_the_last_dimension_makes_a_mask(
    how: str, op: str, is_one: bool
) -> None:
    program = captured(_Attention(how), torch.randn(2, 5, 4), torch.ones(2, 5)).program
    node = named(program.graph_module, op)[0]
    assert is_masked(node) == is_one
