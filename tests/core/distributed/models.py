"""Texts of files whose targets are run by several ranks."""

from __future__ import annotations

_MODEL = '''\
import os
import random
import signal

import torch
from torch import nn

RANK = os.environ.get("RANK", "0")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.wide = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = torch.cat((x, x + self.wide(x)), 1)
        return self.head(x.mean((2, 3)))


class Drops(Net):
    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.5, True))


class Counts(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen.add_(1)
        return super().forward(x) * (1 + self.seen)


class Selects(Net):
    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return x[x > 0.5]


class Scores(nn.Module):
    """Its scores are infinite where it is given more than 3."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 8)

    def forward(self, x):
        return self.head(torch.where(x > 3, torch.inf, x) - 1)


def batches():
    generator = torch.Generator().manual_seed(3)
    for number in range(7):
        rows = 2 + number % 3
        images = torch.randn(rows, 3, 12, 12, generator=generator) * (1 + number % 4)
        yield images, torch.randint(0, 10, (rows,), generator=generator)


def accuracy(outputs, batch):
    return float((outputs.argmax(-1) == batch[1]).float().mean())


def target(model, metric=accuracy, evaluation=None):
    known = list(batches())
    return {
        "model": model,
        "example_inputs": (known[1][0],),
        "dynamic_shapes": ({0: torch.export.Dim("rows")},),
        "calibration": [each[:1] for each in known[:2]],
        "evaluation": evaluation or known,
        "metric": metric,
    }
'''

ALIKE = (
    _MODEL
    + """

def handlens_batches():
    torch.manual_seed(0)
    return target(Net())


def handlens_dropout():
    torch.manual_seed(0)
    return target(Drops())


def handlens_buffer():
    torch.manual_seed(0)
    return target(Counts())


def handlens_selection():
    torch.manual_seed(0)
    evaluation = [(torch.randn(2, 3, 12, 12) * scale,) for scale in (1, 2, 1, 3)]
    return {"model": Selects(), "example_inputs": evaluation[0], "evaluation": evaluation}


def handlens_infinite():
    torch.manual_seed(0)
    inputs = [torch.randn(8, 8).clamp(max=2) for _ in range(6)]
    inputs[2][3, 4] = inputs[4][1, 1] = 5.0
    evaluation = [(each,) for each in inputs]
    return {"model": Scores(), "example_inputs": evaluation[0], "evaluation": evaluation}


def handlens_wrong_batches():
    torch.manual_seed(0)
    known = list(batches())
    for number in (3, 5):
        known[number] = (torch.randn(2, 4, 12, 12), known[number][1][:2])
    return target(Net(), evaluation=known)


def handlens_bad_generator():
    def made():
        for number, each in enumerate(batches()):
            if number == 4:
                raise OSError("the data set has ended")
            yield each

    torch.manual_seed(0)
    return target(Net(), evaluation=made())
"""
)
"""Each target has the same report in one process and in several."""

UNSEEDED = (
    _MODEL
    + """

def handlens_unseeded():
    model = Net()
    with torch.no_grad():
        model.wide.weight.mul_(1 + random.random())
    return target(model)


def handlens_unpredictable():
    model = Net()
    with torch.no_grad():
        model.wide.weight.mul_(1 + random.SystemRandom().random())
    return target(model)


def handlens_unpredictable_batches():
    torch.manual_seed(0)
    scale = 1 + random.SystemRandom().random()
    return target(Net(), evaluation=[(images * scale, labels) for images, labels in batches()])
"""
)

FAILING = (
    _MODEL
    + """

def handlens_import():
    if RANK == "1":
        raise OSError("no data on this machine")
    torch.manual_seed(0)
    return target(Net())


def failing(fail):
    def made():
        for number, each in enumerate(batches()):
            if RANK == "1" and number == 3:
                fail()
            yield each

    torch.manual_seed(0)
    return target(Net(), evaluation=made())


def handlens_crash():
    return failing(lambda: os.kill(os.getpid(), signal.SIGSEGV))


def handlens_killed():
    return failing(lambda: os.kill(os.getpid(), signal.SIGKILL))


def handlens_memory():
    return failing(lambda: torch.empty(1 << 50))


def handlens_hang():
    def hang():
        while True: pass

    return failing(hang)


def handlens_last():
    torch.manual_seed(0)
    return target(Net())
"""
)
"""Rank 1 fails in all but the last."""
