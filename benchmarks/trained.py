"""Architectures of torchvision, trained for a minute: their ranges are those of trained networks.

They tell from which of ten photographs of scikit-image a patch of 64 by 64 pixels was cut. Training looks
at the left half of the photographs, evaluation at the right half. The weights stay in ``build/trained``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.architectures import beside_cpu  # noqa: F401

# isort: split

from torchvision import models

PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "chelsea",
    "coffee",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "retina",
    "rocket",
)
SIDE = 64
BATCH = 32
FOLDER = Path(__file__).parents[1] / "build/trained"
"""Where trained weights stay."""

Target = dict[str, Any]


def photograph(name: str) -> Tensor:
    """A photograph with three channels from -1 to 1, its shorter side 256: `(3, height, width)`."""
    from skimage import data

    pixels = torch.from_numpy(getattr(data, name)()).float() / 127.5 - 1
    image = pixels.expand(3, -1, -1) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    scale = 256 / min(image.shape[1:])
    size = [round(side * scale) for side in image.shape[1:]]
    return F.interpolate(image.unsqueeze(0), size, mode="bilinear", antialias=True)[0]


class Patches:
    """Batches of patches, cut at random from one half of each photograph."""

    def __init__(self, half: int, seed: int) -> None:
        self._images = [photograph(name).chunk(2, dim=2)[half] for name in PHOTOGRAPHS]
        self._generator = torch.Generator().manual_seed(seed)

    def batch(self, size: int = BATCH) -> tuple[Tensor, Tensor]:
        """Patches `(size, 3, SIDE, SIDE)`, and the number of the photograph of each."""
        labels = torch.randint(len(PHOTOGRAPHS), (size,), generator=self._generator)
        return torch.stack([self._cut(self._images[label]) for label in labels]), labels

    def _cut(self, image: Tensor) -> Tensor:
        top, left = (self._below(side - SIDE + 1) for side in image.shape[1:])
        patch = image[:, top : top + SIDE, left : left + SIDE]
        return patch.flip(-1) if self._below(2) else patch

    def _below(self, limit: int) -> int:
        return int(torch.randint(limit, (), generator=self._generator))


def trained(name: str, build: Callable[[], nn.Module], steps: int, rate: float) -> nn.Module:
    """The model with the weights of an earlier training, or else of one now."""
    torch.manual_seed(0)
    model = build()
    file = FOLDER / f"{name}.pt"
    if file.exists():
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()
    patches = Patches(half=0, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    for _ in range(steps):
        images, labels = patches.batch()
        loss = F.cross_entropy(model.train()(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), file)
    return model.eval()


def mobilenet_v3() -> nn.Module:
    model: nn.Module = models.mobilenet_v3_small(num_classes=len(PHOTOGRAPHS))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # torchvision's is for trainings of days.
            module.momentum = 0.1
    return model


def vit() -> nn.Module:
    model: nn.Module = models.VisionTransformer(
        image_size=SIDE,
        patch_size=8,
        num_layers=4,
        num_heads=4,
        hidden_dim=64,
        mlp_dim=256,
        num_classes=len(PHOTOGRAPHS),
    )
    # torchvision leaves the last layer at zero.
    nn.init.normal_(model.heads.head.weight, std=0.02)  # type: ignore[union-attr, arg-type]
    return model


def _target(model: nn.Module) -> Target:
    def batches(half: int, number: int) -> Iterator[tuple[Tensor]]:
        patches = Patches(half, seed=1)
        for _ in range(number):
            yield (patches.batch(16)[0],)

    evaluation = list(batches(half=1, number=2))
    return {
        "model": model,
        "example_inputs": evaluation[0],
        "calibration": list(batches(half=0, number=4)),
        "evaluation": evaluation,
    }


def handlens_mobilenet_v3() -> Target:
    return _target(trained("mobilenet_v3", mobilenet_v3, steps=300, rate=3e-3))


def handlens_vit() -> Target:
    return _target(trained("vit", vit, steps=500, rate=1e-3))
