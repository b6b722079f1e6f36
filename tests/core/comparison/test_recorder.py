"""What a statistics node makes of the outputs of one op, whatever they are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401  (the decomposed ops)
from torch import Tensor

from handlens.comparison import Measurements
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.comparison.recorder import Recorder

LARGEST = torch.finfo(torch.float32).max

_ops = torch.ops.quantized_decomposed


def recorded(reference: Any, actual: Any) -> Measurements:
    recorder = Recorder()
    recorder(reference, (actual,))
    recorder.end_batch(0)
    return recorder.total


def quantizer(scale: float) -> FakeQuantizer:
    return FakeQuantizer(
        _ops.quantize_per_tensor.default,
        _ops.dequantize_per_tensor.default,
        (scale, 0, -128, 127, torch.int8),
    )


def test_nested_outputs_are_pooled_and_empty_ones_add_nothing() -> None:
    r = [torch.ones(2), {"a": (torch.zeros(0), torch.tensor(1.0))}, None]
    a = [torch.ones(2), {"a": (torch.zeros(0), torch.tensor(0.0))}, None]
    total = recorded(r, a).accumulated
    assert total.count == 3
    assert total.sqnr_db == pytest.approx(4.77, abs=0.01)


@pytest.mark.parametrize(
    ("actual", "reason"),
    [
        (torch.ones(3), "shapes differ: (2,) and (3,)"),
        ([torch.ones(2)], "only one of the outputs is a tensor"),
        (torch.ones(2).to_sparse(), "not dense: torch.strided and torch.sparse_coo"),
    ],
)
def test_what_cannot_be_compared_is_a_mismatch_and_no_error(actual: Any, reason: str) -> None:
    assert recorded(torch.ones(2), actual).accumulated.mismatch == reason


def test_outputs_of_different_structure_are_a_mismatch() -> None:
    one = torch.ones(1)
    assert recorded([one, one], [one]).accumulated.mismatch == "2 outputs and 1"
    assert recorded({"a": one}, {"b": one}).accumulated.mismatch == "outputs named a and b"


def test_numbers_and_none_have_no_tensor_to_compare() -> None:
    for value in (None, 3, 2.5, True):
        total = recorded(value, value).accumulated
        assert (total.count, total.mismatch) == (0, "")


def test_values_beyond_the_quantizer_are_counted_and_weighed() -> None:
    fake = quantizer(0.01)
    recorder = Recorder([fake])
    reference = torch.tensor([-2.0, 0.0, 1.0, 1.274, 5.0])
    recorder(reference, (fake(reference),))
    recorder.end_batch(0)
    total = recorder.total
    assert total.outside == 2
    assert float(total.clipping_noise) == pytest.approx((2 - 1.28) ** 2 + (5 - 1.27) ** 2, rel=1e-4)
    assert total.introduced.noise == pytest.approx(float(total.clipping_noise), rel=1e-4)


def test_what_is_clipped_is_counted_to_the_last_value_over_blocks() -> None:
    torch.manual_seed(0)
    fake = quantizer(0.01)
    reference = torch.randn(3 << 18)
    recorder = Recorder([fake])
    recorder(reference, (fake(reference),))
    recorder.end_batch(0)
    values, (low, high) = reference.double(), fake.range
    beyond = torch.maximum(low - values, values - high)
    beyond = beyond[beyond > 0.5 * fake.scale]
    assert recorder.total.outside == beyond.numel()
    assert float(recorder.total.clipping_noise) == pytest.approx(float(beyond.square().sum()))


def test_what_several_quantizers_read_is_charged_to_its_sources_as_often() -> None:
    torch.manual_seed(0)
    reference = 0.3 * torch.randn(1000)
    before = reference + 0.05 * torch.randn(1000)
    shares = []
    for quantizers in ([quantizer(0.01)], [quantizer(0.01), quantizer(0.01)]):
        recorder = Recorder(quantizers)
        recorder(reference, tuple(each(before) for each in quantizers), before)
        recorder.end_batch(0)
        total = recorder.total
        noises = float(total.weight_noise), float(total.clipping_noise), total.outside
        shares.append([each / total.introduced.noise for each in noises])
    assert 0.9 < shares[0][0] < 1.1
    assert shares[1] == pytest.approx(shares[0])


def test_values_that_float16_loses_are_counted_among_those_that_are_not_zero() -> None:
    reference = torch.tensor([0.0, 0.0, 1e-9, 1.0])
    total = recorded(reference, reference.half()).accumulated
    assert (total.vanished, total.nonzero) == (1, 2)


def test_the_worst_batch_is_remembered() -> None:
    recorder = Recorder()
    for number, error in enumerate((0.1, 0.5, 0.2)):
        recorder(torch.ones(4), (torch.ones(4) + error,))
        recorder.end_batch(number)
    assert recorder.total.worst_batch == 1
    assert recorder.total.worst_sqnr_db == pytest.approx(6.02, abs=0.01)


def test_parts_of_a_run_pool_to_the_same_in_any_order() -> None:
    torch.manual_seed(0)
    batches = [(r, r + 10.0**-n * torch.randn(50)) for n, r in enumerate(torch.randn(6, 50))]

    def measured(numbers: tuple[int, ...]) -> Measurements:
        fake = quantizer(0.02)
        recorder = Recorder([fake], channel_dim=0)
        for number in numbers:
            r, a = batches[number]
            recorder(r, (a,), r + 1e-3)
            recorder.end_batch(number)
        return recorder.total

    whole = measured((0, 1, 2, 3, 4, 5))
    for split in (((4, 5), (0, 1), (3, 2)), ((5,), (3, 1, 0), (2, 4))):
        pooled = Measurements()
        for numbers in split:
            pooled.update(measured(numbers))
        for name in ("accumulated", "introduced"):
            one, other = getattr(whole, name), getattr(pooled, name)
            assert (one.signal, one.noise, one.count) == (other.signal, other.noise, other.count)
            assert one.cosine == other.cosine
        assert float(whole.weight_noise) == float(pooled.weight_noise)
        assert (whole.worst_batch, whole.worst_sqnr_db) == (
            pooled.worst_batch,
            pooled.worst_sqnr_db,
        )
        assert whole.executions == pooled.executions


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "sliced"])
def test_a_fake_quantizer_gives_the_bits_of_the_pair_of_ops(layout: str) -> None:
    torch.manual_seed(0)
    value: Tensor = torch.randn(2, 8, 40, 40) * 3
    value[0, 0, 0, :8] = torch.tensor(
        [0.0, -0.0, 1e30, -1e30, torch.inf, -torch.inf, 1e-42, -0.004]
    )
    if layout == "channels_last":
        value = value.to(memory_format=torch.channels_last)
    elif layout == "transposed":
        value = value.transpose(1, 2)
    elif layout == "sliced":
        value = value[:, ::2]
    for scale, zero_point, low, high, dtype in (
        (0.02, 0, -128, 127, torch.int8),
        (0.0131, 77, 0, 255, torch.uint8),
        (1e-7, -5, -128, 127, torch.int8),
        (3.7, 2, 0, 15, torch.uint8),
    ):
        arguments = (scale, zero_point, low, high, dtype)
        quantize, dequantize = (
            _ops.quantize_per_tensor.default,
            _ops.dequantize_per_tensor.default,
        )
        expected = dequantize(quantize(value, *arguments), *arguments)
        result = FakeQuantizer(quantize, dequantize, arguments)(value)
        assert torch.equal(result.view(torch.int32), expected.view(torch.int32))


def test_a_fake_quantizer_makes_of_nan_what_the_pair_of_ops_makes() -> None:
    value = torch.tensor([torch.nan, 1.0, -1.0])
    arguments = (0.02, 0, -128, 127, torch.int8)
    quantize, dequantize = _ops.quantize_per_tensor.default, _ops.dequantize_per_tensor.default
    expected = dequantize(quantize(value, *arguments), *arguments)
    assert torch.equal(quantizer(0.02)(value), expected)


def test_a_fake_quantizer_can_overwrite_what_it_reads() -> None:
    torch.manual_seed(0)
    fake = quantizer(0.02)
    for value in (torch.randn(3, 50), torch.tensor([torch.nan, 1.0, -1.0])):
        expected = fake(value)
        result = fake(value, in_place=True)
        assert result is value
        assert torch.equal(result, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rest", [0.0, 0.1], ids=["no noise but that", "rounding besides"])
def test_what_is_clipped_is_counted_whatever_the_type_and_the_rest_of_the_noise(
    dtype: torch.dtype, rest: float
) -> None:
    clipping = quantizer(0.5)
    low, high = clipping.range
    reference = torch.tensor([0.0, 1.0 + rest, high + 4.0, low - 4.0], dtype=dtype)
    recorder = Recorder((clipping,))
    recorder(reference, (clipping(reference.float()).to(dtype),))
    recorder.end_batch(0)
    assert recorder.total.outside == 2
    assert float(recorder.total.clipping_noise) == pytest.approx(32.0)


@pytest.mark.parametrize("beyond", [-math.inf, math.inf, -LARGEST, 0.9 * LARGEST])
def test_a_range_to_the_end_of_float32_clips_what_lies_beyond(beyond: float) -> None:
    # As of a mask: half a step below its range no float32 lies, and above it many do.
    mask = FakeQuantizer(
        _ops.quantize_per_tensor.default,
        _ops.dequantize_per_tensor.default,
        (LARGEST / 255, 127, -128, 127, torch.int8),
    )
    reference = torch.tensor([-LARGEST, 0.0, 1.0, beyond])
    recorder = Recorder((mask,))
    recorder(reference, (mask(reference),))
    recorder.end_batch(0)
    assert recorder.total.outside == (beyond == 0.9 * LARGEST)
