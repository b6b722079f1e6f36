"""Source: ultralytics/ultralytics PR #25524 (and #1695): int8 exports of a detector give class
scores that are all exactly zero, boxes are fine.

Cause: the head's last Concat puts boxes in pixels (up to 640) beside scores in 0..1: one scale for
both, a step of about 2.5, so that every score rounds to zero.
A good tool says: at the cat (or at the sigmoid), the scores vanish: they share the range of the
boxes; keep the cat or the scores in float, or give boxes and scores back separately. A pooled SQNR
of the output hides it.
"""

import torch
from torch import Tensor, nn


class Detect(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.box = nn.Conv2d(16, 4, 1)
        self.cls = nn.Conv2d(16, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.stem(image))
        boxes = self.box(x).flatten(2)
        boxes = (boxes.sigmoid() * 640.0).clamp(0, 640)
        scores = self.cls(x).flatten(2).sigmoid()
        return torch.cat((boxes, scores), dim=1)


def _target(recipe: str) -> dict[str, object]:
    torch.manual_seed(0)
    model = Detect().eval()
    with torch.no_grad():
        model.cls.bias.fill_(-2.0)
        model.cls.weight.mul_(4)
    data = [(torch.rand(1, 3, 32, 32),) for _ in range(6)]
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data,
        "evaluation": data[:2],
        "recipe": recipe,
    }


def handlens_phone() -> dict[str, object]:
    return _target("xnnpack")


def handlens_server() -> dict[str, object]:
    return _target("x86")
