"""The ``xnnpack`` recipe: static 8 bit for phones, weights symmetric and per channel."""

from __future__ import annotations

from importlib.util import find_spec

from torchao.quantization.pt2e.quantizer import Quantizer

from handlens.recipes.pt2e import Pt2eRecipe


def _make_quantizer() -> Quantizer:
    if find_spec("executorch") is not None:
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
    else:
        from torchao.testing.pt2e._xnnpack_quantizer import get_symmetric_quantization_config

        from handlens.recipes.xnnpack_quantizer import XNNPACKQuantizer
    quantizer: Quantizer = XNNPACKQuantizer().set_global(
        get_symmetric_quantization_config(is_per_channel=True)
    )
    return quantizer


RECIPES = (Pt2eRecipe("xnnpack", _make_quantizer, ("conv1d", "conv2d", "linear")),)
