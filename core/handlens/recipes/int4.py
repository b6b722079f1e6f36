"""The ``int4-weight-only`` recipe: linear layers with 4 bit weights in groups, for CPUs."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

import torchao
from torch import nn

from handlens.recipes.int8 import WEIGHT_ONLY
from handlens.recipes.recipe import UnknownRecipe
from handlens.recipes.weights import WeightFormat, WeightRecipe, scales
from handlens.report import Quantizer, Thresholds

_NAME = "int4-weight-only"
_GROUPS = (128, 64, 32)
_OUTPUTS = 16

# torchao's configuration of 4 bit weights for CPUs, by its names in torchao 0.18, 0.17 and 0.16.
_CONFIGURATIONS = (
    ("torchao.prototype.quantization.int4", "PrototypeInt4WeightOnlyConfig"),
    ("torchao.prototype.quantization.int4", "Int4WeightOnlyOpaqueTensorConfig"),
    ("torchao.prototype.int4_opaque_tensor", "Int4WeightOnlyOpaqueTensorConfig"),
)


def configuration(group_size: int) -> Any:
    """torchao's configuration for 4 bit weights on CPUs. Raises UnknownRecipe if torchao has none."""
    # The stable Int4WeightOnlyConfig has layouts for GPUs only; this one has the same numbers.
    for module, name in _CONFIGURATIONS:
        with suppress(ImportError, AttributeError):
            kind = getattr(import_module(module), name)
            return kind(group_size=group_size, set_inductor_config=False)
    raise UnknownRecipe(
        f"recipe {_NAME} needs the 4 bit weights for CPUs of torchao, and torchao "
        f"{torchao.__version__} has none that Handlens knows"
    )


def _config(layer: nn.Linear, groups: tuple[int, ...] = _GROUPS) -> Any:
    if layer.weight.device.type != "cpu":
        raise UnknownRecipe(
            f"recipe {_NAME} runs on the CPU only, and the model is on {layer.weight.device}: "
            "move the model and its inputs to the CPU"
        )
    group = next((each for each in groups if layer.in_features % each == 0), None)
    if group is None or layer.out_features % _OUTPUTS:
        return None
    return configuration(group)


def _finest(layer: nn.Linear) -> Any:
    return _config(layer, _GROUPS[-1:])


def _describe(weight: Any) -> tuple[Quantizer, ...]:
    extent, rms = scales(weight.scale_and_zero[..., 0])
    # The zero point is a weight, a floating point number, so there is no integer to report.
    return (Quantizer("weight", "uint4", "per-group", extent, None, 0, 15, rms),)


RECIPES = (
    WeightRecipe(
        _NAME,
        WeightFormat(_config, _describe),
        f"4 bit weights need a multiple of {min(_GROUPS)} inputs and of {_OUTPUTS} outputs",
        # An op at the noise floor has about 20 dB: at 0 dB the noise is as loud as the signal.
        Thresholds(0.0, 5.0, 10.0),
        {
            "weight-finer-group": WeightFormat(_finest, _describe),
            "weight-8-bit": WEIGHT_ONLY,
        },
    ),
)
