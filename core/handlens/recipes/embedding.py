"""The ``embedding`` recipe: torchao's EmbeddingQuantizer, tables of 8 bit, a scale for each row."""

from __future__ import annotations

from torchao.quantization.pt2e.quantizer.embedding_quantizer import EmbeddingQuantizer

from handlens.recipes.pt2e import Pt2eRecipe

RECIPES = (Pt2eRecipe("embedding", EmbeddingQuantizer, ("embedding",)),)
