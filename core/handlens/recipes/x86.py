"""The ``x86`` recipe: torchao's X86InductorQuantizer, static 8 bit for CPUs with VNNI."""

from __future__ import annotations

from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

from handlens.recipes.pt2e import Pt2eRecipe


def _make_quantizer() -> X86InductorQuantizer:
    return X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())


RECIPES = (Pt2eRecipe("x86", _make_quantizer, ("conv1d", "conv2d", "linear")),)
