"""The models to measure, as Handlens targets: ``handlens check benchmarks/targets.py`` runs them all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks import models
from examples import efficientnet_lite

Target = tuple[nn.Module, tuple[Tensor, ...]]


def _seeded(build: type[nn.Module], *arguments: int) -> nn.Module:
    torch.manual_seed(0)
    return build(*arguments)


def _images(batch: int, side: int = 224) -> tuple[Tensor]:
    return (torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0)),)


def handlens_efficientnet() -> Target:
    return efficientnet_lite.pretrained(), _images(1)


def handlens_efficientnet_4() -> Target:
    return efficientnet_lite.pretrained(), _images(4)


def handlens_efficientnet_16() -> Target:
    return efficientnet_lite.pretrained(), _images(16)


def handlens_efficientnet_16_batches() -> dict[str, object]:
    """Sixteen batches of four pictures."""
    batches = [(each,) for each in _images(64)[0].view(16, 4, 3, 224, 224).unbind()]
    return {
        "model": efficientnet_lite.pretrained(),
        "example_inputs": batches[0],
        "evaluation": batches,
    }


def handlens_resnet18() -> Target:
    return _seeded(models.ResNet18), _images(1)


def handlens_resnet18_16() -> Target:
    return _seeded(models.ResNet18), _images(16)


def handlens_bert() -> Target:
    """BERT with an attention mask, as a tokenizer gives it."""
    model, (tokens,) = handlens_bert_without_mask()
    return model, (tokens, torch.ones_like(tokens))


def handlens_bert_without_mask() -> Target:
    torch.manual_seed(0)
    return models.bert(), (torch.randint(0, 30_000, (1, 128)),)


def handlens_qwen2() -> Target:
    torch.manual_seed(0)
    return models.qwen2(), (torch.randint(0, 151_936, (1, 128)),)


def handlens_vit() -> Target:
    torch.manual_seed(0)
    return models.vit(), _images(1)


def handlens_mobilevit() -> Target:
    model, inputs = handlens_vanishing_mobilevit()
    return models.normalized(model, *inputs), inputs


def handlens_vanishing_mobilevit() -> Target:
    torch.manual_seed(0)
    return models.mobilevit(), _images(1, side=256)


def handlens_late_norm() -> Target:
    return _seeded(models.LateNorm), _images(1, side=32)


def handlens_many_ops() -> Target:
    return _seeded(models.ManyOps, 10_000), (torch.ones(1, models.ManyOps.WIDTH),)
