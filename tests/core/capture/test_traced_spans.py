"""What Dynamo traces, strict export and control-flow bodies, has the spans of what is run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from handlens.capture.export import Captured, capture
from handlens.capture.nodes import graph_modules
from handlens.report import Span
from tests.needs import needs_columns, needs_spans_of_asserts

from .test_capture import text_under

Op = tuple[str, tuple[Span, ...]]
Ops = list[Op]

# Each is an expression of two 4×4 matrices of positive numbers and a vector.
EXPRESSIONS = """
a.float() + t.to(torch.float64).float()
a.half().float() + b.half().float() + a.bfloat16().float()
a.to(torch.float64).to(torch.float32).to(torch.float16).float()
a.exp().log().exp().log()
a.exp() + b.exp() + a.exp()
a.exp() * (b.exp() - a.exp()) / (b.exp() + 2)
(a + b).exp() + (a + b).exp() * (a + b)
-a + -b - -a
a @ b @ a + b @ a
2 * a + a * 2 - 1 / (b + 10) + 2 ** a + a ** 2 + (3 - b)
abs(a) + abs(b) + abs(a - abs(b))
a // 2 + a % 2
(a > 0) & (b < 0) | ~(a >= b)
(0 < a) & (a <= 1) & (b != a) | (1 == b)
torch.where(a > 0, a.exp(), -a)
torch.where(a > 0, torch.where(b > 0, a, b), torch.where(a < b, a.neg(), b.neg()))
a.exp() if a.shape[0] > 2 else b.exp()
(y := a.exp()) + y.exp() + (y := y.exp())
sum([e.exp() for e in (a, b)]) + sum(e.exp() for e in (a, b))
sum({k: v.exp() + v for k, v in dict(a=a, b=b).items()}.values())
(lambda q: q.exp() + q.exp().exp())(a) + (lambda q: q.exp())(b)
curried(a)(b) + curried(b)(a)
decorated(a) + decorated(b)
helper(helper(a)) + helper(b)
a[0] + a[1] + a[:, 1:3].sum() + a[..., None].sum() + a[0][1] + a[1][0]
a[:2][:1] @ a[1:3][1:].T
F.softmax(F.relu(a), dim=-1) + F.softmax(input=b, dim=F.relu(b).dim() - 1) + F.relu(b)
getattr(self, "linear")(a) + getattr(self, "lin" + "ear")(b)
self.linear(self.other(a)) + self.linear(self.linear(b))
self.blocks[0](self.blocks[1](a)) + self.blocks[1](b)
self.pair(self.pair(a)) + self.pair(b)
self.norm(a + self.norm(b + self.norm(a)))
F.linear(F.linear(a, self.linear.weight), self.other.weight) + F.linear(b, self.linear.weight)
functools.reduce(torch.add, [a, b, a.exp()])
functools.reduce(lambda p, q: p.exp() * q.exp(), [a, b, a])
functools.partial(torch.add, a)(b) + functools.partial(torch.add, b)(a)
sum(map(torch.exp, (a, b))) + sum(map(lambda q: q.exp().exp(), (a, b)))
torch.cat([a, b, a.exp()], dim=0) + torch.cat([b, a, b.exp()])
torch.cat(both(a)) + torch.cat([*both(b)]) + torch.cat([q for q in (a.sin(), b.sin())])
torch.add(*both(a), **dict(alpha=2)) + torch.add(*both(b), **{"alpha": 3})
torch.add(torch.add(a, 1), torch.add(b, 1), alpha=2) + a.add(b).add(b, alpha=2).add(b.add(b))
torch.Tensor.exp(a) + torch.Tensor.exp(b) + torch.exp(input=a)
torch.einsum("ij,jk->ik", a, torch.einsum("ij,jk->ik", b, a))
a.clone().add_(1).mul_(2).add_(b.exp())
a.view(2, 8).view(4, 4).transpose(0, 1).reshape(16).view(4, 4) + 1
a.masked_fill(a > 0, 0.0).masked_fill(b > 0, 1.0) + a.masked_fill(~(a > 0), 2.0)
consumed(q.exp() + q for q in made(a, b)) + consumed(made(b, a))
"é𝄞" and a.exp() + a.exp()  # a.exp() + a.exp() 𝄞
""".strip().splitlines()

STATEMENTS = """
c = a.exp(); d = c.exp(); e = c.exp() + d.exp(); d = e.exp()
c += a.exp() + b.exp(); c *= c.exp()
d -= 1; d /= 2; d @= c.exp()
c[0] = b[0] + b[1]; c[:, 1] += d[:, 0] * d[:, 1]
d[a > 1] = 0.0
c[1:3, 0:2].mul_(2).add_(d[0, 0])
(p, q), r = both(c + d), a.exp()
h, *rest = r.unbind(); k = m = rest[0] * rest[1] + h * rest[2]
c = (
    p.exp()
    .log().exp()
    .log()
) + torch.add(
    q.exp(), m
    .exp(),
    alpha=2,
); d = k.exp() + torch.where(
    c > 0, c
    .exp(), -c
)
c = (c.exp() if a.shape[0] == 4
     else b.exp())
for i in range(3): c = (
    c.sin() if i % 2 else
    c.cos() + c.exp()
)
for block in self.blocks: c = block(c) + block(d)
i = 0
while i < 2: c = c.sin() + c.sin().cos(); i += 1
try: c = a.sin() + c.sin()
finally: d = d.sin() + d.sin()
def f(x): return x.exp() + g(x.exp())
def g(x): return x.log() * x.log()
l = lambda x, *, y=b: f(x) + f(y); n = [l(o) + l(o, y=a) for o in (a, b)]
out.append(c + d + sum(n) + sum(f(o) for o in n))
""".strip().splitlines()

BRANCH = "torch.cond(a.sum() > 0, self.computed, lambda a, b, t: a.sum(), (a, b, t))"
MODULE = """
import functools
import torch
import torch.nn.functional as F
from torch import nn
from torch._higher_order_ops.map import map as map_over

def repeated(f):
    @functools.wraps(f)
    def wrapper(x): return f(f(x)) + f(x)
    return wrapper

@repeated
def decorated(x): return x.sin().sin()

def curried(x): return lambda y: x.sin() + y.sin()

def helper(x): return x.exp().log() + x.exp()

def both(x): return x.sin(), x.cos()

def made(*xs):
    for x in xs: yield x.exp() + 1; yield x.log()

def consumed(values):
    total = 0
    for value in values: total = total + value.sin()
    return total

class Run(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.pair = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.norm = nn.LayerNorm(4)

    def computed(self, a, b, t):
        out = []
        {computed}
        return sum(each.sum() for each in out)

    def forward(self, a, b, t):
        return self.computed(a, b, t)

class Branch(Run):
    def forward(self, a, b, t):
        return {branch}

class Mapped(Run):
    def forward(self, a, b, t):
        return map_over(self.computed, torch.stack([a, a]), b, t)
"""


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    torch.manual_seed(0)
    lines = "\n        ".join((*map(_appended, EXPRESSIONS), *STATEMENTS))
    folder = tmp_path_factory.mktemp("traced")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        (folder / "traced.py").write_text(
            MODULE.replace("{computed}", lines).replace("{branch}", BRANCH), "utf-8"
        )
        yield importlib.import_module("traced")
        del sys.modules["traced"]


@pytest.fixture(scope="module")
def run(traced: ModuleType) -> Captured:
    return capture(traced.Run(), inputs())


def _appended(expression: str) -> str:
    code, mark, comment = expression.partition("  #")
    return f"out.append({code}){mark}{comment}"


def inputs() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(0.5 + torch.rand(shape, generator=generator) for shape in ((4, 4), (4, 4), (4,)))


def ops(captured: Captured, graph_module: torch.fx.GraphModule) -> Ops:
    # A body has none of what nobody reads.
    graph_module.graph.eliminate_dead_code()
    return [
        (str(node.target), captured.spans(node))
        for node in graph_module.graph.nodes
        if node.op == "call_function"
    ]


def differing(some: Ops, others: Ops) -> list[tuple[Op, Op]]:
    return [pair for pair in zip(some, others, strict=True) if pair[0] != pair[1]]


@needs_columns
@needs_spans_of_asserts
def test_a_call_has_the_same_spans_whether_it_is_run_or_traced(
    traced: ModuleType, run: Captured
) -> None:
    strict = capture(traced.Run(), inputs(), strict=True)
    expected = ops(run, run.program.graph_module)
    assert differing(ops(strict, strict.program.graph_module), expected) == []
    assert len(expected) > 400


@needs_columns
@pytest.mark.parametrize(
    ("name", "caller", "strict"),
    [
        ("Branch", BRANCH, False),
        ("Branch", BRANCH, True),
        ("Mapped", "map_over(self.computed, torch.stack([a, a]), b, t)", False),
    ],
    ids=["cond", "cond-strict", "map"],
)
def test_a_call_in_a_body_has_the_spans_that_it_has_outside(
    traced: ModuleType, run: Captured, name: str, caller: str, strict: bool
) -> None:
    expected = [
        (op, spans[:-1])
        for op, spans in ops(run, run.program.graph_module)
        # No assertions are made in bodies.
        if op != "aten._assert_tensor_metadata.default"
    ]
    captured = capture(getattr(traced, name)(), inputs(), strict=strict)
    _, body, *_ = graph_modules(captured.program)
    found = ops(captured, body)
    assert differing([(op, spans[:-1]) for op, spans in found], expected) == []
    assert {text_under(spans[-1]) for _, spans in found} == {caller}
