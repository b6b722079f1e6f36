"""The statistics nodes of a comparison graph, and the measurements that they pool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch
from torch.utils import _pytree as pytree

from handlens.comparison.channels import ChannelNoise, magnitudes
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.comparison.masks import masked
from handlens.comparison.measuring import Introduced, clipping, error_histogram, measure
from handlens.comparison.statistics import ExactSum, Statistics, Sums
from handlens.report import Histogram, Verdict


@dataclass
class Measurements:
    """The measurements of one op over any number of batches. Those of several runs can be pooled."""

    accumulated: Statistics = field(default_factory=Statistics)
    """The error of the quantized model as it runs."""
    introduced: Statistics = field(default_factory=Statistics)
    """The error of the op computed in the quantized way from reference inputs; empty if that adds none."""
    weight_noise: ExactSum = field(default_factory=ExactSum)
    """The part of the introduced noise that is there before the op's own output is quantized."""
    input_noise: ExactSum | None = None
    """The noise of the op if nothing but the model's inputs is quantized; None if not tried."""
    outside: int = 0
    """Reference values beyond the range of the op's output quantizer."""
    clipping_noise: ExactSum = field(default_factory=ExactSum)
    """Sum of their squared distances to that range."""
    magnitudes: Tensor | None = None
    """The largest magnitude of each channel of the reference output; None if not measured, and empty if the
    number of channels varies."""
    channel_noise: ChannelNoise | None = None
    """The noise of each channel; None if the channels are not known, and empty if their number varies."""
    masked: int = 0
    """How many values a mask takes out of the softmax, in both models. They are not compared."""
    masked_min: float = math.inf
    """The lowest finite one of them in the reference."""
    executions: int = 0
    first_batch: int | None = None
    """The first batch in which the op was executed."""
    errors: Histogram | None = None
    """The errors of a sample of the values of its first execution."""
    diverged: int = 0
    """How often the two models went different ways before they reached the op."""
    worst_sqnr_db: float = math.inf
    worst_batch: int | None = None

    @property
    def introduced_verdict(self) -> Verdict:
        """The verdict on the introduced error: "exact" if nothing in the op could add any."""
        own = self.introduced
        measured = own.count or own.non_finite or own.mismatch
        return own.verdict if measured or self.accumulated.mismatch else "exact"

    def add_magnitudes(self, largest: Tensor) -> None:
        """Pool the largest magnitude of each channel. If the number of channels varies, there are none."""
        known = self.magnitudes
        if known is None:
            self.magnitudes = largest
        elif known.shape == largest.shape:
            self.magnitudes = torch.maximum(known, largest)
        else:
            self.magnitudes = torch.empty(0)

    def add_channel_noise(self, noise: ChannelNoise) -> None:
        """Pool the noise of each channel."""
        self.channel_noise = noise if self.channel_noise is None else self.channel_noise + noise

    def update(self, other: Measurements) -> None:
        """Pool the measurements of other batches. The order does not matter."""
        self.accumulated.update(other.accumulated)
        self.introduced.update(other.introduced)
        self.weight_noise.update(other.weight_noise)
        if other.input_noise is not None:
            self.input_noise = self.input_noise or ExactSum()
            self.input_noise.update(other.input_noise)
        self.outside += other.outside
        self.clipping_noise.update(other.clipping_noise)
        if other.magnitudes is not None:
            self.add_magnitudes(other.magnitudes)
        if other.channel_noise is not None:
            self.add_channel_noise(other.channel_noise)
        self.masked += other.masked
        self.masked_min = min(self.masked_min, other.masked_min)
        self.executions += other.executions
        self.diverged += other.diverged
        first = math.inf if self.first_batch is None else self.first_batch
        if other.first_batch is not None and other.first_batch < first:
            self.first_batch, self.errors = other.first_batch, other.errors
        if other.worst_batch is not None:
            mine = (self.worst_sqnr_db, math.inf if self.worst_batch is None else self.worst_batch)
            theirs = (other.worst_sqnr_db, other.worst_batch)
            self.worst_sqnr_db, self.worst_batch = min(mine, theirs)  # type: ignore[assignment]


class Recorder(nn.Module):
    """Measures one op each time that the comparison graph computes it.

    Args:
        quantizers: the quantizers of the op's output that it is charged for.
        channel_dim: the dimension of the channels of the output, if they are to be measured.
        is_masked: True if nothing but a softmax reads the output, so that a mask may take positions out.
    """

    def __init__(
        self,
        quantizers: Sequence[FakeQuantizer] = (),
        channel_dim: int | None = None,
        is_masked: bool = False,
    ) -> None:
        super().__init__()
        self.total = Measurements()
        self._batch = Measurements()
        self._quantizers = tuple(quantizers)
        self._channel_dim = channel_dim
        self._is_masked = is_masked

    def forward(
        self,
        reference: Any,
        accumulated: Sequence[Any],
        before: Any = None,
        requantized: Sequence[Any] = (),
        exact: Any = None,
        inputs_alone: Any = None,
        same: Sequence[bool] = (),
    ) -> None:
        """Measure one execution.

        Args:
            reference: the output of the reference op.
            accumulated: the output of the quantized op as later ops read it, once for each quantizer of it.
            before: the op computed in the quantized way from reference inputs, before its output is
                quantized; None if that is the reference itself.
            requantized: ``before`` through each quantizer of the output that is not in ``quantizers``.
            exact: what ``before`` is compared with; None if that is the reference.
            inputs_alone: the op with nothing quantized but the model's inputs; None if not tried.
            same: for each selection of values by data, True if both models selected the same ones.
        """
        channel_dim = self._channel_dim
        if functorch.peek_interpreter_stack() is not None:
            # Under vmap, the mapped dimensions come first, so the channels are in another one.
            channel_dim = None
            given = (reference, accumulated, before, requantized, exact, inputs_alone)
            reference, accumulated, before, requantized, exact, inputs_alone = _unbatched(given)
        batch = self._batch
        batch.executions += 1
        if not all(same):
            batch.accumulated.mismatch = "the models select different values"
            return
        if self._is_masked and (hidden := _masked(reference, accumulated)) is not None:
            batch.masked += int(hidden.sum())
            finite = reference[hidden & reference.isfinite()]
            if finite.numel():
                batch.masked_min = min(batch.masked_min, float(finite.min()))
            given = (reference, accumulated, before, requantized, exact, inputs_alone)
            visible = _selected(given, ~hidden)
            reference, accumulated, before, requantized, exact, inputs_alone = visible
            channel_dim = None
        introduced = None
        if self._quantizers or (before is not None and exact is None and not requantized):
            introduced = self._introduced(reference, before)
        first, *others = accumulated
        measured = pool(batch.accumulated, reference, first, introduced)
        if batch.executions == 1 and not self.total.executions:
            batch.errors = error_histogram(reference, first)
        for actual in others:
            pool(batch.accumulated, reference, actual)
        for value in requantized:
            pool(batch.introduced, reference, value)
        if isinstance(inputs_alone, Tensor) and not _incomparable(reference, inputs_alone):
            noise = measure(reference, inputs_alone).noise
            batch.input_noise = batch.input_noise or ExactSum()
            batch.input_noise.add(noise * max(1, len(self._quantizers)))
        if channel_dim is not None and measured is not None and measured.noise:
            own = requantized[0] if requantized else before
            quantizer = self._quantizers[0] if self._quantizers else None
            lost = ChannelNoise.of(channel_dim, reference, first, own, quantizer, exact)
            batch.add_channel_noise(lost)
        if self._quantizers:
            if measured is not None and reference.numel():
                self._add_quantized(reference, before, measured, introduced, channel_dim)
        elif before is not None and not requantized:
            own = Statistics()
            energies = None if introduced is None else introduced.energies()
            if measured is not None and energies is not None:
                own.add(_with_noise(measured, energies[0]))
            else:
                pool(own, reference if exact is None else exact, before)
            batch.introduced.update(own)
            batch.weight_noise.add(own.noise)

    def _introduced(self, reference: Any, before: Any) -> Introduced | None:
        """The measurement of the introduced noise in the same pass; None if it needs more than float32."""
        tensors = [reference] if before is None else [reference, before]
        if not all(isinstance(each, Tensor) and each.dtype == torch.float32 for each in tensors):
            return None
        if before is not None and _incomparable(reference, before):
            return None
        return Introduced(before, self._quantizers)

    def _add_quantized(
        self,
        reference: Tensor,
        before: Tensor | None,
        measured: Sums,
        introduced: Introduced | None,
        channel_dim: int | None,
    ) -> None:
        batch = self._batch
        weight_noise = 0.0
        energies = None if introduced is None else introduced.energies()
        if introduced is not None and energies is not None:
            if before is not None:
                weight_noise = energies.pop(0)
            for energy in energies:
                batch.introduced.add(_with_noise(measured, energy))
        else:
            source = reference if before is None else before
            if _incomparable(reference, source):
                return
            for quantizer in self._quantizers:
                batch.introduced.add(measure(reference, quantizer(source)))
            if before is not None:
                weight_noise = measure(reference, before).noise
        # An output that several quantizers read counts several times in the noise, so its sources do, too.
        batch.weight_noise.add(weight_noise * len(self._quantizers))
        first = self._quantizers[0]
        outside, clipped = (
            clipping(reference, first) if introduced is None else introduced.clipping(reference)
        )
        batch.outside += outside * len(self._quantizers)
        batch.clipping_noise.add(clipped * len(self._quantizers))
        if channel_dim is not None and reference.dim() > 1:
            lowest = measured.reference_min if measured.count == reference.numel() else -math.inf
            batch.add_magnitudes(magnitudes(reference, channel_dim, lowest).float().cpu())

    def diverge(self) -> None:
        """Note that the models took different branches: one did not execute this op."""
        self._batch.diverged += 1

    def update(self, total: Measurements) -> None:
        """Pool the measurements of other batches."""
        self.total.update(total)

    def end_batch(self, number: int) -> None:
        """Add the measurements of the batch that ends to the total."""
        batch, self._batch = self._batch, Measurements()
        batch.first_batch = number if batch.executions else None
        ratio = batch.accumulated.sqnr_db
        if ratio is not None:
            batch.worst_sqnr_db, batch.worst_batch = ratio, number
        self.total.update(batch)


def _masked(reference: Any, accumulated: Sequence[Any]) -> Tensor | None:
    if not isinstance(reference, Tensor) or not isinstance(accumulated[0], Tensor):
        return None
    return masked(reference, accumulated[0])


def _selected(values: Any, compared: Tensor) -> Any:
    """The values of each tensor that are compared."""
    return pytree.tree_map_only(Tensor, lambda each: each[compared], values)


def _unbatched(values: Any) -> Any:
    """Tensors without the wrappers of vmap, with the mapped dimensions first."""

    def unbatched(value: Tensor) -> Tensor:
        while functorch.is_batchedtensor(value):
            dim = functorch.maybe_get_bdim(value)
            value = functorch.get_unwrapped(value).movedim(dim, 0)
        return value

    return pytree.tree_map_only(Tensor, unbatched, values)


def pool(
    statistics: Statistics, reference: Any, actual: Any, introduced: Introduced | None = None
) -> Sums | None:
    """Add a pair of tensors, or of (nested) sequences and mappings of tensors, to statistics.

    Returns the sums if it is one pair of tensors.
    """
    pairs = _pairs(reference, actual)
    if isinstance(pairs, str):
        statistics.mismatch = pairs
        return None
    if any(r.is_floating_point() or r.is_complex() for r, _ in pairs):
        # Indices and masks among the outputs have no energy of interest, but their shapes must agree.
        statistics.mismatch = next(filter(None, (_incomparable(r, a) for r, a in pairs)), "")
        pairs = [(r, a) for r, a in pairs if r.is_floating_point() or r.is_complex()]
    sums = None
    for r, a in pairs:
        reason = _incomparable(r, a)
        if reason:
            statistics.mismatch = reason
        else:
            sums = _sums(r, a, introduced)
            statistics.add(sums)
    return sums if len(pairs) == 1 else None


def _sums(reference: Tensor, actual: Tensor, introduced: Introduced | None) -> Sums:
    actual = actual.to(reference.device)
    sums = measure(reference, actual, introduced)
    if actual.dtype == torch.float16 != reference.dtype:
        nonzero = reference != 0
        sums.nonzero = int(torch.count_nonzero(nonzero))
        sums.vanished = int(torch.count_nonzero(nonzero & (actual == 0)))
    return sums


def _with_noise(measured: Sums, noise: float) -> Sums:
    """The sums of the same reference with another error."""
    return Sums(
        count=measured.count,
        signal=measured.signal,
        noise=noise,
        reference_min=measured.reference_min,
        reference_max=measured.reference_max,
    )


def _pairs(reference: Any, actual: Any) -> list[tuple[Tensor, Tensor]] | str:
    if isinstance(reference, Tensor) and isinstance(actual, Tensor):
        return [(reference, actual)]
    if isinstance(reference, dict) and isinstance(actual, dict):
        if reference.keys() != actual.keys():
            return (
                f"outputs named {', '.join(map(str, reference))} and {', '.join(map(str, actual))}"
            )
        reference, actual = list(reference.values()), [actual[key] for key in reference]
    if isinstance(reference, (list, tuple)) and isinstance(actual, (list, tuple)):
        if len(reference) != len(actual):
            return f"{len(reference)} outputs and {len(actual)}"
        found: list[tuple[Tensor, Tensor]] = []
        for r, a in zip(reference, actual):
            pairs = _pairs(r, a)
            if isinstance(pairs, str):
                return pairs
            found.extend(pairs)
        return found
    if isinstance(reference, Tensor) or isinstance(actual, Tensor):
        return "only one of the outputs is a tensor"
    return []


def _incomparable(reference: Tensor, actual: Tensor) -> str:
    if reference.shape != actual.shape:
        return f"shapes differ: {tuple(reference.shape)} and {tuple(actual.shape)}"
    if reference.layout != torch.strided or actual.layout != torch.strided:
        return f"not dense: {reference.layout} and {actual.layout}"
    return ""
