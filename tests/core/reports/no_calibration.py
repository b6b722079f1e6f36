"""Source: pytorch/executorch #8830, pytorch/pytorch #100654, #28951: "must run observer before
calling calculate_qparams. Returning default values": quantized output is far off.

Cause (a): calibration was skipped (commented out); (b): a branch that calibration never took has
observers that saw nothing: scale 1, zero point 0.
A good tool says: (a) nothing was calibrated, observers are at their defaults: give calibration
inputs; (b) the ops of the branch that calibration did not run, at their lines, with that reason.
"""

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(10, 10)
        self.b = nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


def handlens_skipped() -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "model": Plain().eval(),
        "example_inputs": (torch.randn(2, 10),),
        "calibration": [],
        "recipe": "xnnpack",
    }


def handlens_skipped_x86() -> dict[str, object]:
    return {**handlens_skipped(), "recipe": "x86"}


class Gated(nn.Module):
    """The bright way and the dark way; calibration has bright pictures only."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.bright = nn.Conv2d(8, 8, 3, padding=1)
        self.dark = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.stem(x))
        return torch.cond(x.mean() > 0.5, self._bright, self._dark, (y,))

    def _bright(self, y: Tensor) -> Tensor:
        return self.bright(y)

    def _dark(self, y: Tensor) -> Tensor:
        return self.dark(y)


def handlens_branch() -> dict[str, object]:
    torch.manual_seed(0)
    bright = [(torch.rand(1, 3, 8, 8) * 0.4 + 0.6,) for _ in range(4)]
    dark = [(torch.rand(1, 3, 8, 8) * 0.4,) for _ in range(2)]
    return {
        "model": Gated().eval(),
        "example_inputs": bright[0],
        "calibration": bright,
        "evaluation": dark,
        "recipe": "x86",
    }


class OneSided(nn.Module):
    """No control flow: a calibration of all-zero frames (padding) leaves every activation range at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv1d(4, 8, 3, bias=False)
        self.b = nn.Conv1d(8, 2, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


def handlens_silence() -> dict[str, object]:
    torch.manual_seed(0)
    return {
        "model": OneSided().eval(),
        "example_inputs": (torch.randn(1, 4, 20),),
        "calibration": [(torch.zeros(1, 4, 20),)],
        "recipe": "x86",
    }
