"""Models with random weights and what they are run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Target = tuple[nn.Module, tuple[Tensor, ...] | dict[str, Tensor]]

VOCABULARY = 100


class LastHiddenState(nn.Module):
    """An encoder of which only the last hidden state is used, as models of sentence embeddings do."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(*inputs, **named).last_hidden_state
        return hidden


def seeded(build: Callable[..., Any], *arguments: Any, **options: Any) -> nn.Module:
    """A model in evaluation mode, its weights drawn from one seed.

    What training starts from zero or next to it (a head, a bias, the scale of a residual branch) is drawn
    as well: it would hide the ops before it.
    """
    torch.manual_seed(0)
    model: nn.Module = build(*arguments, **options).eval()
    for parameter in model.parameters():
        if bool((parameter.abs() < 1e-3).all()):
            nn.init.normal_(parameter, std=0.1)
    return model


def tokens(batch: int = 2, length: int = 12) -> Tensor:
    """Token numbers `(batch, length)`; the lowest ones are left to padding and its like."""
    return torch.randint(5, VOCABULARY, (batch, length), generator=_generator())


def padding(batch: int = 2, length: int = 12) -> Tensor:
    """A mask `(batch, length)` for ``tokens``, as a tokenizer gives it: the last sequence is shorter."""
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[-1, length * 2 // 3 :] = 0
    return mask


def normal(*shape: int) -> Tensor:
    """Normally distributed values: an image, a spectrogram, a wave."""
    return torch.randn(*shape, generator=_generator())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)
