"""Source: Edgecortix-Inc/pytorch_quantization #5, ARM-software/armnn #344, tensorflow/tensorflow
#43882: MobileNets with one scale for the whole weight of a depthwise convolution.

Symptom: 14 % of images right where the float model has 76 %; with one scale per channel, 69 %.
Cause: each channel of a depthwise convolution has a filter of its own, and folding the batch norm
makes some of them a hundred times larger than others: most round to a level or two.
A good tool says: the depthwise convolution loses it, before its output is quantized; the weight's
loud channel and the median one; quantize the weight per channel. With per-channel weights the
output is better by 10 dB or more.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchao.quantization.pt2e.quantizer import Quantizer
from torchao.testing.pt2e._xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, width, 1)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.project = nn.Conv2d(width, 8, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu6(self.expand(image))
        x = F.relu6(self.norm(self.depthwise(x)))
        return self.project(x)


def per_tensor() -> Quantizer:
    return XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=False))


def per_channel() -> Quantizer:
    return XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))


def _target(recipe: object) -> dict[str, object]:
    torch.manual_seed(0)
    model = Block(32).eval()
    with torch.no_grad():
        # Two channels hardly ever fire, so that the batch norm makes their filters large. Nothing
        # after them makes use of it.
        silent = [9, 22]
        model.expand.weight[silent] *= 0.005
        model.expand.bias[silent] = 0.01
        model.norm.running_var.fill_(0.05)
        model.norm.running_var[silent] = 4e-6
        model.project.weight[:, silent] *= 0.01
    data = [(torch.randn(2, 3, 16, 16),) for _ in range(6)]
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data[:4],
        "evaluation": data[4:],
        "recipe": recipe,
    }


def handlens_per_tensor() -> dict[str, object]:
    return _target(per_tensor)


def handlens_per_channel() -> dict[str, object]:
    return _target(per_channel)
