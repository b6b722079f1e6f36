"""Architectures that people use, as small as they can be: a sample of those in docs/models.md."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import breadth
from benchmarks.breadth import Cell

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
    cell = cells[architecture, recipe]
    assert cell.sound, cell
    assert cell.verdict == "ok"
    assert cell.compared > 0.8 * cell.ops
