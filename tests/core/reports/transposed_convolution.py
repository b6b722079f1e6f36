"""Source: pytorch/pytorch #54816, pytorch/executorch PR #17842, microsoft/onnxruntime #19694,
OpenPPL/ppq #339: per-channel scales of a transposed convolution lie along the wrong axis (its
weight is in, out/groups, kh, kw).

Cause: axis 0, right for Conv2d, is the input channel of ConvTranspose2d; output channels of
different loudness then share a scale.
A good tool says: which transposed convolution loses accuracy, that its weight is to blame (one
scale per *input* channel), and how many dB; or that the recipe leaves conv_transpose2d in float.
"""

import torch
from torch import Tensor, nn


class Decoder(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2, groups=groups)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(self.norm(self.up(x)))
        return self.last(x)


def _target(recipe: str, groups: int = 1) -> dict[str, object]:
    torch.manual_seed(0)
    model = Decoder(groups).eval()
    with torch.no_grad():
        # Folding this batch norm gives output channels gains from 0.02 to 50.
        model.norm.running_var.copy_(torch.logspace(-4, 3, 8))
        # The last layer takes the gains back, so that every channel counts.
        model.last.weight.mul_(model.norm.running_var.sqrt().view(1, 8, 1, 1))
    data = [(torch.randn(1, 3, 8, 8),) for _ in range(4)]
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data,
        "evaluation": data[:2],
        "recipe": recipe,
    }


def handlens_phone() -> dict[str, object]:
    return _target("xnnpack")


class Instance(nn.Module):
    """Without a batch norm to fold: output channels of different loudness, evened out by a group norm."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2, groups=groups, bias=False)
        self.norm = nn.GroupNorm(8, 8)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.last(torch.relu(self.norm(self.up(x))))


def handlens_evened_out(groups: int = 1) -> dict[str, object]:
    torch.manual_seed(0)
    model = Instance(groups).eval()
    with torch.no_grad():
        gains = torch.logspace(-1.5, 0.5, 8 // groups).view(1, -1, 1, 1)
        model.up.weight.mul_(gains)
    data = [(torch.randn(1, 3, 8, 8),) for _ in range(4)]
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data,
        "evaluation": data[:2],
        "recipe": "xnnpack",
    }


def handlens_evened_out_grouped() -> dict[str, object]:
    return handlens_evened_out(groups=2)


def handlens_phone_grouped() -> dict[str, object]:
    return _target("xnnpack", groups=2)


def handlens_server() -> dict[str, object]:
    return _target("x86")
