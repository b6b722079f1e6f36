"""What makes the numbers of a comparison mean less than they seem to: the data, and an untrained model.

Each caveat is certain: where something only may be so, nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from handlens.loading.subject import Subject
from handlens.report import Caveat

# How many values of an input are looked at, and how many it takes to know their distribution.
_MOST, _LEAST = 1 << 16, 1 << 10
# How many standard errors a statistic of random numbers may be off.
_ERRORS = 5.0
# From so many samples on, a single batch is one of many inputs.
_MANY_SAMPLES = 16

_NORMALIZATIONS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def caveats(subject: Subject, batches: int, is_calibrated: bool) -> Iterator[Caveat]:
    """The caveats of a comparison on ``batches`` evaluation batches.

    ``is_calibrated`` tells if the recipe takes ranges from the calibration batches.
    """
    yield from _of_data(subject, batches, is_calibrated)
    if parts := _untrained(subject.model):
        what = f"the model is not trained, its {parts} as they were made"
        yield Caveat(what, "load trained weights, whose ranges and losses are others")


def _of_data(subject: Subject, batches: int, is_calibrated: bool) -> Iterator[Caveat]:
    # Others than lists may give something else each time, or nothing a second time, or do something.
    evaluation, calibration = _listed(subject.evaluation), _listed(subject.calibration)
    example = [(subject.args, subject.kwargs) if subject.kwargs else subject.args]
    random = ", which are random numbers" if _is_random(evaluation[:1]) else ""
    doing = "calibrated and compared" if is_calibrated else "compared"
    keys = "`calibration` and `evaluation`" if is_calibrated else "`evaluation`"
    if evaluation and _same(evaluation, example) and _same(calibration, example):
        what = f"{doing} on the example inputs alone{random}"
        yield Caveat(what, f"give {keys} batches of real data")
        return
    if is_calibrated and evaluation and _same(evaluation, calibration):
        yield Caveat(
            f"calibrated and compared on the same batches{random}",
            "evaluate on others, to which the ranges do not happen to fit",
        )
    elif random:
        yield Caveat(f"compared on evaluation batches{random}", "give batches of real data")
    if is_calibrated and not _same(evaluation, example) and _same(calibration, example):
        yield Caveat(
            "calibrated on the example inputs alone", "give `calibration` batches of real data"
        )
    if batches == 1 and evaluation and (samples := _samples(evaluation[0])) < _MANY_SAMPLES:
        yield Caveat(
            f"compared on one batch, of {samples}",
            "give more `evaluation` batches, so that less depends on it",
        )


def _listed(batches: Any) -> Sequence[Any]:
    return batches if type(batches) in (list, tuple) else ()


def _same(some: Any, others: Any) -> bool:
    """True if batches have the same tensors and values."""
    (ours, structure), (theirs, expected) = map(pytree.tree_flatten, ([*some], [*others]))
    return structure == expected and all(map(_equal, ours, theirs))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or (one.dtype == other.dtype and torch.equal(one, other))
    return one is other or (type(one) is type(other) and bool(one == other))


def _samples(batch: Any) -> int:
    """How many samples a batch has, if its first dimension is that of the samples."""
    sizes = (each.shape[0] for each in pytree.tree_leaves(batch) if _is_tensor(each) and each.dim())
    return next(sizes, 1)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _is_random(batches: Sequence[Any]) -> bool:
    """True if the floating inputs come from torch.randn or torch.rand."""
    inputs = [
        each
        for each in pytree.tree_leaves(batches)
        if isinstance(each, Tensor) and each.is_floating_point()
    ]
    return bool(inputs) and all(map(_is_noise, inputs))


def _is_noise(value: Tensor) -> bool:
    """True if values are independent of their neighbours, and standard normal or uniform from 0 to 1.

    Pictures, sounds and features depend on their neighbours; what is normalized has their distribution
    still, not the normal one.
    """
    moments = _Moments.of(value)
    if moments is None or not moments.are_independent:
        return False
    mean, off = moments.mean, moments.off
    if moments.low >= 0 and moments.high <= 1:
        return abs(mean - 1 / 2) < off * math.sqrt(1 / 12) and moments.are_uniform
    is_standard = abs(mean) < off and abs(moments.variance - 1) < off * math.sqrt(2)
    return is_standard and abs(moments.fourth - 3) < off * math.sqrt(24)


@dataclass(frozen=True)
class _Moments:
    """Statistics of some values."""

    off: float
    """How much the mean of as many random numbers with variance 1 may be off."""
    low: float
    high: float
    mean: float
    variance: float
    fourth: float
    """The fourth moment over the square of the variance: 3 for normal values, 1.8 for uniform ones."""
    lag: float
    """The correlation of neighbours."""

    @classmethod
    def of(cls, value: Tensor) -> _Moments | None:
        """Of a tensor; None if its values are few, not finite, or all the same."""
        values = value.detach().reshape(-1)[:_MOST].double().cpu()
        mean, variance = float(values.mean()), float(values.var())
        if len(values) < _LEAST or not 0.0 < variance < math.inf:
            return None
        centred = (values - mean) / math.sqrt(variance)
        return cls(
            _ERRORS / math.sqrt(len(values)),
            *(float(values.min()), float(values.max()), mean, variance),
            float((centred**4).mean()),
            float((centred[1:] * centred[:-1]).mean()),
        )

    @property
    def are_independent(self) -> bool:
        return abs(self.lag) < self.off

    @property
    def are_uniform(self) -> bool:
        return abs(self.fourth - 1.8) < 2 * self.off


def _untrained(model: nn.Module) -> str:
    """What of a model is as it was made, if that shows that it was not trained; empty if nothing does.

    Statistics of batch norms change in the first step of training. Where there are none, nothing is said
    of weights that are not uniform, as the layers of torch draw them: trained ones never are.
    """
    statistics = [
        each
        for each in model.modules()
        if isinstance(each, nn.modules.batchnorm._BatchNorm) and each.running_mean is not None
    ]
    if statistics:
        return "batch norms are" if all(map(_has_seen_nothing, statistics)) else ""
    norms = [each for each in model.modules() if isinstance(each, _NORMALIZATIONS)]
    norms = [each for each in norms if each.weight is not None]
    new = all(_is(each.weight, 1) and _is(getattr(each, "bias", None), 0) for each in norms)
    if not norms or not new:
        return ""
    weights = [each for each in model.parameters() if each.dim() > 1 and each.numel() >= _LEAST]
    drawn = [(moments := _Moments.of(each)) is not None and moments.are_uniform for each in weights]
    return "normalizations and weights are" if drawn and all(drawn) else ""


def _has_seen_nothing(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    return (
        _is(norm.running_mean, 0) and _is(norm.running_var, 1) and _is(norm.num_batches_tracked, 0)
    )


def _is(tensor: Any, value: float) -> bool:
    return tensor is None or bool((tensor == value).all())
