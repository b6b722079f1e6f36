"""Source: huggingface/transformers PR #17306 and #17437 (OPT), NVIDIA-NeMo/Automodel PR #2658:
causal mask and padding mask, each torch.finfo(dtype).min, are added (or a score below -16 is added
to it): -Inf in half precision; a row that is masked wholly is NaN after softmax.

Cause: finfo(float16).min + (-16.1) rounds to -Inf; min + min is -Inf in float32 as well.
A good tool says: the `+` that overflows to -Inf is the first op that is not finite, and softmax
makes NaN of it; compose masks with where / clamp.
"""

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.k = nn.Linear(16, 16)
        self.v = nn.Linear(16, 16)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        n = x.shape[1]
        lowest = torch.finfo(x.dtype).min
        seen = torch.tril(torch.ones(n, n, dtype=torch.bool, device=x.device))
        allowed = seen & keep[:, None, :]
        mask = torch.zeros(x.shape[0], n, n, dtype=x.dtype, device=x.device).masked_fill(
            ~allowed, lowest
        )
        scores = self.q(x) @ self.k(x).transpose(-2, -1)
        return torch.softmax(scores + mask, dim=-1) @ self.v(x)


def handlens_left_padding() -> dict[str, object]:
    torch.manual_seed(0)
    model = Attention().eval()
    with torch.no_grad():
        model.q.weight.mul_(6)
        model.k.weight.mul_(-6)
        model.q.bias.zero_()
        model.k.bias.zero_()
        model.k.weight.copy_(-model.q.weight)
    keep = torch.ones(2, 5, dtype=torch.bool)
    keep[1, :2] = False  # left padding: rows 0 and 1 see nothing
    return {"model": model, "example_inputs": (torch.randn(2, 5, 16), keep), "recipe": "fp16"}


def handlens_causal_only() -> dict[str, object]:
    """No padding, small scores: nothing overflows, and fp16 is fine (checked: 60 dB and more)."""
    torch.manual_seed(0)
    keep = torch.ones(2, 5, dtype=torch.bool)
    return {
        "model": Attention().eval(),
        "example_inputs": (torch.randn(2, 5, 16), keep),
        "recipe": "fp16",
    }


def handlens_causal_only_bf16() -> dict[str, object]:
    return {**handlens_causal_only(), "recipe": "bf16"}
