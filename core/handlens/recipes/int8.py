"""The ``int8-weight-only`` and ``int8-dynamic`` recipes: linear layers with 8 bit weights."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig

from handlens.recipes.weights import WeightRecipe, scales
from handlens.report import Quantizer


def _weight_only(layer: nn.Linear) -> Int8WeightOnlyConfig:
    return Int8WeightOnlyConfig(set_inductor_config=False)


def _dynamic(layer: nn.Linear) -> Int8DynamicActivationInt8WeightConfig:
    return Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)


def _describe_weight(weight: Any) -> tuple[Quantizer, ...]:
    extent, rms = scales(weight.scale)
    return (Quantizer("weight", "int8", "per-channel", extent, (0, 0), -128, 127, rms),)


def _describe_both(weight: Any) -> tuple[Quantizer, ...]:
    return (
        *_describe_weight(weight),
        Quantizer("input", "int8", "per-token", None, (0, 0), -128, 127),
    )


RECIPES = (
    WeightRecipe("int8-dynamic", _dynamic, _describe_both),
    WeightRecipe("int8-weight-only", _weight_only, _describe_weight),
)
