"""Quantization recipes: an exported program in, a reference and a quantized graph out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torchao.quantization.pt2e.quantizer import Quantizer

from handlens.recipes import x86, xnnpack
from handlens.recipes.pt2e import CalibrationFailed, Pt2eRecipe, Quantized

__all__ = ["DEFAULT", "RECIPES", "CalibrationFailed", "Pt2eRecipe", "Quantized", "resolve"]

DEFAULT = "x86"
RECIPES = {recipe.name: recipe for recipe in (x86.RECIPE, xnnpack.RECIPE)}


class UnknownRecipe(ValueError):
    """A recipe that cannot be had; the message says what can."""


def resolve(recipe: str | Callable[[], Quantizer]) -> Pt2eRecipe:
    """The recipe of a name in ``RECIPES``, a ``"module:callable"`` or a callable, either of which
    returns a torchao ``Quantizer``.

    Raises UnknownRecipe, and whatever importing the module raises.
    """
    if callable(recipe):
        return Pt2eRecipe(getattr(recipe, "__qualname__", repr(recipe)), _checked(recipe))
    if recipe in RECIPES:
        return RECIPES[recipe]
    module, colon, name = recipe.partition(":")
    if not (module and colon and name):
        known = ", ".join(sorted(RECIPES))
        raise UnknownRecipe(f'no recipe {recipe!r}: use {known}, or "module:callable"')
    factory: Any = importlib.import_module(module)
    for part in name.split("."):
        factory = getattr(factory, part, None)
    if not callable(factory):
        raise UnknownRecipe(f"recipe {recipe!r}: {module} has no callable {name}")
    return Pt2eRecipe(recipe, _checked(factory))


def _checked(factory: Callable[[], object]) -> Callable[[], Quantizer]:
    def make() -> Quantizer:
        quantizer = factory()
        if not isinstance(quantizer, Quantizer):
            name = getattr(factory, "__qualname__", repr(factory))
            raise UnknownRecipe(
                f"recipe {name} returned a {type(quantizer).__name__}, not a torchao Quantizer"
            )
        return quantizer

    return make
