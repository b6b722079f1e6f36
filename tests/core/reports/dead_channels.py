"""Source: pytorch/vision #648, Cadene/pretrained-models.pytorch #99 (Inception v3): batch norms
with a variance of 1e-14.

Symptom: looks like a fault: such a channel has a gain of 1000, and its convolution's weights are of
size 1e-10.
Cause: the channel is dead; gain times weight is still next to nothing, and its output is the bias.
A good tool says: nothing. Folding the batch norm gives a weight of 1e-7 for that channel, and
per-channel scales are not disturbed by it.
"""

import torch
from torch import Tensor, nn


class Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16, eps=0.001)
        self.next = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.next(torch.relu(self.norm(self.conv(image))))


def _target(recipe: str) -> dict[str, object]:
    torch.manual_seed(0)
    model = Stem().eval()
    with torch.no_grad():
        model.norm.running_var.uniform_(0.1, 0.3)
        for channel in (11, 13):
            model.conv.weight[channel] *= 1e-9
            model.norm.running_var[channel] = 2e-14
            model.norm.running_mean[channel] = 0.0
            model.norm.weight[channel] = 31.6
            model.norm.bias[channel] = 0.2
    data = [(torch.randn(2, 3, 16, 16),) for _ in range(4)]
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data[:2],
        "evaluation": data[2:],
        "recipe": recipe,
    }


def handlens_server() -> dict[str, object]:
    return _target("x86")


def handlens_phone() -> dict[str, object]:
    return _target("xnnpack")
