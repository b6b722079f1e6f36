"""Small models that are hard to compare: they write, alias, remember, branch, loop and draw at random."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops.map import map as map_over
from torch._higher_order_ops.scan import scan

from .oracle import Batch


@dataclass(frozen=True)
class Case:
    """A model and what to run it on."""

    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Any, ...]]
    """The inputs of one batch; another one each time."""
    kwargs: Callable[[], dict[str, Any]] = dict
    dynamic_shapes: Any = None
    batches: int = 2
    keep_float: tuple[str, ...] = ()

    def batch(self) -> Batch:
        return self.inputs(), self.kwargs()


CASES: dict[str, Case] = {}


def _case(*shapes: tuple[int, ...], **case: Any) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Enter a model, run on normally distributed inputs of these shapes if nothing else is said."""

    def enter(model: type[nn.Module]) -> type[nn.Module]:
        inputs = case.pop("inputs", lambda: tuple(torch.randn(shape) for shape in shapes))
        CASES[model.__name__] = Case(model, inputs, **case)
        return model

    return enter


IMAGE = (2, 4, 6, 6)
ROWS = (4, 32)


# -- memory that several names have ----------------------------------------------------------------


@_case(IMAGE)
class ViewWritten(nn.Module):
    """A slice of a quantized op's output is changed before the next one reads all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.next = nn.Conv2d(4, 16, 3, padding=1), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y[:, :8] *= 3
        return self.next(y) + y.mean()


@_case(IMAGE)
class ActivationInPlaceUnderView(nn.Module):
    """An activation in place changes a view that was taken before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(4, 8, 3), nn.Linear(128, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        v = y.flatten(1)
        torch.relu_(y)
        return self.head(v) + y.mean()


@_case(IMAGE)
class ActivationUnderView(nn.Module):
    """An activation does not change a view that was taken before and is read after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(4, 8, 3), nn.Linear(128, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        v = y.flatten(1)
        positive = torch.relu(y)
        return self.head(v) + positive.mean()


@_case(ROWS)
class SumUnderView(nn.Module):
    """A view of what no quantizer but an activation reads, read again at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x) + 0.5
        v = y.view(-1, 16)
        z = F.silu(y)
        return v.sum() + z


@_case(ROWS)
class InputWritten(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        before = x.tanh()
        x.mul_(2)
        return self.layer(x) + x + before


@_case(ROWS)
class EmptyThenWritten(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        out = torch.empty_like(y)
        out[:2] = y[:2] * 2
        out[2:] = y[2:] / 3
        more = y.new_empty(4, 8)
        more.copy_(y[:, :8].relu())
        return out.sum() + more


@_case(ROWS)
class IndexWritten(nn.Module):
    """index_put_, masked_fill_, clamp_ and copy_ of parts of a quantized op's output."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.next = nn.Linear(32, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y[:, torch.tensor([1, 3, 5])] = 0.25
        y.masked_fill_(x > 1, -0.5)
        y[1] = y[0]
        y[..., -4:].clamp_(min=0)
        return self.next(y) * y[:, :16]


# -- state -----------------------------------------------------------------------------------------


@_case(ROWS, batches=3)
class Remembering(nn.Module):
    """A buffer gathers what a quantized op gives, and a counter counts."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)
        self.register_buffer("memory", torch.full((4, 32), 0.1))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.memory.mul_(0.5).add_(self.layer(x))
        self.calls += 1
        return self.memory * 1.5 + self.calls


@_case(ROWS, batches=3)
class RememberingWithoutGradients(nn.Module):
    """The same in a region without gradients, with values that leave it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)
        self.register_buffer("mean", torch.zeros(32))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        with torch.no_grad():
            self.calls += 1
            self.mean.lerp_(y.mean(0), 0.1)
            spread = (y - self.mean).abs()
        return y / (1 + spread) + self.mean * self.calls


@_case((2, 3, 16), batches=2)
class Cache(nn.Module):
    """Keys and values are written to slices of buffers, and read from the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.register_buffer("keys", torch.zeros(2, 6, 16))
        self.register_buffer("values", torch.zeros(2, 6, 16))

    def forward(self, x: Tensor) -> Tensor:
        self.keys[:, :3] = self.keys[:, 3:]
        self.values[:, :3] = self.values[:, 3:]
        self.keys[:, 3:] = self.k(x)
        self.values[:, 3:] = self.v(x)
        return torch.softmax(self.q(x) @ self.keys.transpose(1, 2) / 4, -1) @ self.values


@_case(ROWS, batches=3)
class ConstantWritten(nn.Module):
    """A parameter that a quantizer makes a constant of, and that is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)
        self.shift = nn.Parameter(torch.randn(32), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x) + self.shift
        self.shift.add_(y.mean(0))
        return y * self.shift


# -- structure -------------------------------------------------------------------------------------


@_case(ROWS)
class SharedTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(32, 32), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.shared(self.shared(x) - 0.5)


@_case(ROWS)
class SeveralOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.first(x)
        low, high = y.chunk(2, -1)
        z = self.second(y)
        return {"sum": low + high, "more": [z, (z.argmax(-1), None)], "pair": (low, y.shape[0])}


@_case(ROWS)
class UnusedOp(nn.Module):
    """An op whose output nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.aside = nn.Linear(32, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        self.aside(y).relu()
        return y * 2


@_case(ROWS)
class UnusedOutputs(nn.Module):
    """Ops one of whose outputs nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        first, _, third = y.split([8, 16, 8], -1)
        largest, _ = y.max(-1)
        return first * third + largest[:, None]


@_case(
    inputs=lambda: ({"x": torch.randn(ROWS)},),
    kwargs=lambda: {"scale": torch.rand(32) + 1, "shift": torch.randn(())},
)
class Keywords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, inputs: dict[str, Tensor], *, shift: Tensor, scale: Tensor) -> Tensor:
        return self.layer(inputs["x"] * scale) + shift


class _Lengths:
    """A length that differs from batch to batch."""

    def __init__(self) -> None:
        self._batch = 0

    def __call__(self) -> tuple[Tensor, ...]:
        self._batch += 1
        return (torch.randn(2, 4 + 3 * (self._batch % 2), 32),)


@_case(
    inputs=_Lengths(),
    dynamic_shapes={"x": {1: torch.export.Dim("length", min=2, max=64)}},
    batches=3,
)
class DynamicLength(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.out = (nn.Linear(32, 32) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(1, 2) / x.shape[1]
        return self.out(scores.softmax(-1) @ x).reshape(x.shape[0], -1, 16).mean(1)


# -- control flow ----------------------------------------------------------------------------------


@_case(ROWS, batches=3)
class Cond(nn.Module):
    """Both branches are taken, in some batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.after = nn.Linear(32, 32), nn.Linear(32, 16)
        self.inner = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        z = torch.cond(x.sum() > 0, lambda y: self.inner(y).sin() * 2, lambda y: y.cos() + y, (y,))
        return self.after(z)


@_case(ROWS)
class WhileLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        def more(count: Tensor, y: Tensor) -> Tensor:
            return count < 3

        def step(count: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return count + 1, y.sin() * 1.5 + y

        return torch.while_loop(more, step, (torch.tensor(0), self.layer(x)))[1]


@_case(ROWS)
class DriftingLoop(nn.Module):
    """How often the loop runs depends on the last digits of a quantized value."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        def more(count: Tensor, y: Tensor) -> Tensor:
            return count + y.mean() * 1e3 < 0

        def step(count: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            return count + 10, y * 0.9

        return torch.while_loop(more, step, (torch.tensor(-100), self.layer(x)))[1]


@_case(ROWS)
class Mapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        return map_over(lambda row: row.sin() * 2 + row, self.layer(x)) * 3


@_case(ROWS)
class Scanned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        def step(carry: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
            return carry * 0.5 + row, row.sin() * carry

        last, rows = scan(step, torch.zeros(32), self.layer(x))
        return last, rows


@_case(ROWS)
class RegionWithSeveralOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.inner, self.after = (nn.Linear(32, 32) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        with torch.no_grad():
            low, high = self.inner(y).chunk(2, -1)
            scale = y.abs().amax()
        return self.after(torch.cat([low + high, low * high], -1) / scale)


@_case(ROWS)
class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.inner = nn.Linear(32, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z = self.inner(y).relu()
        return z.float() * 2


# -- dice ------------------------------------------------------------------------------------------


@_case(ROWS)
class Dropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.next = nn.Linear(32, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.next(F.dropout(self.layer(x), 0.4, training=True))


@_case(ROWS)
class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.next = nn.Linear(32, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y = y + 0.3 * torch.randn(4, 32, dtype=y.dtype)
        return self.next(y + torch.rand_like(y)) + torch.bernoulli(torch.full((16,), 0.5))


@_case(ROWS)
class NoisyWithoutGradients(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.next = nn.Linear(32, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        with torch.no_grad():
            noise = 0.3 * torch.randn(4, 32, dtype=y.dtype)
        return self.next(y + noise) + torch.rand(16)


@torch.library.custom_op("handlens_tests::throw", mutates_args=())
def _throw(x: Tensor) -> Tensor:
    return x + torch.rand(x.shape).to(x.dtype)


@_throw.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@_case(ROWS)
class CustomDice(nn.Module):
    """An op of the user's draws random numbers, and has no tag that says so."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.next = nn.Linear(32, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.next(torch.ops.handlens_tests.throw(self.layer(x))) + torch.rand(16)


# -- masks -----------------------------------------------------------------------------------------


@_case(ROWS)
class MaskFilled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.next = nn.Linear(32, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y = y.masked_fill(x > 0.5, -1.0)
        return self.next(torch.where(x < -0.5, y, y * 2))


@_case(ROWS)
class SelectedByOwnMask(nn.Module):
    """What is selected depends on values that the quantized model has others of."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y[y > y.mean()].sum() + y


@_case(ROWS)
class SelectedByInputMask(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y[x > 0].exp().sum() + y


@_case((2, 5, 16))
class InfiniteMask(nn.Module):
    """A causal mask of minus infinity; a row of it is masked altogether, and NaN comes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        mask = torch.full((5, 5), -math.inf).triu(1)
        mask[2] = -math.inf
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(1, 2) / 4 + self.mask
        return torch.nan_to_num(scores.softmax(-1)) @ self.v(x)


# -- half precision --------------------------------------------------------------------------------


class _Norm(nn.Module):
    """Root mean square norm in float, as language models have it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)
        return y.to(x.dtype) * self.weight


@_case(ROWS)
class Upcasting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.next = nn.Linear(32, 32), _Norm(32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.next(self.norm(self.layer(x)))


@_case((2, 5, 16))
class SmallestMask(nn.Module):
    """A mask of the smallest number that the dtype has."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.q(x) @ self.k(x).transpose(1, 2)
        hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(hidden, torch.finfo(x.dtype).min)
        return scores.softmax(-1) @ x


@_case(ROWS, keep_float=("act",))
class KeptInPlaceOnView(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.act, self.next = nn.Linear(32, 32), nn.ReLU(True), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        self.act(y[:, 4:])
        return self.next(y * 3)


class _Average(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((32,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        self.mean.mul_(0.9).add_(x.mean(0))
        return x - self.mean


@_case(ROWS, keep_float=("average",), batches=3)
class KeptState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.average, self.next = nn.Linear(32, 32), _Average(), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.next(self.average(self.layer(x)))


# -- modules of torch ------------------------------------------------------------------------------


def _trained(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """A batch norm that does something."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    nn.init.normal_(norm.weight)
    return norm


@_case(IMAGE)
class NormFolded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 8, 3), _trained(nn.BatchNorm2d(8))
        self.next = nn.Conv2d(8, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.next(F.relu(self.norm(self.conv(x))))


@_case(IMAGE)
class NormThenInPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 8, 3),
            _trained(nn.BatchNorm2d(8)),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 1),
            nn.Hardtanh(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + 1


@_case(IMAGE)
class MovedValues(nn.Module):
    """Ops that only move values, some between equal quantizers, one from an input that has none."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.c, self.head = nn.Conv2d(16, 4, 1), nn.Linear(36, 16)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        joined = torch.cat([self.b(a), a.sin()], 1)
        pooled = F.max_pool2d(self.c(joined), 2)
        return self.head(pooled.permute(0, 2, 3, 1).flatten(1))


@_case((5, 2, 16))
class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, (_, cell) = self.lstm(x)
        return self.head(y), cell


@_case((2, 5, 32))
class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.attention(x, x, x)
        return self.head(self.norm(x + y))


@_case(inputs=lambda: (torch.randint(50, (2, 5)),))
class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(50, 32), nn.Linear(32, 50)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(F.gelu(self.table(tokens)))


@_case(IMAGE)
class Transposed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(4, 8, 2, stride=2), nn.ConvTranspose2d(8, 4, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x).relu()) + x


VARIED = (
    *("ViewWritten", "InputWritten", "EmptyThenWritten", "Remembering", "Cache", "ConstantWritten"),
    *("SeveralOutputs", "Cond", "WhileLoop", "Dropout", "CustomDice", "SelectedByOwnMask"),
    *("Upcasting", "SmallestMask", "KeptInPlaceOnView", "KeptState", "NormThenInPlace"),
    *("Recurrent", "Attention", "Embedded", "Transposed"),
)
"""One or two models of each kind, for recipes that differ from another one in little."""
