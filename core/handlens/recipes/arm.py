"""The ``arm`` recipe: torchao's ArmInductorQuantizer, static 8 bit for Arm CPUs, weights per tensor."""

from __future__ import annotations

from torchao.quantization.pt2e.quantizer.arm_inductor_quantizer import (
    ArmInductorQuantizer,
    get_default_arm_inductor_quantization_config,
)

from handlens.recipes.pt2e import Pt2eRecipe


def _make_quantizer() -> ArmInductorQuantizer:
    return ArmInductorQuantizer().set_global(get_default_arm_inductor_quantization_config())


RECIPES = (Pt2eRecipe("arm", _make_quantizer, ("conv2d", "linear")),)
