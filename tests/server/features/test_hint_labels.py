"""What a hint at the end of a line says."""

from __future__ import annotations

from handlens_server.features.inlay_hint import label
from tests.sample_ops import sample_op


def test_how_float32_rounds_is_no_hint() -> None:
    why = "the recipe does not quantize it"
    rounded, lossy = sample_op(1, 127.2, in_float=why), sample_op(2, 38.0, in_float=why)
    assert label([rounded]) == ""
    assert label([lossy]) == "38.0 dB"
    assert label([rounded, lossy]) == "min 38.0 dB of 2 ops"
    assert label([sample_op(1, 127.2)]) == "127.2 dB"
