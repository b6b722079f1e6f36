"""Architectures that people use, as small as they can be: a sample of those in docs/models.md."""

from __future__ import annotations

import asyncio

import pytest
import torch

from benchmarks import breadth
from benchmarks.breadth import Cell
from handlens.versions import release

SAMPLE = ("bert", "opt", "mixtral", "siglip")
"""Each brought something that the others do not: a pooler that nobody reads, integers, a kernel of one
dtype, padding that is a word. The others would take too long."""


@pytest.fixture(scope="module")
def cells() -> dict[tuple[str, str], Cell]:
    async def measured() -> list[Cell]:
        families = [each for each in breadth.FAMILIES if each.startswith("transformers")]
        return [each async for each in breadth.measure(families, breadth.RECIPES, SAMPLE)]

    return {(each.architecture, each.recipe): each for each in asyncio.run(measured())}


@pytest.mark.parametrize("recipe", breadth.RECIPES)
@pytest.mark.parametrize("architecture", SAMPLE)
def test_an_architecture_has_a_result_that_accounts_for_every_op(
    cells: dict[tuple[str, str], Cell], architecture: str, recipe: str
) -> None:
    if (architecture, recipe) == ("mixtral", "bf16") and release(torch.__version__) < (2, 11):
        pytest.skip("torch 2.10 exports no grouped product of bfloat16 matrices")
    cell = cells[architecture, recipe]
    assert cell.sound, cell
    assert cell.verdict == "ok"
    assert cell.compared > 0.8 * cell.ops
