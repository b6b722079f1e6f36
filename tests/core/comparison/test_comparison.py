"""The comparison graph against an independent one: every tensor kept, every figure computed in float64."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from handlens import recipes
from handlens.capture.export import Captured, capture
from handlens.capture.handles import generate_numeric_debug_handle, handle_of
from handlens.capture.nodes import graph_modules, is_dequantize, is_quantize
from handlens.comparison import Comparison, merge
from handlens.comparison.compared import Compared
from handlens.loading.importing import Sources
from handlens.loading.module import load
from handlens.loading.subject import Subject, build
from handlens.recipes import Quantized
from handlens.source_text import read
from handlens.targets import discover
from tests.needs import needs_loops

from ..conftest import EXAMPLES

Batches = list[tuple[tuple[Any, ...], dict[str, Any]]]


def quantized(
    model: nn.Module, batches: Batches, recipe: Any = "x86"
) -> tuple[Captured, Quantized]:
    captured = capture(model.eval(), *batches[0])
    generate_numeric_debug_handle(captured.program)
    subject = Subject(model, *batches[0], calibration=batches)
    return captured, recipes.resolve(recipe).quantize(captured, subject)


def compared(quantized: Quantized, batches: Batches) -> Comparison:
    comparison = merge(quantized.reference, quantized.actual)
    for args, kwargs in batches:
        comparison.run(args, kwargs)
    return comparison


class Recording(Interpreter):
    """Keeps a copy of every tensor that a graph computes."""

    def __init__(self, model: GraphModule, replace: Callable[[Node, Any], Any]) -> None:
        super().__init__(model)
        self.values: dict[Node, Any] = {}
        self._replace = replace

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        self.values[n] = torch.utils._pytree.tree_map_only(Tensor, lambda t: t.clone(), value)
        return self._replace(n, value)


def record(
    model: GraphModule,
    args: tuple[Any, ...],
    replace: Callable[[Node, Any], Any] = lambda node, value: value,
) -> dict[Node, Any]:
    recording = Recording(copy.copy(model), replace)
    inputs = torch.utils._pytree.tree_map_only(Tensor, lambda t: t.clone(), args)
    with torch.no_grad():
        recording.run(*inputs, enable_io_processing=False)
    return recording.values


def energies(r: Any, a: Any) -> Any:
    pairs = zip(torch.utils._pytree.tree_leaves(r), torch.utils._pytree.tree_leaves(a))
    return sum(
        torch.stack([(x.double() ** 2).sum(), ((x.double() - y.double()) ** 2).sum()])
        for x, y in pairs
    )


def result_of(node: Node) -> Node:
    """What the ops after ``node`` read: its dequantized output, where it is quantized."""
    quantize = next((user for user in node.users if is_quantize(user)), None)
    return next(iter(quantize.users)) if quantize is not None else node


def independent_sqnr(quantized: Quantized, batches: Batches) -> dict[int, float]:
    """Accumulated SQNR by handle, from full tensors."""
    totals: dict[int, Tensor] = {}
    for args, _ in batches:
        reference = record(quantized.reference, args)
        actual = record(quantized.actual, args)
        references = {handle_of(n): value for n, value in reference.items() if handle_of(n)}
        for node in actual:
            handle = handle_of(node)
            if handle is not None and not is_dequantize(node) and handle in references:
                pair = energies(references[handle], actual[result_of(node)])
                totals[handle] = totals.get(handle, torch.zeros(2)) + pair
    return {
        handle: float(10 * torch.log10(signal / noise))
        for handle, (signal, noise) in totals.items()
        if noise > 0 and signal > 0
    }


def example(name: str) -> tuple[nn.Module, Batches, Batches]:
    file = str(EXAMPLES / name)
    subject = build(discover(read(file), file)[0], load(Sources(file, read(file))))
    return subject.model, list(subject.calibration_inputs()), list(subject.evaluation_inputs())


@pytest.mark.parametrize("recipe", ["x86", "xnnpack"])
@pytest.mark.parametrize("name", ["tiny_cnn.py", "transformer_block.py", "efficientnet_lite.py"])
def test_accumulated_sqnr_is_that_of_full_tensors(name: str, recipe: str) -> None:
    model, calibration, evaluation = example(name)
    _, result = quantized(model, calibration, recipe)
    expected = independent_sqnr(result, evaluation)
    measured = {
        each.handle: each.measured.accumulated.sqnr_db
        for each in compared(result, evaluation).compared
    }
    measured = {handle: value for handle, value in measured.items() if value is not None}
    assert len(expected) > 5
    assert measured == pytest.approx(expected, abs=1e-3)


_RECIPES = [
    "arm",
    "embedding",
    "x86+embedding",
    "bf16",
    "fp16",
    "int8-weight-only",
    "int8-dynamic",
    "int4-weight-only",
]


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        *itertools.product(
            ["tiny_cnn.py", "transformer_block.py", "efficientnet_lite.py"], ["x86", "xnnpack"]
        ),
        *itertools.product(["tiny_cnn.py", "transformer_block.py"], _RECIPES),
    ],
)
def test_the_quantized_side_has_the_bits_of_the_plain_converted_model(
    name: str, recipe: str
) -> None:
    model, calibration, evaluation = example(name)
    _, result = quantized(model, calibration, recipe)
    (args, _), *_ = evaluation
    expected = record(result.actual, args)
    comparison = merge(result.reference, result.actual)
    wrong: list[str] = []
    for each in comparison.compared:

        def check(_: nn.Module, inputs: tuple[Any, ...], each: Compared = each) -> None:
            for value, node in zip(inputs[1], results_of(each.actual)):
                if isinstance(value, Tensor) and bits(value) != bits(expected[node]):
                    wrong.append(each.name)

        each.recorder.register_forward_pre_hook(check)
    comparison.run(args, {})
    assert not wrong
    assert ("Fake" in str(comparison.module)) == recipe.startswith(("x86", "arm", "xnnpack"))


def results_of(node: Node) -> list[Node]:
    """What the ops after ``node`` read: what each of its quantizers makes of it, or its output."""
    quantizers = [user for user in node.users if is_quantize(user)]
    return [next(iter(each.users)) for each in quantizers] or [node]


def bits(value: Tensor) -> bytes:
    return bytes(value.flatten().view(torch.uint8).numpy().tobytes())


class Chain(nn.Module):
    def __init__(self, length: int = 4) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(length))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x


def _only(module: str) -> Callable[[], Any]:
    """A recipe that quantizes weight and output of the linear in one module, and nothing else."""
    from torchao.quantization.pt2e import MinMaxObserver
    from torchao.quantization.pt2e.quantizer import (
        QuantizationAnnotation,
        QuantizationSpec,
        Quantizer,
    )

    spec = QuantizationSpec(
        torch.int8,
        MinMaxObserver,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_symmetric,
    )

    class OneLinear(Quantizer):
        def annotate(self, model: GraphModule) -> GraphModule:
            for node in model.graph.nodes:
                stack = list((node.meta.get("nn_module_stack") or {}).values())
                if node.target is torch.ops.aten.linear.default and stack[-1][0] == module:
                    node.meta["quantization_annotation"] = QuantizationAnnotation(
                        {node.args[1]: spec}, spec, _annotated=True
                    )
            return model

        def validate(self, model: GraphModule) -> None:
            return None

    return OneLinear


def test_where_one_op_is_quantized_only_that_op_introduces_error() -> None:
    batches: Batches = [((torch.randn(4, 8),), {})]
    _, result = quantized(Chain(), batches, _only("layers.1"))
    found = compared(result, batches).compared
    introducing = [each for each in found if each.measured.introduced.noise > 0]
    assert [each.actual.target for each in introducing] == [torch.ops.aten.linear.default]
    only = introducing[0]
    assert {each.role for each in only.quantizers} == {"weight", "output"}
    assert only.measured.introduced.sqnr_db == only.measured.accumulated.sqnr_db
    before = [each for each in found if each.handle < only.handle]
    after = [each for each in found if each.handle > only.handle]
    assert len(before) == 2
    assert len(after) == 5
    assert all(each.measured.accumulated.verdict == "exact" for each in before)
    assert all(each.measured.accumulated.noise > 0 for each in after)


def test_introduced_error_is_the_op_done_the_quantized_way_on_reference_inputs() -> None:
    torch.manual_seed(0)
    batches: Batches = [((torch.randn(4, 8),), {})]
    _, result = quantized(Chain(), batches)
    (args, _), *_ = batches
    reference = record(result.reference, args)
    by_handle = {handle_of(n): value for n, value in reference.items() if handle_of(n)}

    def from_reference(node: Node, value: Any) -> Any:
        # After an op and its quantizers every reader goes on with the reference's value.
        handle = handle_of(node)
        if handle is None or not any(map(is_reader, node.users)):
            return value
        return by_handle[handle].clone()

    def is_reader(node: Node) -> bool:
        return not is_quantize(node)

    actual = record(result.actual, args, from_reference)
    found = compared(result, batches).compared
    checked = 0
    for each in found:
        signal, noise = energies(by_handle[each.handle], actual[result_of(each.actual)])
        if noise > 0:
            expected = float(10 * torch.log10(signal / noise))
            assert each.measured.introduced.sqnr_db == pytest.approx(expected, abs=1e-3)
            checked += 1
    assert checked == 7


def test_an_op_that_only_moves_quantized_values_introduces_nothing() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, 4, 3)
            self.second = nn.Conv2d(4, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.max_pool2d(self.first(x), 2))

    batches: Batches = [((torch.randn(1, 3, 16, 16),), {})]
    _, result = quantized(Pooled(), batches, "xnnpack")
    found = {str(each.actual.target): each for each in compared(result, batches).compared}
    pool = found["aten.max_pool2d.default"]
    assert pool.quantizers
    assert pool.measured.introduced.noise == 0
    assert pool.measured.accumulated.noise > 0


def test_operations_in_place_do_not_disturb_the_comparison() -> None:
    class InPlace(nn.Module):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(8, 8)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            x.mul_(2)
            y = self.linear(x)
            y[:, 0] = 0
            y.relu_()
            self.calls.add_(1)
            return y + x + self.calls

    class OutOfPlace(InPlace):
        def forward(self, x: Tensor) -> Tensor:
            x = x * 2
            y = self.linear(x)
            y = torch.cat([torch.zeros_like(y[:, :1]), y[:, 1:]], 1).relu()
            return y + x + 1

    x = torch.randn(4, 8)
    sqnr = []
    for kind in (InPlace, OutOfPlace):
        _, result = quantized(kind(), [((x.clone(),), {})])
        given = x.clone()
        total = compared(result, [((given,), {})]).output.total.accumulated
        sqnr.append(total.noise)
    assert sqnr[0] > 0
    assert sqnr[0] == pytest.approx(sqnr[1], rel=1e-3)


def test_the_comparison_computes_what_the_reference_computes() -> None:
    model, calibration, evaluation = example("transformer_block.py")
    _, result = quantized(model, calibration)
    comparison = merge(result.reference, result.actual)
    args, kwargs = evaluation[0]
    with torch.no_grad():
        assert torch.equal(comparison.module(*args, **kwargs), result.reference(*args, **kwargs))


def test_dictionaries_and_keyword_inputs_are_compared() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(4, 4)

        def forward(self, inputs: dict[str, Tensor], *, scale: Tensor) -> dict[str, Any]:
            y = self.linear(inputs["x"]) * scale
            return {"y": y, "more": [y + 1, (y.argmax(), None)]}

    batches: Batches = [(({"x": torch.randn(2, 4)},), {"scale": torch.tensor(2.0)})] * 2
    _, result = quantized(Nested(), batches)
    total = compared(result, batches).output.total.accumulated
    assert total.count == 2 * (8 + 8)
    assert total.verdict == "ok"


def test_neither_graph_is_changed() -> None:
    batches: Batches = [((torch.randn(4, 8),), {})]
    _, result = quantized(Chain(), batches)
    before = [str(result.reference.graph), str(result.actual.graph)]
    compared(result, batches)
    assert [str(result.reference.graph), str(result.actual.graph)] == before


def test_random_operations_throw_the_same_dice_on_both_sides() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            y = torch.dropout(self.linear(x), 0.5, train=True)
            return y + torch.rand(8) + torch.randn_like(y)

    batches: Batches = [((torch.randn(4, 8),), {})]
    _, result = quantized(Noisy(), batches)
    found = {str(each.actual.target): each for each in compared(result, batches).compared}
    assert found["aten.rand.default"].measured.accumulated.verdict == "exact"
    assert found["aten.dropout.default"].measured.accumulated.sqnr_db > 30  # type: ignore[operator]


@needs_loops
def test_a_quantized_loop_body_is_compared_with_the_float_one() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            def more(count: Tensor, y: Tensor) -> Tensor:
                return count < 3

            def step(count: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
                return count + 1, y * 1.5 + y

            return torch.while_loop(more, step, (torch.tensor(0), self.linear(x)))[1]

    batches: Batches = [((torch.randn(4, 8),), {})]
    captured, result = quantized(Loop(), batches, "xnnpack")
    bodies = [
        "".join(str(body.graph) for body in list(graph_modules(model))[1:])
        for model in (captured.program, result.reference, result.actual)
    ]
    assert ["dequantize" in body for body in bodies] == [False, False, True]
    assert all("observer" not in body and "post_process" not in body for body in bodies)
    assert compared(result, batches).output.total.accumulated.verdict == "ok"


def test_an_op_in_place_with_a_quantized_constant_leaves_the_reference_alone() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(8, 8)
            self.shift = nn.Parameter(torch.randn(8))

        def forward(self, x: Tensor) -> Tensor:
            y = self.linear(x)
            y += self.shift
            return y * 2

    batches: Batches = [((torch.randn(4, 8),), {})]
    _, result = quantized(Shifted(), batches, "xnnpack")
    comparison = compared(result, batches)
    (args, _), *_ = batches
    with torch.no_grad():
        assert torch.equal(comparison.module(*args), result.reference(*args))
    found = {str(each.actual.target): each for each in comparison.compared}
    shifted = found["aten.add_.Tensor"]
    assert {each.role for each in shifted.quantizers} == {"weight", "output"}
    assert shifted.measured.introduced.sqnr_db > 30  # type: ignore[operator]


def test_each_side_keeps_its_own_state() -> None:
    class Remembering(nn.Module):
        memory: Tensor

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(8, 8)
            self.register_buffer("memory", torch.zeros(4, 8))

        def forward(self, x: Tensor) -> Tensor:
            self.memory.add_(self.linear(x))
            return self.memory * 1.5

    batches: Batches = [((torch.randn(4, 8),), {}) for _ in range(3)]
    _, result = quantized(Remembering(), batches)
    alone = [copy.deepcopy(side) for side in (result.reference, result.actual)]
    expected = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for args, _ in batches:
            expected += energies(*(side(*args) for side in alone))
    total = compared(result, batches).output.total.accumulated
    assert [total.signal, total.noise] == pytest.approx(expected.tolist(), rel=1e-5)
