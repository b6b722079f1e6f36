"""Quantization recipes: an exported program in, a reference and a quantized graph out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torchao.quantization.pt2e.quantizer import Quantizer

from handlens.misspelling import near, question
from handlens.recipes.pt2e import Pt2eRecipe, compose
from handlens.recipes.recipe import (
    CalibrationFailed,
    CannotQuantize,
    CastFailed,
    Quantized,
    Recipe,
    UnknownRecipe,
)
from handlens.report import Misspelled

__all__ = [
    "DEFAULT",
    "RECIPES",
    "CalibrationFailed",
    "CannotQuantize",
    "CastFailed",
    "Quantized",
    "Recipe",
    "UnknownRecipe",
    "resolve",
]

DEFAULT = "x86"
# The modules that have recipes in ``RECIPES``, in the order in which messages name them.
_MODULES = (
    "x86",
    "arm",
    "xnnpack",
    "embedding",
    "int8",
    "int4",
    "half",
)
RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for module in _MODULES
    for recipe in importlib.import_module(f"{__name__}.{module}").RECIPES
}
"""The built-in recipes, by name."""


def resolve(recipe: str | Callable[[], Quantizer]) -> Recipe:
    """Find the recipe for a name in ``RECIPES``, a ``"module:callable"``, or a callable.

    The callable returns a torchao ``Quantizer``. Several names, joined with ``+``, quantize together.
    Raises UnknownRecipe, and whatever importing the module raises.
    """
    if callable(recipe):
        return Pt2eRecipe(getattr(recipe, "__qualname__", repr(recipe)), _checked(recipe))
    parts = [_named(part.strip(), recipe) for part in recipe.split("+")]
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        if not isinstance(part, Pt2eRecipe):
            raise UnknownRecipe(f"recipe {recipe!r}: {part.name} cannot be joined with another")
    return compose([part for part in parts if isinstance(part, Pt2eRecipe)])


def _named(recipe: str, whole: str) -> Recipe:
    """The recipe of that name, which stands in ``whole``, maybe among others."""
    if recipe in RECIPES:
        return RECIPES[recipe]
    module, colon, name = recipe.partition(":")
    if not (module and colon and name):
        advice = f'Use {", ".join(RECIPES)}, several joined with "+", or "module:callable".'
        if found := near(recipe, RECIPES):
            advice = f"{question(found)} {advice}"
            meant = (whole.replace(recipe, each) for each in found.meant)
            found = Misspelled(whole, tuple(meant))
        raise UnknownRecipe(f"There is no recipe {recipe!r}. {advice}", found)
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
