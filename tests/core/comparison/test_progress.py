"""How far a comparison is, as it is told while it runs."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn

from handlens.comparison import merge, progress
from handlens.comparison.progress import ProgressTeller
from handlens.request import Progress, RunRequest
from handlens.session import Session
from handlens.targets import discover

from ..quantizing import quantize


class Stack(nn.Module):
    """Numbered layers, one of which has numbered modules itself, and a head after them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)) for _ in range(3)
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def _told(model: nn.Module, x: Tensor) -> list[Progress]:
    told: list[Progress] = []
    result = quantize(model, x, recipe="int8-weight-only")
    comparison = merge(result.reference, result.actual)
    ProgressTeller(told.append).watch(comparison)
    comparison.run((x,), {})
    return told


def test_the_layer_is_told_and_the_share_of_the_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    told = _told(Stack(), torch.randn(2, 8))
    assert [each.share for each in told] == pytest.approx([(n + 1) / 10 for n in range(10)])
    assert [each.layer for each in told] == [1, 1, 1, 2, 2, 2, 3, 3, 3, None]
    assert {each.layers for each in told[:9]} == {3}
    assert (str(told[3]), str(told[9])) == ("layer 2 of 3", "100 % of the ops")


def test_a_model_without_layers_is_told_by_its_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    told = _told(nn.Linear(8, 8), torch.randn(2, 8))
    assert told == [Progress("compare", 1.0)]


def test_it_is_told_no_more_often_than_somebody_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_EVERY_S", 1e6)
    assert len(_told(Stack(), torch.randn(2, 8))) <= 1


TWO_BATCHES = """
import torch
def handlens_main():
    batches = [(torch.randn(2, 8),), (torch.randn(2, 8),)]
    return {"model": torch.nn.Linear(8, 8), "example_inputs": batches[0], "evaluation": batches}
"""


def test_later_batches_are_told_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])
    told: list[Progress] = []
    [target] = discover(TWO_BATCHES, "model.py")
    request = RunRequest(target, TWO_BATCHES)
    session = Session(request, lambda stage: None, told.append)
    assert (session.load() or session.export()) is None
    assert session.compare(request).status == "ok"
    assert list(map(str, told)) == ["100 % of the ops", "batch 2"]
    assert str(Progress("compare", 1.0, 2, 3, batch=2)) == "batch 2, layer 2 of 3"
