"""Source: pytorch/pytorch PR #113405 (MobileBERT): a mask is multiplied by the largest float32; the
XNNPACK quantizer observes that constant and its product: the histogram observer raises, and with a
min-max observer the scale is about 1e36 so that every other score becomes zero.

A good tool says: the `*` by float max and the `+` to the scores: their range leaves nothing for the
scores; use a modest negative number, or keep mask arithmetic in float. Or, if calibration raises,
that very line.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, lowest: float) -> None:
        super().__init__()
        self.lowest = lowest
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)
        self.v = nn.Linear(16, 16)
        self.out = nn.Linear(16, 16)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        bias = (1.0 - mask)[:, None, :] * self.lowest
        scores = self.q(x) @ self.k(x).transpose(-2, -1) / 4.0
        scores = scores + bias
        return self.out(torch.softmax(scores, dim=-1) @ self.v(x))


def _target(lowest: float, *keep_float: str | int) -> dict[str, object]:
    torch.manual_seed(0)
    model = Attention(lowest).eval()
    with torch.no_grad():
        model.q.weight.mul_(4)
        model.k.weight.mul_(4)
    mask = torch.ones(2, 6)
    mask[1, 4:] = 0.0
    data = [(torch.randn(2, 6, 16), mask) for _ in range(4)]
    return {
        "model": model,
        "example_inputs": data[0],
        "calibration": data,
        "evaluation": data[:2],
        "recipe": "xnnpack",
        "keep_float": keep_float,
    }


def handlens_float_max() -> dict[str, object]:
    return _target(torch.finfo(torch.float32).min)


def handlens_ten_thousand() -> dict[str, object]:
    return _target(-10000.0)


def handlens_addition_in_float() -> dict[str, object]:
    # By the debug handle of the addition.
    return _target(-10000.0, 9)


def handlens_no_padding() -> dict[str, object]:
    """No position is masked: calibration sees 0 times the constant only."""
    target = _target(torch.finfo(torch.float32).min)
    target["calibration"] = [(x, torch.ones(2, 6)) for x, _ in target["calibration"]]
    target["evaluation"] = [(x, torch.ones(2, 6)) for x, _ in target["evaluation"]]
    target["example_inputs"] = target["calibration"][0]
    return target
