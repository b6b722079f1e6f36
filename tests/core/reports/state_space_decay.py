"""Source: state-spaces/mamba #923: the decay of a state space model, exp(A_log), in bfloat16.

Symptom: another output than with the sibling module, which computes it in float32.
Cause: the decay up to a step, cumsum(step) * A, is large, and rounded to 8 bits; from step to step,
the difference of two such numbers is small, and the exponential makes a relative error of it.
A good tool says: the loss begins at the cumulative sum or the product, and the subtraction shows
it. Not exp(A_log): its rounding is one and the same for all steps, and keeping it in float changes
nothing. With the decay computed in float32, from the same parameter, the output is better by 20 dB.
"""

import torch
from torch import Tensor, nn


class Scan(nn.Module):
    """A diagonal state space layer, all steps of the sequence at once."""

    def __init__(self, in_float: bool) -> None:
        super().__init__()
        self.a_log = nn.Parameter(torch.log(torch.linspace(1.0, 16.0, 8)))
        self.step = nn.Linear(8, 8)
        self.head = nn.Linear(8, 4)
        self.in_float = in_float

    def forward(self, x: Tensor) -> Tensor:
        step = nn.functional.softplus(self.step(x))
        a_log = self.a_log
        if self.in_float:
            step, a_log = step.float(), a_log.float()
        decay = torch.cumsum(step, dim=1) * -torch.exp(a_log)
        # From step j to step i, as in the chunks of Mamba-2.
        between = decay[:, :, None] - decay[:, None, :]
        seen = torch.tril(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device))
        weights = torch.exp(between.masked_fill(~seen[None, :, :, None], -100.0)).to(x.dtype)
        return self.head((weights * x[:, None]).sum(2))


def _target(recipe: str, in_float: bool = False) -> dict[str, object]:
    torch.manual_seed(0)
    model = Scan(in_float).eval()
    with torch.no_grad():
        model.step.bias.fill_(-2.0)
    return {"model": model, "example_inputs": (torch.randn(1, 64, 8),), "recipe": recipe}


def handlens_brain_float() -> dict[str, object]:
    return _target("bf16")


def handlens_decay_in_float() -> dict[str, object]:
    return _target("bf16", in_float=True)
