"""The channels of an op's output: their dimension, the range of each, and the noise in each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _functorch as functorch
from torch.fx import Node

from handlens.capture.nodes import example, is_complex, op_name
from handlens.comparison.fakequantize import FakeQuantizer
from handlens.comparison.statistics import ExactSum
from handlens.report import Channels

_SECOND = {
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "batch_norm", "group_norm", "instance_norm",
}  # fmt: skip
_LAST = {"linear", "layer_norm", "rms_norm", "embedding", "addmm"}
# Ops whose output has its channels where the first input has them, beside those that torch calls pointwise.
_SAME_DIM = {
    "hardswish", "prelu", "log_sigmoid", "to", "_to_copy", "type_as", "dropout", "contiguous", "clone",
    "detach", "alias", "cat", "slice", "pad", "constant_pad_nd", "getitem", "split", "split_with_sizes",
    "chunk", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool2d",
    "upsample_nearest2d", "upsample_bilinear2d",
}  # fmt: skip
_RESHAPES = {"view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"}

# How many values of a tensor are sampled to measure the noise of its channels.
_SAMPLED = 1 << 13

# How many parts of an exact sum are kept before they are made fewer.
_MOST_PARTS = 8


def channel_dim(node: Node, known: Mapping[Node, int | None]) -> int | None:
    """The dimension of the channels of an op's output, counted from 0; None if it is not certain.

    ``known`` has those of the nodes before. A dimension of positions, tokens or heads is not one of
    channels, even if it has the same size.
    """
    name, shape = op_name(node).rstrip("_"), _shape(node)
    if shape is None or is_complex(node):
        return None
    if name in _SECOND:
        return 1 if len(shape) > 1 else None
    if name in _LAST:
        return len(shape) - 1
    sources = [each for each in node.all_input_nodes if known.get(each) is not None]
    if not sources:
        return None
    source = sources[0]
    theirs, dim = _shape(source), known[source]
    assert dim is not None
    if name in ("scaled_dot_product_attention", "matmul", "mm", "bmm"):
        # A product has the columns of its second factor, attention those of its values.
        values = node.args[2 if name.startswith("scaled") else 1]
        if not isinstance(values, Node):
            return None
        last = known.get(values) == len(_shape(values) or ()) - 1
        return len(shape) - 1 if last or values.op == "get_attr" else None
    if isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags:
        dims = {known[each] for each in sources if _shape(each) == shape}
        return dims.pop() if len(dims) == 1 else None
    if theirs is None or node.all_input_nodes[0] is not source:
        return None
    if name in _SAME_DIM:
        return dim if len(theirs) == len(shape) else None
    if name in ("transpose", "swapaxes", "permute", "t"):
        return _moved(node, name, dim, len(shape))
    if name in _RESHAPES:
        if theirs[: dim + 1] == shape[: dim + 1]:
            return dim
        behind = len(theirs) - dim
        return len(shape) - behind if theirs[-behind:] == shape[-behind:] else None
    return None


def _moved(node: Node, name: str, dim: int, count: int) -> int | None:
    """The dimension that ``dim`` becomes in an op that permutes dimensions."""
    if name == "t":
        return count - 1 - dim
    given: Any = node.args[1] if name == "permute" else node.args[1:3]
    if not all(isinstance(each, int) for each in given):
        return None
    dims = [each % count for each in given]
    if name == "permute":
        return dims.index(dim) if dim in dims else None
    one, other = dims
    if dim not in (one, other):
        return dim
    return int(other if dim == one else one)


def has_shape_of(node: Node, other: Node) -> bool:
    """True if two nodes give tensors of one shape."""
    shape = _shape(node)
    return shape is not None and shape == _shape(other)


def _shape(node: Node) -> tuple[str, ...] | None:
    """The sizes of a tensor as text, since symbolic sizes cannot be compared without a guard."""
    value = example(node)
    if isinstance(value, (list, tuple)) and value:
        # All parts of a split have their channels in the same dimension.
        value = value[0]
    return tuple(map(str, value.shape)) if isinstance(value, Tensor) else None


def magnitudes(value: Tensor, dim: int, lowest: float = -math.inf) -> Tensor:
    """The largest magnitude of each channel of a value, none of which is below ``lowest``."""
    dims = [each for each in range(value.dim()) if each != dim % value.dim()]
    if not dims:
        return value.abs()
    largest = value.amax(dims)
    return largest if lowest >= 0 else torch.maximum(largest, -value.amin(dims))


def summary(role: str, largest: Tensor) -> Channels | None:
    """Summarize the largest magnitudes of channels; None if one of them is not finite."""
    if not largest.numel() or not bool(torch.isfinite(largest).all()):
        return None
    widest = int(largest.argmax())
    return Channels(
        role,  # type: ignore[arg-type]
        largest.numel(),
        widest,
        float(largest[widest]),
        float(largest.float().median()),
    )


class ChannelNoise:
    """The noise in each channel: sums over a sample of the values, by channel.

    The sums have a row for Σ r²; for Σ (a − r)² of the quantized model as it runs; and for that of the op
    computed in the quantized way from reference inputs, if it adds any. They are pooled without rounding,
    as by ``ExactSum``, so that the order does not matter.
    """

    def __init__(self, parts: Tensor) -> None:
        """``parts``, in the first dimension, add up to the sums."""
        self._parts = parts

    @classmethod
    def of(
        cls,
        dim: int,
        reference: Tensor,
        actual: Tensor,
        own: Tensor | None = None,
        quantizer: FakeQuantizer | None = None,
        exact: Tensor | None = None,
    ) -> ChannelNoise:
        """The sums of one execution, whose channels are in the dimension ``dim``.

        ``own`` is the op from reference inputs, before ``quantizer``; None if it is the reference. Without
        noise it is ``exact``; None if that is the reference, too.
        """
        given = [reference, actual]
        if own is not None or quantizer is not None:
            given.append(reference if own is None else own)
        if exact is not None:
            given.append(exact)
        samples = sample(given, dim)
        if quantizer is not None:
            samples[2] = quantizer(samples[2])
        samples = samples.double()
        r, a, *tried = samples.unbind()
        if tried:
            tried[0].sub_(tried[1] if exact is not None else r)
        a.sub_(r)
        return cls(_sum_by_channel(samples[:3].square_(), dim).cpu()[None])

    def __add__(self, other: ChannelNoise) -> ChannelNoise:
        """The sums of both; empty if their numbers of channels differ."""
        if self._parts.shape[1:] != other._parts.shape[1:]:
            return ChannelNoise(torch.empty(1, 2, 0))
        parts = torch.cat((self._parts, other._parts))
        return ChannelNoise(parts if len(parts) < _MOST_PARTS else _fewer(parts))

    @cached_property
    def sums(self) -> Tensor:
        """A row for each sum, a column for each channel, each rounded once."""
        count, *shape = self._parts.shape
        if count == 1:
            return self._parts[0]
        columns = zip(*self._parts.flatten(1).tolist())
        return torch.tensor(list(map(math.fsum, columns)), dtype=torch.float64).view(shape)

    @property
    def relative(self) -> float | None:
        """Noise over signal, at most 1 for each channel, averaged over the channels."""
        return _mean_ratio(self.sums[1], self.sums[0])

    @property
    def introduced_relative(self) -> float | None:
        introduced = self.sums[2] if len(self.sums) > 2 else torch.zeros_like(self.sums[0])
        return _mean_ratio(introduced, self.sums[0])


def _fewer(parts: Tensor) -> Tensor:
    """The fewest parts with the same sum: the sum, what its rounding left over, and so on."""
    found = []
    while True:
        rests = []
        while len(parts) > 1:
            half = len(parts) // 2
            one, other, odd = parts[:half], parts[half : 2 * half], parts[2 * half :]
            total = one + other
            added = total - one
            rests.append((other - added) + (one - (total - added)))
            parts = torch.cat((total, odd)) if len(odd) else total
        found.append(parts)
        if not rests:
            break
        # Nothing is left over of a sum that is not finite.
        parts = torch.cat(rests).nan_to_num_(0.0, 0.0, 0.0)
        if not parts.any():
            break
    return torch.cat(found)


def _mean_ratio(noise: Tensor, signal: Tensor) -> float | None:
    there = signal > 0
    if not bool(there.any()):
        return None
    ratio = float((noise[there] / signal[there]).clamp(max=1.0).mean())
    return ratio if math.isfinite(ratio) else None


class Parts(nn.Module):
    """Measures which input of a sum or a concatenation brings the noise.

    Loud channels would hide the noise of quiet ones, so each channel counts relative to its signal.
    """

    def __init__(self, dim: int, side_by_side: bool) -> None:
        super().__init__()
        self._dim, self._side_by_side = dim, side_by_side
        self.total: list[ExactSum] = []

    @property
    def relative(self) -> list[float]:
        """By input, noise over signal, summed over the channels and over all executions."""
        return list(map(float, self.total))

    def update(self, total: Sequence[ExactSum]) -> None:
        """Add the total of other executions. The order does not matter."""
        self.total = self.total or [ExactSum() for _ in total]
        for mine, theirs in zip(self.total, total):
            mine.update(theirs)

    def forward(self, whole: Tensor, references: list[Tensor], actuals: list[Tensor]) -> None:
        if functorch.peek_interpreter_stack() is not None:
            # Under vmap, the mapped dimensions come first, so ``dim`` is another one.
            return
        if any(r.shape != a.shape for r, a in zip(references, actuals)):
            # The models have selected different values.
            return
        signal = None if self._side_by_side else self._energies(whole)[0]
        self.total = self.total or [ExactSum() for _ in references]
        for known, reference, actual in zip(self.total, references, actuals):
            own, noise = self._energies(reference, actual)
            energy = own if signal is None else signal
            ratio = (noise / energy).clamp_(max=1.0)
            known.add(float(torch.where(energy > 0, ratio, 0.0).sum()))

    def _energies(self, reference: Tensor, *actual: Tensor) -> Tensor:
        """Σ r² by channel, and Σ (a − r)² if there is an actual value."""
        samples = sample((reference, *actual), self._dim).double()
        samples[1:] -= samples[:1]
        return _sum_by_channel(samples.square_(), self._dim)


def sample(values: Sequence[Tensor], dim: int) -> Tensor:
    """Evenly spread values of tensors of one shape, in the same places of each: a tensor with one more
    dimension in front."""
    places = _places(values[0].shape, dim)
    return torch.stack([each[places] for each in values] if places else list(values))


@lru_cache
def _places(shape: torch.Size, dim: int) -> tuple[slice, ...]:
    """Which values of a tensor are sampled; nothing if all are."""
    if math.prod(shape) <= _SAMPLED:
        return ()
    others = [each for each in range(len(shape)) if each != dim]
    excess = math.prod(shape) / _SAMPLED
    places = [slice(None)] * len(shape)
    for index, each in enumerate(others):
        step = max(1, math.ceil(excess ** (1 / (len(others) - index))))
        step = min(step, shape[each])
        if step > 1:
            places[each] = slice(step // 2, None, step)
            excess /= step
    return tuple(places)


def _sum_by_channel(samples: Tensor, dim: int) -> Tensor:
    """The sums of samples over all dimensions but that of the tensors and that of the channels."""
    others = [*range(1, dim + 1), *range(dim + 2, samples.dim())]
    # Torch takes no dimension for all of them.
    return samples.sum(others) if others else samples
