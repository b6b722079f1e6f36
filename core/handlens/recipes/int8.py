"""The ``int8-weight-only`` and ``int8-dynamic`` recipes: linear layers with 8 bit weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torchao
from torch import Tensor, nn
from torchao.quantization import (
    Int8DynamicActivationInt8WeightConfig,
    Int8WeightOnlyConfig,
    PerGroup,
)

from handlens.recipes.weights import WeightFormat, WeightRecipe, scales
from handlens.report import Quantizer
from handlens.versions import release

_GROUP = 32

# torchao 0.16 and 0.17 have an older implementation as their version 1, which is their default.
_VERSION = 2

# torchao 0.16 takes scales in groups for scales of rows.
HAS_GROUPS = release(torchao.__version__) >= (0, 17)


def _weight_only(layer: nn.Linear) -> Int8WeightOnlyConfig:
    return Int8WeightOnlyConfig(set_inductor_config=False, version=_VERSION)


def _dynamic(layer: nn.Linear) -> Int8DynamicActivationInt8WeightConfig:
    return Int8DynamicActivationInt8WeightConfig(set_inductor_config=False, version=_VERSION)


def _in_groups(layer: nn.Linear) -> Int8WeightOnlyConfig | None:
    if layer.in_features % _GROUP or not HAS_GROUPS:
        return None
    return Int8WeightOnlyConfig(
        granularity=PerGroup(_GROUP), set_inductor_config=False, version=_VERSION
    )


def _describe_weight(weight: Any) -> tuple[Quantizer, ...]:
    extent, rms = scales(weight.scale)
    granularity: Literal["per-channel", "per-group"]
    granularity = "per-channel" if weight.scale.shape[-1] == 1 else "per-group"
    return (Quantizer("weight", "int8", granularity, extent, (0, 0), -128, 127, rms),)


def _join(weights: Sequence[Any]) -> Tensor:
    first = weights[0]
    tensors = {
        name: torch.cat([getattr(each, name) for each in weights])
        for name in ("qdata", "scale", "zero_point")
        if getattr(first, name, None) is not None
    }
    joined: Tensor = type(first)(
        **tensors,
        block_size=first.block_size,
        dtype=first.dtype,
        act_quant_kwargs=first.act_quant_kwargs,
    )
    return joined


def _describe_both(weight: Any) -> tuple[Quantizer, ...]:
    return (
        *_describe_weight(weight),
        Quantizer("input", "int8", "per-token", None, (0, 0), -128, 127),
    )


WEIGHT_ONLY = WeightFormat(_weight_only, _describe_weight, _join)

RECIPES = (
    WeightRecipe("int8-dynamic", WeightFormat(_dynamic, _describe_both, _join)),
    WeightRecipe(
        "int8-weight-only",
        WEIGHT_ONLY,
        adjusted={"weight-finer-group": WeightFormat(_in_groups, _describe_weight, _join)},
    ),
)
