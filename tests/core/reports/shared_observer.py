"""Source: pytorch/executorch #12959 (and PR #18009): quantizers that make inputs and outputs of an
op share one observer give a narrow value the range of a wide one.

Here with the recipe at hand: XNNPACK shares the observer of a cat's inputs and output (and passes
it on through pooling, reshape, slice): a quiet branch (tanh gate, +-0.01) is concatenated with a
loud one (+-60).
A good tool says: the quiet branch loses everything because it shares the scale with the loud one,
at the cat (or at the quiet branch's op, saying so); keep one of them in float.
"""

import torch
from torch import Tensor, nn


class TwoBranches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.loud = nn.Conv2d(3, 8, 3, padding=1)
        self.quiet = nn.Conv2d(3, 8, 3, padding=1)
        self.loud_head = nn.Conv2d(8, 2, 1)
        self.quiet_head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        both = torch.cat((self.loud(x), self.quiet(x)), dim=1)
        both = nn.functional.max_pool2d(both, 2)
        loud, quiet = both.split(8, dim=1)
        return self.loud_head(loud), self.quiet_head(quiet)


def _target(recipe: str, *keep_float: str | int) -> dict[str, object]:
    torch.manual_seed(0)
    model = TwoBranches().eval()
    with torch.no_grad():
        model.loud.weight.mul_(30)
        model.quiet.weight.mul_(0.01)
        model.quiet.bias.mul_(0.01)
        model.quiet_head.weight.mul_(100)
    data = [(torch.randn(1, 3, 16, 16),) for _ in range(4)]
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data,
        "evaluation": data[:2],
        "recipe": recipe,
        "keep_float": keep_float,
    }


def handlens_phone() -> dict[str, object]:
    return _target("xnnpack")


def handlens_server() -> dict[str, object]:
    return _target("x86")


def handlens_cat_in_float() -> dict[str, object]:
    # By the debug handle of the cat.
    return _target("x86", 3)


class Residual(nn.Module):
    """The structure of the report itself: permute, conv1d, relu, permute, x + linear(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 12, 3)
        self.linear = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv(x.permute(0, 2, 1)))
        x = x.permute(0, 2, 1)
        return x + self.linear(x)


def handlens_residual() -> dict[str, object]:
    torch.manual_seed(0)
    data = [(torch.randn(1, 20, 6),) for _ in range(4)]
    return {
        "model": Residual().eval(),
        "example_inputs": data[0],
        "calibration": data,
        "recipe": "xnnpack",
    }
