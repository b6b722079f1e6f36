"""Do once in the worker's parent what every run would have to do again: import what torch imports late, and
fill its tables. A small model of ours goes through the whole way of a run."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from handlens import recipes
from handlens.capture import capture
from handlens.comparison.graph import merge
from handlens.handles import generate_numeric_debug_handle
from handlens.loading import Subject


class _Layers(nn.Module):
    """The layers that most models are made of, each as small as it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 2, 3, padding=1, groups=2),
            nn.BatchNorm2d(2),
            nn.ReLU6(),
            nn.Conv2d(2, 2, 1),
            nn.BatchNorm2d(2),
        )
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(),
            nn.LayerNorm(2),
            nn.Linear(2, 2),
            nn.GELU(),
            nn.Softmax(-1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(x, (1, 1, 1, 1))
        found: Tensor = self.head(x + self.features(x))
        return found


def warm_up() -> None:
    """Run the small model. The caller forks: no thread and no random number is used up here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            inputs = (torch.ones(1, 2, 4, 4),)
            subject = Subject(_Layers().eval(), inputs, calibration=(inputs,))
            captured = capture(subject.model, inputs)
            generate_numeric_debug_handle(captured.program)
            quantized = recipes.resolve(recipes.DEFAULT).quantize(captured, subject)
            merge(quantized.reference, quantized.actual).run(inputs, {})
    finally:
        torch.set_num_threads(threads)
    _end_progress_monitor()


def _end_progress_monitor() -> None:
    """End the thread that watches progress bars, which torch draws with tqdm where that is installed."""
    bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
    if bars is not None and bars.monitor is not None:
        bars.monitor.exit()
        bars.monitor = None
