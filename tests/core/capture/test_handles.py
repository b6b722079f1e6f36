"""Debug handles: given once to every operation, and carried through everything that torch does."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torchao.testing.pt2e._xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)

import handlens
from handlens.capture.handles import CUSTOM_KEY, NUMERIC_DEBUG_HANDLE_KEY, handle_of
from handlens.capture.nodes import graph_modules, is_dequantize, is_observer, is_quantize
from tests.handle_models import CASES, ConvSqueezeConv

STRICTNESS = pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
MODELS = pytest.mark.parametrize("name", CASES)


@cache
def _exported(name: str, strict: bool) -> ExportedProgram:
    model, inputs = CASES[name]
    return torch.export.export(model().eval(), inputs, strict=strict)


def _export(name: str, strict: bool) -> ExportedProgram:
    return copy.deepcopy(_exported(name, strict))


def _with_handles(name: str, strict: bool) -> ExportedProgram:
    program = _export(name, strict)
    handlens.generate_numeric_debug_handle(program)
    return program


def _nodes(model: ExportedProgram | GraphModule) -> Iterator[Node]:
    for graph_module in graph_modules(model):
        yield from graph_module.graph.nodes


def _operations(model: ExportedProgram | GraphModule) -> list[Node]:
    # Exported modules begin with a guard that is none of the program's operations.
    return [
        node
        for node in _nodes(model)
        if node.op not in ("placeholder", "output", "get_attr") and node.target != "_guards_fn"
    ]


def _handles(model: ExportedProgram | GraphModule) -> list[int | None]:
    return [handle_of(node) for node in _operations(model)]


def _quantizer() -> XNNPACKQuantizer:
    config = get_symmetric_quantization_config(is_per_channel=False)
    return XNNPACKQuantizer().set_global(config)


@STRICTNESS
@MODELS
def test_every_operation_has_a_handle_of_its_own(name: str, strict: bool) -> None:
    program = _with_handles(name, strict)
    noted = [
        handle
        for node in _nodes(program)
        if (handle := node.meta.get(CUSTOM_KEY, {}).get(NUMERIC_DEBUG_HANDLE_KEY)) is not None
    ]
    # A node that names the body of a control-flow op has one, too, and is no operation.
    bodies = [node for node in _nodes(program) if node.op == "get_attr"]
    assert noted == list(range(1, len(_operations(program)) + len(bodies) + 1))
    assert len(_handles(program)) == len(_operations(program))
    others = [node for node in _nodes(program) if node.op in ("placeholder", "output", "get_attr")]
    assert others
    assert all(handle_of(node) is None for node in others)


@STRICTNESS
def test_operations_inside_nested_control_flow_have_handles(strict: bool) -> None:
    program = _with_handles("cond-in-map", strict)
    inner = {
        str(node.target)
        for graph_module in list(graph_modules(program))[1:]
        for node in graph_module.graph.nodes
        if handle_of(node) is not None
    }
    assert {"aten.sin.default", "aten.cos.default", "aten.mul.Tensor"} <= inner


@STRICTNESS
@MODELS
def test_generating_again_changes_nothing(name: str, strict: bool) -> None:
    program = _with_handles(name, strict)
    before = _handles(program)
    handlens.generate_numeric_debug_handle(program)
    assert _handles(program) == before


@STRICTNESS
@MODELS
def test_an_operation_added_since_gets_a_fresh_handle(name: str, strict: bool) -> None:
    program = _with_handles(name, strict)
    before = _handles(program)
    graph = program.graph_module.graph
    first = _operations(program)[0]
    with graph.inserting_after(first):
        added = graph.call_function(torch.ops.aten.relu.default, (first,))
    handlens.generate_numeric_debug_handle(program)
    assert handle_of(added) == max(filter(None, before)) + 1
    assert [handle_of(node) for node in _operations(program) if node is not added] == before


def test_only_an_exported_program_can_be_given_handles() -> None:
    with pytest.raises(ValueError, match="ConvSqueezeConv"):
        handlens.generate_numeric_debug_handle(ConvSqueezeConv())  # type: ignore[arg-type]


@STRICTNESS
@MODELS
def test_handles_survive_copies_and_module(name: str, strict: bool) -> None:
    program = _with_handles(name, strict)
    before = _handles(program)
    assert _handles(copy.copy(program)) == before
    assert _handles(copy.deepcopy(program)) == before
    assert _handles(program.module()) == before
    assert _handles(copy.copy(program.module())) == before
    assert _handles(copy.deepcopy(program.module())) == before


@STRICTNESS
@pytest.mark.parametrize("again_strict", [False, True], ids=["to-non-strict", "to-strict"])
@MODELS
def test_handles_survive_export_of_the_exported_module(
    name: str, strict: bool, again_strict: bool
) -> None:
    program = _with_handles(name, strict)
    by_op = sorted((str(node.target), handle_of(node)) for node in _operations(program))
    again = torch.export.export(program.module(), CASES[name][1], strict=again_strict)
    assert sorted((str(node.target), handle_of(node)) for node in _operations(again)) == by_op
    handlens.generate_numeric_debug_handle(again)
    written = [
        (str(node.target), node.meta["custom"]["numeric_debug_handle"])
        for node in _operations(again)
    ]
    assert sorted(written) == by_op


@STRICTNESS
@MODELS
def test_what_a_decomposition_makes_has_the_handle_of_its_ancestor(name: str, strict: bool) -> None:
    program = _with_handles(name, strict)
    before = set(_handles(program))
    decomposed = program.run_decompositions()
    for node in _operations(decomposed):
        assert handle_of(node) in before, node.name
    if name == "two-linears":
        # A linear becomes a transposition and a product, both its descendants.
        permutes = [n for n in _operations(decomposed) if "permute" in str(n.target)]
        products = [n for n in _operations(decomposed) if "addmm" in str(n.target)]
        assert [handle_of(n) for n in permutes] == [handle_of(n) for n in products] == [1, 2]


@STRICTNESS
def test_quantization_doubles_each_handle_of_a_quantized_chain(strict: bool) -> None:
    program = _with_handles("conv2d-squeeze-conv1d", strict)
    prepared = handlens.prepare_pt2e(program.module(), _quantizer())
    assert Counter(h for n in _nodes(prepared) if (h := handle_of(n))) == {1: 2, 2: 2, 3: 2}
    prepared(*CASES["conv2d-squeeze-conv1d"][1])
    converted = handlens.convert_pt2e(prepared)
    assert Counter(h for n in _nodes(converted) if (h := handle_of(n))) == {1: 2, 2: 2, 3: 2}


@STRICTNESS
@pytest.mark.parametrize("name", ["conv2d-squeeze-conv1d", "two-linears", "split"])
def test_observers_and_dequantizers_have_the_handle_of_what_they_observe(
    name: str, strict: bool
) -> None:
    program = _with_handles(name, strict)
    by_name = {node.name: handle_of(node) for node in program.graph.nodes}
    prepared = handlens.prepare_pt2e(program.module(), _quantizer())
    observers = [node for node in prepared.graph.nodes if is_observer(node)]
    assert observers
    for node in observers:
        assert handle_of(node) == by_name.get(node.args[0].name)
    prepared(*CASES[name][1])
    converted = handlens.convert_pt2e(prepared)
    dequantizers = [node for node in converted.graph.nodes if is_dequantize(node)]
    assert dequantizers
    for node in dequantizers:
        quantize = node.args[0]
        if is_quantize(quantize):
            assert handle_of(quantize) is None
            assert handle_of(node) == by_name.get(quantize.args[0].name)
        else:
            assert handle_of(node) is None, "a weight is no operation"


def test_every_node_but_inputs_and_outputs_is_visited_bodies_included() -> None:
    program = _export("cond-in-map", strict=False)
    visited: list[Node] = []
    handlens.bfs_trace_with_node_process(program, visited.append)
    assert visited == [n for n in _nodes(program) if n.op not in ("placeholder", "output")]
    assert len({node.graph for node in visited}) == 4
