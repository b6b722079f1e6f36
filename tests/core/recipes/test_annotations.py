"""What an annotated graph says of places that lose their quantizers, for any ops that are kept in float."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlens import recipes
from handlens.capture.handles import handle_of
from handlens.recipes.annotations import Annotated
from handlens.recipes.pt2e import Pt2eRecipe
from handlens.recipes.recipe import float_module

from ..quantizing import captured
from .test_switching import Layer, examples, layers, network


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["x86", "xnnpack", "arm"])
@examples
@given(description=layers, data=st.data())
def test_places_that_are_left_are_those_of_the_layout(
    recipe: str, description: list[Layer], data: st.DataObject
) -> None:
    model, batches = network(description)
    maker = recipes.resolve(recipe)
    assert isinstance(maker, Pt2eRecipe)
    quantizer = maker.make_quantizer()
    plain = quantizer.transform_for_annotation(float_module(captured(model, *batches[0])))
    annotated = Annotated(quantizer.annotate(plain))
    handles = {handle for node in annotated.nodes if (handle := handle_of(node)) is not None}
    kept = data.draw(st.sets(st.sampled_from(sorted(handles)))) if handles else set()
    assert annotated.places(kept) == annotated.layout(kept).places.keys()
