"""Batch norms have the shapes, types and layouts that their decomposition finds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._decomp import decomposition_table
from torch._subclasses import FakeTensorMode

from handlens.capture.batch_norms import _OP, quick_batch_norms
from handlens.capture.export import capture

LAYOUTS: dict[str, Any] = {
    "contiguous": lambda x: x,
    "channels last": lambda x: (
        x.contiguous(memory_format={4: torch.channels_last, 5: torch.channels_last_3d}[x.dim()])
        if x.dim() > 3
        else x
    ),
    "transposed": lambda x: x.transpose(0, -1),
    "every other": lambda x: x[..., ::2],
    "expanded": lambda x: x[:1].expand(3, *x.shape[1:]),
}


def metadata(value: Tensor) -> tuple[Any, ...]:
    return value.shape, value.stride(), value.dtype, value.device, value.storage_offset()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=2, max_size=5),
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from((torch.float32, torch.float64, torch.bfloat16, torch.float16)),
    st.sampled_from((None, torch.float32)),
    st.booleans(),
)
def test_metadata_is_that_of_the_decomposition(
    shape: list[int], layout: str, dtype: torch.dtype, other: torch.dtype | None, affine: bool
) -> None:
    with FakeTensorMode():
        x = LAYOUTS[layout](torch.empty(shape, dtype=dtype))
        channels = x.shape[1]
        known = [torch.empty(channels, dtype=other or dtype) for _ in range(4)]
        parameters = known[:2] if affine else [None, None]
        args = (x, *parameters, *known[2:], 0.1, 1e-5)
        decomposed = decomposition_table[_OP](*args)
        with quick_batch_norms():
            quick = decomposition_table[_OP](*args)
    assert list(map(metadata, quick)) == list(map(metadata, decomposed))


def test_parameters_that_do_not_fit_raise_as_before() -> None:
    norm = nn.BatchNorm2d(3).eval()
    norm.running_mean = torch.zeros(4)
    with pytest.raises(Exception, match="running_mean should contain 3 elements"):
        capture(nn.Sequential(nn.Conv2d(3, 3, 1), norm).eval(), (torch.randn(1, 3, 4, 4),))


def test_the_decomposition_is_there_again_after_an_error() -> None:
    before = decomposition_table[_OP]
    with pytest.raises(KeyError), quick_batch_norms():
        raise KeyError
    assert decomposition_table[_OP] is before
