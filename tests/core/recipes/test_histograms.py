"""torch's histograms and the quick ones are the same, to the bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from handlens.recipes import histograms
from handlens.recipes.histograms import quick_histograms

KINDS = {
    "normal": lambda shape, make: torch.randn(shape, generator=make),
    "clamped": lambda shape, make: (3 * torch.randn(shape, generator=make)).clamp(0, 6),
    "integers": lambda shape, make: torch.randint(-9, 9, shape, generator=make).float(),
    "an outlier": lambda shape, make: torch.randn(shape, generator=make).index_fill_(
        0, torch.tensor([0]), 1e30
    ),
    "tiny": lambda shape, make: torch.randn(shape, generator=make) * 1e-42,
    "huge": lambda shape, make: torch.randn(shape, generator=make) * 1e33,
}


def both(value: Tensor, bins: int, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    with quick_histograms():
        quick = torch.histc(value, bins, min=low, max=high)  # type: ignore[arg-type]
    return torch.histc(value, bins, min=low, max=high), quick  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(KINDS)),
    st.integers(64, 3000),
    st.sampled_from((2048, 256, 7, 1)),
    st.floats(0, 2),
    st.booleans(),
    st.integers(0, 9),
)
def test_histograms_are_those_of_torch(
    kind: str, rows: int, bins: int, margin: float, is_transposed: bool, seed: int
) -> None:
    value = KINDS[kind]((rows, 65), torch.Generator().manual_seed(seed))
    if is_transposed:
        value = value.T
    low, high = torch.aminmax(value)
    wider = (high - low) * margin
    if bool(wider.isfinite()):
        low, high = low - wider, high + wider
    assert torch.equal(*both(value, bins, low, high))


@pytest.mark.parametrize(
    "value",
    [
        torch.full((5000,), 0.7),
        torch.cat((torch.rand(5000), torch.tensor([2.0, float("nan")]))),
        torch.rand(5000).double(),
    ],
    ids=["one value", "not a number", "double precision"],
)
def test_what_is_not_known_is_left_to_torch(value: Tensor) -> None:
    low, high = value[~value.isnan()].aminmax()
    assert histograms._counted(value, 2048, low, high) is None
    assert torch.equal(*both(value, 2048, low, high))


def test_values_outside_are_left_out_as_by_torch() -> None:
    assert torch.equal(*both(torch.randn(9000), 2048, torch.tensor(-1.0), torch.tensor(0.5)))


def test_other_calls_are_left_to_torch() -> None:
    value = torch.randn(9000)
    expected = torch.histc(value, bins=10, min=-1, max=1), torch.histc(value)
    with quick_histograms():
        assert torch.equal(torch.histc(value, bins=10, min=-1, max=1), expected[0])
        assert torch.equal(torch.histc(value), expected[1])
        assert torch.equal(torch.histc(input=value), expected[1])


def test_torch_is_as_before_after_an_error() -> None:
    before = torch.histc
    with pytest.raises(KeyError), quick_histograms():
        raise KeyError
    assert torch.histc is before
