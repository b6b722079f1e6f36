"""What an entry of ``keep_float`` names, and which entries name some ops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from handlens.loading.subject import InvalidTarget
from handlens.recipes.entries import Entries

from ..quantizing import captured


class Block(nn.Module):
    """Two sums around a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x + 1.0) + x


ENTRIES = Entries(captured(nn.Sequential(Block(), Block(), nn.ReLU()), torch.randn(2, 4)))
EVERY = sorted(ENTRIES.handles(["0", "1", "2"]))


@given(st.sets(st.sampled_from(EVERY)))
def test_the_entries_that_name_some_ops_name_these_alone(handles: set[int]) -> None:
    others = set(EVERY) - handles
    assert ENTRIES.handles(ENTRIES.naming(handles, others)) == handles


def test_an_entry_names_a_module_or_its_ops_of_a_name_or_one_of_them() -> None:
    first, layer, last = sorted(ENTRIES.handles(["0"]))
    assert ENTRIES.handles(["0:add"]) == {first, last}
    assert ENTRIES.handles(["0:add[1]"]) == {last}
    assert ENTRIES.handles(["0.layer"]) == {layer}


def test_words_tell_which_op_is_meant() -> None:
    assert ENTRIES.words(["0.layer"]) == "0.layer"
    assert ENTRIES.words(["0:add[1]"]) == "add[1] in 0"
    assert ENTRIES.words(["0.layer", "0:add[1]"]) == "0.layer and add in 0"
    assert ENTRIES.words(["0", "1", "2", "0:add", "1:add"]) == "0, 1, 2 and 2 more"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("0:ad", "Is it 'add'?"),
        ("0:add[2]", "there are 2 add, counted from 0"),
        ("3:add", "no op runs in a module of that path"),
    ],
)
def test_an_entry_that_names_nothing_is_refused_with_what_there_is(entry: str, says: str) -> None:
    with pytest.raises(InvalidTarget) as caught:
        ENTRIES.handles([entry])
    assert says in str(caught.value)
