"""Drafts of targets: what they write runs, or says what is missing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from handlens.drafting import draft
from handlens.report import Draft
from handlens.request import RunRequest
from handlens.session import run
from handlens.targets import Target

CLASSES = '''
from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Config:
    width: int
    heads: int = 4
    vocab_size: int = 50


class Configured(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.attention = nn.MultiheadAttention(config.width, config.heads, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return self.attention(x, x, x)[0]


class Unannotated(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.up = nn.Linear(cfg.width, 2 * cfg.width)

    def forward(self, hidden):
        return self.up(hidden)


class KeywordOnly(nn.Module):
    def __init__(self, *, in_channels, classes):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 8, 3)
        self.head = nn.Linear(8, classes)

    def forward(self, *, image):
        return self.head(self.stem(image).mean((2, 3)))


class Flat(nn.Module):
    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Linear(8 * 32 * 32, num_classes)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(28 * 28, 64), nn.Linear(64, 10)

    def forward(self, x):
        return self.second(torch.relu(self.first(x.view(x.shape[0], -1))))


class SmallDigits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5)
        self.head = nn.Linear(4 * 12 * 12, 10)

    def forward(self, x):
        return self.head(F.max_pool2d(self.conv(x), 2).flatten(1))


class PointCloud(nn.Module):
    def __init__(self):
        super().__init__()
        self.point = nn.Conv1d(3, 32, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, points):
        """points: (batch, count, 3)"""
        return self.head(self.point(points.transpose(1, 2)).amax(2))


class Points(nn.Module):
    def __init__(self):
        super().__init__()
        self.point, self.head = nn.Linear(3, 32), nn.Linear(32, 10)

    def forward(self, points):
        batch, count, _ = points.shape
        return self.head(self.point(points).amax(1))


class Waveform(nn.Module):
    def __init__(self, n_classes: int):
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 80, stride=16)
        self.head = nn.Linear(8, n_classes)

    def forward(self, waveform):
        return self.head(self.conv(waveform.unsqueeze(1)).mean(2))


class Language(nn.Module):
    def __init__(self, vocab_size, dim, n_heads, n_layers):
        super().__init__()
        assert dim % n_heads == 0
        self.tok = nn.Embedding(vocab_size, dim)
        layer = nn.TransformerEncoderLayer(dim, n_heads, 2 * dim, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.head = nn.Linear(dim, vocab_size)

    def forward(self, input_ids):
        return self.head(self.layers(self.tok(input_ids)))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(12, 8), nn.Linear(20, 8)

    def forward(self, left, right, scale: float = 1.0):
        return self.left(left) + scale * self.right(right)


class FromDict(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.text = nn.Conv2d(3, 8, 3), nn.Embedding(30, 8)

    def forward(self, batch):
        image = self.image(batch["image"]).mean((2, 3))
        return image + self.text(batch["caption"]).mean(1)


class Grown(nn.Module):
    def __init__(self, widths: list[int], dropout: float, use_bias: bool):
        super().__init__()
        pairs = zip(widths, widths[1:])
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=use_bias) for a, b in pairs)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(40, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, frames):
        return self.head(self.cell(frames)[0][:, -1])


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(24), nn.Linear(24, 24)

    def forward(self, x):
        return x + self.mix(self.norm(x))


class NeedsTokenizer(nn.Module):
    def __init__(self, tokenizer: "Tokenizer"):
        super().__init__()

    def forward(self, x):
        return x


class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        raise OSError("no weights on this machine")

    def forward(self, x):
        return x


class NeverRuns(nn.Module):
    def forward(self, x):
        raise RuntimeError("not today")
'''


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    file = tmp_path_factory.mktemp("classes") / "drafted_classes.py"
    file.write_text(CLASSES)
    module = ModuleType("drafted_classes")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module
    exec(compile(CLASSES, file, "exec"), vars(module))
    yield module
    del sys.modules[module.__name__]


def drafted(classes: ModuleType, name: str) -> Draft:
    torch.manual_seed(0)
    return draft(getattr(classes, name), classes)


RUN = {
    "Configured": ("Configured(config=Config(width=16))", "(torch.randint(0, 50, (1, 16)),)"),
    "Unannotated": ("Unannotated(cfg=Config(width=16))", "(torch.randn(1, 16),)"),
    "KeywordOnly": ("KeywordOnly(in_channels=3, classes=10)", "()"),
    "Flat": ("Flat()", "(torch.randn(1, 3, 64, 64),)"),
    "Digits": ("Digits()", "(torch.randn(1, 1, 28, 28),)"),
    "SmallDigits": ("SmallDigits()", "(torch.randn(1, 1, 28, 28),)"),
    "PointCloud": ("PointCloud()", "(torch.randn(1, 16, 3),)"),
    "Points": ("Points()", "(torch.randn(1, 16, 3),)"),
    "Waveform": ("Waveform(n_classes=10)", "(torch.randn(1, 1024),)"),
    "Language": (
        "Language(vocab_size=100, dim=16, n_heads=2, n_layers=2)",
        "(torch.randint(0, 100, (1, 16)),)",
    ),
    "TwoInputs": ("TwoInputs()", "(torch.randn(1, 12), torch.randn(1, 20))"),
    "FromDict": (
        "FromDict()",
        '({"image": torch.randn(1, 3, 64, 64), "caption": torch.randint(0, 30, (1, 16))},)',
    ),
    "Grown": (
        "Grown(widths=[16, 16], dropout=0.1, use_bias=False)",
        "(torch.randn(1, 16),)",
    ),
    "Recurrent": ("Recurrent()", "(torch.randn(1, 16, 40),)"),
    "Norm": ("Norm()", "(torch.randn(1, 24),)"),
}


@pytest.mark.parametrize("name", RUN)
def test_what_is_drafted_runs(classes: ModuleType, name: str) -> None:
    found = drafted(classes, name)
    assert found.missing == ""
    assert (found.model, found.args) == RUN[name]
    names: dict[str, Any] = {**vars(classes), "torch": torch}
    model = eval(found.model, names)
    kwargs = eval(found.kwargs, names) if found.kwargs else {}
    assert isinstance(model, nn.Module)
    model.eval()(*eval(found.args, names), **kwargs)


def test_keyword_only_arguments_are_given_by_keyword(classes: ModuleType) -> None:
    assert drafted(classes, "KeywordOnly").kwargs == '{"image": torch.randn(1, 3, 64, 64)}'


@pytest.mark.parametrize(
    ("name", "model", "missing"),
    [
        ("NeedsTokenizer", "NeedsTokenizer(...)", "`tokenizer`"),
        ("Raises", "Raises(...)", "OSError: no weights on this machine"),
        ("NeverRuns", "NeverRuns()", "RuntimeError: not today"),
    ],
)
def test_what_is_missing_is_told(classes: ModuleType, name: str, model: str, missing: str) -> None:
    found = drafted(classes, name)
    assert found.model == model
    assert found.args == ""
    assert re.search(missing, found.missing)


def test_a_run_of_a_draft_has_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "drafted_net.py"
    file.write_text(CLASSES)
    report = run(RunRequest(Target("Flat", "draft", str(file))), lambda stage: None)
    assert report.status == "ok"
    assert report.draft == Draft("Flat()", "(torch.randn(1, 3, 64, 64),)")
    assert report.coverage is None
    assert not report.findings
