"""A backbone under torch.no_grad() inside forward: export wraps it in a region of its own.

What torchao does: it annotates nothing inside the region, so the backbone stays in float without a
word (pytorch/executorch #22069).
A good tool says: which ops stayed in float and why, or quantizes them as if the region were not
there; the stem answers for the loss behind the region as it does without one (compare the two
targets); never "the sum of many small losses".
"""

import torch
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.backbone = nn.Sequential(
            nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)
        )
        self.head = nn.Linear(16, 10)
        with torch.no_grad():
            self.stem.weight[0] *= 1000
            self.backbone[1].weight[:, 0] /= 1000

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        with torch.no_grad():
            f = self.backbone(y)
        f = torch.relu(f)
        return self.head(f.mean((2, 3)))


def handlens_frozen() -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "model": Net().eval(),
        "example_inputs": (torch.randn(4, 3, 32, 32),),
        "recipe": "xnnpack",
    }


class Plain(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        f = self.backbone(y)
        f = torch.relu(f)
        return self.head(f.mean((2, 3)))


def handlens_plain() -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "model": Plain().eval(),
        "example_inputs": (torch.randn(4, 3, 32, 32),),
        "recipe": "xnnpack",
    }
