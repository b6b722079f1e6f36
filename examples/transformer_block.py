"""A small transformer encoder: which projections and which matrix products stay accurate.

Attention is spread over helper methods, the blocks run in a loop, and the same line computes a
different layer each time round.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """Self-attention over `(batch, tokens, width)`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def split_heads(self, x: Tensor) -> Tensor:
        """`(batch, tokens, width)` to `(batch, heads, tokens, width / heads)`."""
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

    def merge_heads(self, x: Tensor) -> Tensor:
        """The inverse of `split_heads`."""
        return x.transpose(1, 2).flatten(2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Mix the values by how well their keys match the query."""
        scores = query @ key.transpose(-2, -1)
        weights = F.softmax(scores / math.sqrt(query.shape[-1]), dim=-1)
        return weights @ value

    def forward(self, x: Tensor) -> Tensor:
        query = self.split_heads(self.query(x))
        key = self.split_heads(self.key(x))
        value = self.split_heads(self.value(x))
        x = self.merge_heads(self.attend(query, key, value))
        x = self.output(x)
        return x


class EncoderBlock(nn.Module):
    """Attention, then an MLP, each normalised before and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads)
        self.mlp_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def mlp(self, x: Tensor) -> Tensor:
        """Each token by itself."""
        x = F.gelu(self.widen(x))
        x = self.narrow(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        x = x + self.mlp(self.mlp_norm(x))
        return x


class Encoder(nn.Module):
    """Token numbers `(batch, tokens)` to class logits `(batch, classes)`."""

    def __init__(
        self,
        vocabulary: int = 1000,
        tokens: int = 32,
        width: int = 64,
        heads: int = 4,
        depth: int = 3,
        classes: int = 5,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(0.1 * torch.randn(tokens, width))
        self.blocks = nn.ModuleList(EncoderBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = block(x)
        x = self.norm(x).mean(dim=1)
        x = self.classifier(x)
        return x


def handlens_encoder() -> dict[str, object]:
    torch.manual_seed(0)
    model = Encoder().eval()
    batches = [(torch.randint(1000, (4, 32)),) for _ in range(6)]
    return {
        "model": model,
        "example_inputs": batches[0],
        "calibration": batches[:4],
        "evaluation": batches[4:],
    }
