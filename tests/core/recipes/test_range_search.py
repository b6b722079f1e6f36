"""torchao's search for ranges and the quick one give the same range, to the bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchao.quantization.pt2e.observer import HistogramObserver

from handlens.recipes.range_search import KNOWN, KNOWN_ERRORS, _errors, digest, quick_range_search

KINDS = {
    "normal": lambda size, make: torch.randn(size, generator=make),
    "positive": lambda size, make: torch.randn(size, generator=make).relu(),
    "few values": lambda size, make: torch.randint(0, 4, (size,), generator=make).float(),
    "one value": lambda size, make: torch.full((size,), 0.7),
    "an outlier": lambda size, make: torch.cat(
        (torch.randn(size, generator=make), torch.tensor([900.0]))
    ),
    "heavy tails": lambda size, make: torch.randn(size, generator=make).pow(5),
    "tiny": lambda size, make: torch.randn(size, generator=make) * 1e-30,
}


def both(observer: HistogramObserver) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Scale and zero point by torchao's search, and by the quick one."""
    slow = observer.calculate_qparams()
    original = HistogramObserver._non_linear_param_search
    with quick_range_search():
        assert HistogramObserver._non_linear_param_search is not original
        quick = observer.calculate_qparams()
    assert HistogramObserver._non_linear_param_search is original
    return slow, quick


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(list(KINDS)), st.integers(1, 20_000)), min_size=1, max_size=3
    ),
    st.sampled_from((2048, 256, 7)),
    st.sampled_from((torch.quint8, torch.qint8)),
    st.sampled_from((torch.per_tensor_affine, torch.per_tensor_symmetric)),
    st.integers(0, 9),
)
def test_ranges_are_those_of_torchao(
    batches: list[tuple[str, int]], bins: int, dtype: torch.dtype, scheme: torch.qscheme, seed: int
) -> None:
    observer = HistogramObserver(bins, dtype, scheme)
    make = torch.Generator().manual_seed(seed)
    for kind, size in batches:
        observer(KINDS[kind](size, make))
    slow, quick = both(observer)
    assert all(torch.equal(one, other) for one, other in zip(slow, quick))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(list(KINDS)),
    st.sampled_from((2048, 256, 7)),
    st.sampled_from((torch.quint8, torch.qint8, torch.int16)),
    st.data(),
)
def test_errors_are_those_of_torchao(
    kind: str, bins: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    observer = HistogramObserver(bins, dtype)
    observer(KINDS[kind](5000, torch.Generator().manual_seed(data.draw(st.integers(0, 99)))))
    end = st.integers(0, bins - 1)
    drawn = data.draw(st.lists(st.tuples(end, end), min_size=1, max_size=40))
    ranges = [(min(each), max(each)) for each in drawn]
    expected = [observer._compute_quantization_error(*each) for each in ranges]
    found = [error for _, error in _errors(observer, iter(ranges))]
    assert found == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


def test_unknown_errors_are_torchaos(monkeypatch: pytest.MonkeyPatch) -> None:
    observer = HistogramObserver()
    observer(torch.randn(5000, generator=torch.Generator().manual_seed(0)))
    monkeypatch.setattr(
        HistogramObserver,
        "_compute_quantization_error",
        lambda self, start, end: float(start - end),
    )
    slow, quick = both(observer)
    assert all(torch.equal(one, other) for one, other in zip(slow, quick))


@pytest.mark.parametrize("counts", [[0.0, 1.0, 0.0], [float("nan"), 1.0, 2.0], [1e30, 1.0, 1e30]])
def test_odd_histograms_give_what_torchao_gives(counts: list[float]) -> None:
    observer = HistogramObserver(bins=len(counts))
    observer.histogram.copy_(torch.tensor(counts))
    observer.min_val.fill_(-1.0)
    observer.max_val.fill_(2.0)
    slow, quick = both(observer)
    assert all(torch.equal(one, other) for one, other in zip(slow, quick))


def test_this_torchao_is_known() -> None:
    # If this fails, torchao has another search: compare the two before its digest is added.
    assert digest(HistogramObserver._non_linear_param_search) in KNOWN
    error = HistogramObserver._compute_quantization_error, HistogramObserver._get_norm
    assert tuple(map(digest, error)) in KNOWN_ERRORS


def test_an_unknown_search_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(observer: HistogramObserver) -> tuple[Tensor, Tensor]:
        return observer.min_val, observer.max_val

    monkeypatch.setattr(HistogramObserver, "_non_linear_param_search", search)
    with quick_range_search():
        assert HistogramObserver._non_linear_param_search is search
