"""Source: tensorflow/models #11274, Xilinx/brevitas #1341, tensorflow/model-optimization #1107:
MobileNetV3 in 8 bits.

Symptom: the accuracy of MobileNetV3 makes it unusable where MobileNetV2's is fine.
Cause: in a squeeze-and-excite block a gate of 0 to 1 multiplies feature maps of very different
size. A loud channel sets the scale of all features; and its gate of 0.0025 has an error of 0.001,
from a convolution that by itself has 43 dB.
A good tool says: the convolution before the gate, whose loss shows at the product, and the features
(hardswish) beside it: in float the features win 11 dB, both 28. Not hardsigmoid, and not the
product. A recipe that leaves the product in float (x86) does not round the features for it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(width, width // 4, 1)
        self.expand = nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        return x * F.hardsigmoid(self.expand(torch.relu(self.reduce(pooled))))


class Features(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return F.hardswish(self.conv(image))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = Features()
        self.gate = SqueezeExcite(16)
        self.project = nn.Conv2d(16, 8, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(self.gate(self.features(image)))


def _target(recipe: str, *keep_float: str) -> dict[str, object]:
    torch.manual_seed(0)
    model = Block().eval()
    with torch.no_grad():
        model.features.conv.weight[5] *= 200
        # hardsigmoid(-2.985) is 0.0025.
        model.gate.expand.weight.mul_(0.05)
        model.gate.expand.weight[5] = 0.0
        model.gate.expand.bias[5] = -2.985
        model.gate.reduce.weight[:, 5] = 0.0
    data = [(torch.randn(2, 3, 16, 16),) for _ in range(6)]
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data[:4],
        "evaluation": data[4:],
        "recipe": recipe,
        "keep_float": keep_float,
    }


def handlens_phone() -> dict[str, object]:
    return _target("xnnpack")


def handlens_phone_features_in_float() -> dict[str, object]:
    return _target("xnnpack", "features")


def handlens_phone_features_and_gate_in_float() -> dict[str, object]:
    return _target("xnnpack", "features", "gate.expand")


def handlens_server() -> dict[str, object]:
    return _target("x86")
