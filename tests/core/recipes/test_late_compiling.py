"""Graphs that are compiled when they are called compute what others do."""

from __future__ import annotations

import operator

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, symbolic_trace

from handlens.recipes.late_compiling import late_compiling


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x


def doubling() -> GraphModule:
    return symbolic_trace(Doubling())


def compiled(module: GraphModule) -> bool:
    return "_code" in vars(module)


def test_a_graph_is_compiled_at_its_first_call() -> None:
    with late_compiling():
        model = doubling()
        assert not compiled(model)
        assert model(torch.tensor(2.0)) == 4
        assert compiled(model)


def test_a_call_after_the_block_compiles_as_well() -> None:
    with late_compiling():
        model = doubling()
    assert model(torch.tensor(2.0)) == 4
    assert "x + x" in model.code


def test_what_was_rewritten_after_a_call_is_computed() -> None:
    model = doubling()
    assert model(torch.tensor(3.0)) == 6
    with late_compiling():
        [add] = model.graph.find_nodes(op="call_function", target=operator.add)
        add.target = torch.mul
        model.recompile()
        assert model(torch.tensor(3.0)) == 9


def test_bodies_are_compiled_with_what_calls_them() -> None:
    graph = Graph()
    graph.output(graph.call_module("body", (graph.placeholder("x"),)))
    outer = GraphModule({"body": doubling()}, graph)
    with late_compiling():
        [add] = [each for each in outer.body.graph.nodes if each.op == "call_function"]
        add.target = torch.mul
        outer.recompile()
        assert outer(torch.tensor(3.0)) == 9


def test_an_exported_program_checks_its_inputs() -> None:
    program = torch.export.export(Doubling(), (torch.ones(3),))
    with late_compiling():
        model = program.module()
        with pytest.raises(ValueError, match="input tree spec"):
            model(torch.ones(3), torch.ones(3))
        with pytest.raises(AssertionError, match="3"):
            model(torch.ones(4))
        assert torch.equal(model(torch.ones(3)), torch.full((3,), 2.0))


def test_torch_is_as_before() -> None:
    before = GraphModule.recompile
    with pytest.raises(KeyError), late_compiling():
        raise KeyError
    assert GraphModule.recompile is before
    assert compiled(doubling())
