"""Networks to measure that no installed package has."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut that is added to them."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + self.shortcut(x))


class ResNet18(nn.Module):
    """ResNet-18 with random weights, from images `(batch, 3, 224, 224)` to logits `(batch, 1000)`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.stem_bn = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        widths = (64, 64, 128, 256, 512)
        self.blocks = nn.Sequential(
            *(
                BasicBlock(widths[stage] if first else width, width, 2 if first and stage else 1)
                for stage, width in enumerate(widths[1:])
                for first in (True, False)
            )
        )
        self.head = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.stem_bn(self.stem(x))))
        x = self.blocks(x)
        x = self.head(x.mean((2, 3)))
        return x


class LateNorm(nn.Module):
    """Six convolutions, each followed by its activation and only then by a batch norm.

    Nothing folds there, so the batch norms stay in the graph.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 16, 32, 32, 64, 64)
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms):
            x = norm(torch.relu(conv(x)))
        return x


class ManyOps(nn.Module):
    """A graph of about ``ops`` tiny operations, with a linear layer in every 50.

    What it takes beyond running the models is the cost of having nodes, not of having data.
    """

    WIDTH = 8

    def __init__(self, ops: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(self.WIDTH, self.WIDTH) for _ in range(ops // 50))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer(x)
            for _ in range(8):
                a = torch.sin(x)
                b = a * 0.5
                c = torch.neg(b)
                d = x - c
                e = d + a
                x = torch.cos(e)
        return x


def bert(layers: int = 6, hidden: int = 384, heads: int = 12) -> nn.Module:
    """A Hugging Face BERT encoder with random weights."""
    import transformers

    config = transformers.BertConfig(
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
    )
    model: nn.Module = transformers.BertModel(config)
    return model


def qwen2() -> nn.Module:
    """A language model of the shape of Qwen2-0.5B with random weights, from tokens to logits.

    It has 494 million parameters, 136 million of which are the embedding and the head as well.
    """
    import transformers

    config = transformers.Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        use_cache=False,
    )
    model: nn.Module = transformers.Qwen2ForCausalLM(config)
    return model


def vit() -> nn.Module:
    """ViT-S/16 with random weights, from images `(batch, 3, 224, 224)` to logits."""
    import transformers

    config = transformers.ViTConfig(
        hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_labels=1000
    )
    model: nn.Module = transformers.ViTForImageClassification(config)
    return model


def mobilevit() -> nn.Module:
    """MobileViT-S with random weights, from images `(batch, 3, 256, 256)` to logits.

    Its batch norms leave their input as it is, so the activations get smaller from layer to layer, down to
    denormal numbers. ``normalized`` mends that.
    """
    import transformers

    model: nn.Module = transformers.MobileViTForImageClassification(
        transformers.MobileViTConfig(num_labels=1000)
    )
    return model


def normalized(model: nn.Module, *inputs: Tensor) -> nn.Module:
    """The model, whose batch norms have the statistics of ``inputs``, as those of a trained model have."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Statistics of one batch, instead of a moving average.
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(*inputs)
    return model.eval()
