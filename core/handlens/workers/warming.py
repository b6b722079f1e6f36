"""Warms the worker up: runs a small model of ours through all stages, before the first fork.

Torch imports some modules, and fills some tables, when they are first needed. A run that is forked
afterwards has them already.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handlens import recipes
from handlens.capture.export import capture
from handlens.capture.handles import generate_numeric_debug_handle
from handlens.comparison.merging import merge
from handlens.loading.subject import Subject
from handlens.workers import progress_bars

# Enough values for torchao's histogram observers: where there are few, each searches for half a second.
_BATCH, _WIDTH = 64, 8


class _Layers(nn.Module):
    """The layers that most models are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, groups=_WIDTH),
            nn.BatchNorm2d(_WIDTH),
            nn.ReLU6(),
            nn.Conv2d(_WIDTH, _WIDTH, 1),
            nn.BatchNorm2d(_WIDTH),
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(),
            nn.LayerNorm(_WIDTH),
            nn.Linear(_WIDTH, _WIDTH),
            nn.GELU(),
            nn.Softmax(-1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(x, (1, 1, 1, 1))
        found: Tensor = self.head(x + self.features(x))
        return found


def warm_up() -> None:
    """Run the small model. It leaves no thread behind (the caller forks) and draws no random number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            inputs = (torch.randn(_BATCH, _WIDTH, 4, 4),)
            subject = Subject(_Layers().eval(), inputs, calibration=(inputs,))
            captured = capture(subject.model, inputs)
            generate_numeric_debug_handle(captured.program)
            quantized = recipes.resolve(recipes.DEFAULT).quantize(captured, subject)
            merge(quantized.reference, quantized.actual).run(inputs, {})
    finally:
        torch.set_num_threads(threads)
    progress_bars.end_monitor()
