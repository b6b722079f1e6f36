"""The figures of the comparison are true: hard models and all recipes, against an independent oracle.

``python -m tests.core.comparison.test_oracle`` prints how many ops of each model are compared, and differ.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree
from torchao.quantization.pt2e.observer import HistogramObserver

from handlens import recipes
from handlens.capture.export import Captured, capture
from handlens.capture.handles import generate_numeric_debug_handle
from handlens.comparison import Comparison, Measurements, Statistics, merge
from handlens.loading.subject import Subject
from handlens.recipes import Quantized

from ..hard_models import CASES, VARIED
from ..oracle import (
    Batch,
    Energies,
    Oracle,
    State,
    Truth,
    handles_of,
    output_of,
    run_alone,
    snapshot,
    started,
    tensors_of,
    written_by,
)
from ..quantizing import captured

RECIPES = (*recipes.RECIPES, "x86+embedding")


@dataclass(frozen=True)
class Exported:
    """A model's program, and all that tells one run of it from another."""

    subject: Subject
    captured: Captured
    state: State
    """The tensors that whoever runs the program may change."""
    given: State
    """Copies of them, from before anybody did."""
    written: State
    """Those of the copies that running the program changes."""
    evaluation: tuple[Batch, ...]

    def restored(self) -> Exported:
        """The same, as it was before anybody ran it."""
        with torch.no_grad():
            for name, value in self.state.items():
                value.copy_(self.given[name])
        return self


@cache
def exported(model: str) -> Exported:
    case = CASES[model]
    torch.manual_seed(0)
    module = case.make().eval()
    calibration, evaluation = (
        tuple(case.batch() for _ in range(case.batches)) for _ in ("calibration", "evaluation")
    )
    args, kwargs = snapshot(calibration[0])
    program = capture(module, args, kwargs, case.dynamic_shapes)
    generate_numeric_debug_handle(program.program)
    graph = program.program.module()
    subject = Subject(
        module, args, kwargs, case.dynamic_shapes, calibration, keep_float=case.keep_float
    )
    state = tensors_of(graph)
    written = written_by(graph, calibration)
    return Exported(subject, program, state, snapshot(state), written, evaluation)


@dataclass(frozen=True)
class Known:
    """A model quantized by a recipe, and what is true of it."""

    quantized: Quantized
    truth: Truth
    exported: Exported

    def compared(self) -> Comparison:
        """What the comparison shows of the same batches, with the same dice."""
        comparison = merge(self.quantized.reference, self.quantized.actual)
        for seed, batch in enumerate(self.exported.evaluation):
            args, kwargs = snapshot(batch)
            torch.manual_seed(seed)
            comparison.run(args, kwargs)
        return comparison


def known(model: str, recipe: str) -> Known:
    """Raises whatever quantizing raises."""
    found = exported(model).restored()
    subject = dataclasses.replace(found.subject, calibration=snapshot(found.subject.calibration))
    torch.manual_seed(1)
    # A third of the time goes into the search for the best range; any range does here.
    with patch.object(
        HistogramObserver, "_non_linear_param_search", lambda self: (self.min_val, self.max_val)
    ):
        quantized = recipes.resolve(recipe).quantize(found.captured, subject)
    oracle = Oracle(quantized, found.written)
    for seed, batch in enumerate(found.evaluation):
        oracle.run(batch, seed)
    return Known(quantized, oracle.truth, found)


# -- what is shown against what is true ------------------------------------------------------------

_TOLERANCE_DB = 0.01
_ROUNDING_DB = 110.0
"""Ratios above it are those of float32's own rounding."""
_NEARLY_EXACT_DB = 100.0


def differences(known: Known, comparison: Comparison) -> list[str]:
    """A line for each figure that is shown and not true, or true and not shown."""
    shown = {(each.handle, each.name): each.measured for each in comparison.compared}
    unmatched = comparison.unmatched
    lines: list[str] = []
    for (handle, name), true in known.truth.ops.items():
        place = f"{handle} {name}"
        measured = shown.pop((handle, name), None)
        reason = unmatched.get(handle, "") if measured is None else _reason(measured)
        if measured is None or true.incomparable or reason:
            if bool(true.incomparable) != (measured is None or bool(reason)):
                said = reason or (_figure(measured.accumulated) if measured else "missing")
                lines.append(f"{place}: {said} -> {true.incomparable or _figure(true.accumulated)}")
            continue
        lines += _line(f"{place} accumulated", measured.accumulated, true.accumulated)
        if measured.introduced_verdict != "exact" or true.introduced.verdict != "exact":
            lines += _line(f"{place} introduced", measured.introduced, true.introduced)
    lines += [f"{handle} {name}: shown -> not in both graphs" for handle, name in shown]
    total, true_total = comparison.output.total.accumulated, known.truth.output
    if bool(total.mismatch) != bool(true_total.mismatch):
        lines.append(f"output: {total.mismatch!r} -> {true_total.mismatch!r}")
    elif not total.mismatch:
        lines += _line("output", total, true_total)
    # What a recipe has folded away is in neither graph.
    there = handles_of(known.exported.captured.program) & handles_of(known.quantized.reference)
    lines += [
        f"{handle}: neither compared nor unmatched"
        for handle in sorted(there - {each.handle for each in comparison.compared})
        if handle not in unmatched
    ]
    return lines


def _reason(measured: Measurements) -> str:
    """Why what was measured at an op says nothing, if it does not."""
    total = measured.accumulated
    if total.mismatch:
        return total.mismatch
    if measured.diverged or not measured.executions:
        return "executed by one of the models only, or by none"
    return "" if total.count or total.non_finite else "nothing to compare"


def _line(place: str, shown: Statistics, true: Energies) -> list[str]:
    return [] if _agree(shown, true) else [f"{place}: {_figure(shown)} -> {_figure(true)}"]


def _agree(shown: Statistics, true: Energies) -> bool:
    if true.verdict == "exact" and not true.signal:
        return shown.verdict in ("exact", "no-signal") and not shown.noise
    ratios = [each.sqnr_db for each in (shown, true)]
    if shown.verdict == "no-signal" and not shown.noise:
        return true.verdict == "exact" and not true.signal
    if true.verdict == "exact" or (ratios[1] is not None and ratios[1] > _ROUNDING_DB):
        return shown.verdict == "exact" or (ratios[0] or 0.0) > _NEARLY_EXACT_DB
    if shown.verdict != true.verdict or ratios[0] is None or ratios[1] is None:
        return shown.verdict == true.verdict
    return abs(ratios[0] - ratios[1]) <= _TOLERANCE_DB


def _figure(figures: Statistics | Energies) -> str:
    ratio = figures.sqnr_db
    return figures.verdict if ratio is None else f"{ratio:.3f} dB"


ALL_PAIRS = [(model, recipe) for model in CASES for recipe in RECIPES]
_REPEATING = ("arm", "embedding", "int8-weight-only", "int4-weight-only", "fp16", "x86+embedding")
"""Recipes that go the way of another one: some models do."""
PAIRS = [
    (model, recipe) for model, recipe in ALL_PAIRS if recipe not in _REPEATING or model in VARIED
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """For models as small as these, threads only cost time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("model", "recipe"), PAIRS)
def test_what_is_shown_is_true(model: str, recipe: str) -> None:
    truth = known(model, recipe)
    found = differences(truth, truth.compared())
    assert not found, "\n".join(["shown -> true:", *found])


# -- the oracle itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        *((model, "int8-dynamic") for model in CASES),
        *((model, "bf16") for model in ("Upcasting", "KeptState", "Recurrent")),
    ],
)
def test_the_oracle_runs_what_the_graphs_compute(model: str, recipe: str) -> None:
    found = exported(model).restored()
    quantized = recipes.resolve(recipe).quantize(found.captured, found.subject)
    batch = found.evaluation[0]
    for graph in (quantized.reference, quantized.actual):
        expected = output_of(graph, found.written, batch, seed=5)
        given = run_alone(graph, started(graph, found.written), batch, seed=5).output
        pairs = zip(pytree.tree_leaves(expected), pytree.tree_leaves(given), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(other, one, rtol=0, atol=0, equal_nan=True)


class _Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.3))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight) + 1


def _chain() -> Quantized:
    """A product with a weight in steps of a half and an output in whole steps, and a sum of floats."""
    program = captured(_Chain(), torch.zeros(2)).program
    reference, actual = program.module(), program.module()
    weight, product = named_nodes(actual, "weight", "mul")
    for node, step in ((weight, 0.5), (product, 1.0)):
        arguments = (step, 0, -128, 127, torch.int8)
        with actual.graph.inserting_after(node):
            quantize = actual.graph.call_function(_ops.quantize_per_tensor.default)
        with actual.graph.inserting_after(quantize):
            dequantize = actual.graph.call_function(
                _ops.dequantize_per_tensor.default, (quantize, *arguments)
            )
        node.replace_all_uses_with(dequantize)
        quantize.args = (node, *arguments)
    actual.recompile()
    return Quantized(reference, actual)


_ops = torch.ops.quantized_decomposed


def named_nodes(model: GraphModule, *names: str) -> list[Node]:
    by_name = {node.name: node for node in model.graph.nodes}
    return [by_name[name] for name in names]


def test_a_chain_of_two_ops_worked_out_by_hand() -> None:
    oracle = Oracle(_chain(), {})
    oracle.run(((torch.tensor([1.0, 2.0]),), {}), 0)
    product, total = oracle.truth.ops.values()
    # 1.3 and 2.6; with a weight of 1.5 they are 1.5 and 3, which round to 2 and 3.
    for figures in (product.accumulated, product.introduced):
        assert figures.signal == pytest.approx(1.3**2 + 2.6**2)
        assert figures.noise == pytest.approx(0.7**2 + 0.4**2)
        assert figures.sqnr_db == pytest.approx(10 * math.log10(8.45 / 0.65))
    for figures in (total.accumulated, oracle.truth.output):
        assert (figures.signal, figures.noise) == pytest.approx((2.3**2 + 3.6**2, 0.65))
    assert total.introduced.verdict == "exact"


def test_half_precision_worked_out_by_hand() -> None:
    model = _Chain()
    small = 2.0**-9
    with torch.no_grad():
        model.weight.fill_(1 + small)
    program = captured(model, torch.ones(1))
    quantized = recipes.resolve("bf16").quantize(program, Subject(model, (torch.ones(1),)))
    oracle = Oracle(quantized, {})
    oracle.run(((torch.tensor([1 + small]),), {}), 0)
    product, total = oracle.truth.ops.values()
    # The smallest step above one is 2**-7: both factors round to one.
    assert product.accumulated.noise == pytest.approx(((1 + small) ** 2 - 1) ** 2, rel=1e-3)
    # The op that reads the model's input answers for its cast.
    assert product.introduced.signal == pytest.approx((1 + small) ** 4)
    assert product.introduced.noise == pytest.approx(product.accumulated.noise)
    # The float product rounds to 1 + 2**-7, and with one added to 2: above two, steps are twice as large.
    assert total.introduced.noise == pytest.approx(2.0**-14)
    assert total.accumulated.noise == pytest.approx(product.accumulated.noise)


def test_values_are_those_of_the_moment_and_state_goes_on() -> None:
    found = exported("ActivationInPlaceUnderView").restored()
    graph = found.captured.program.module()
    log = run_alone(graph, snapshot(tensors_of(graph)), found.evaluation[0], 0)
    values = {node.name: each[0] for node, each in log.values.items()}
    assert float(values["conv2d"].min()) < 0
    assert float(values["flatten"].min()) < 0
    assert (
        float(log.reads[named_nodes(graph, "linear")[0]][0][named_nodes(graph, "flatten")[0]].min())
        == 0
    )

    found = exported("Remembering").restored()
    graph = found.captured.program.module()
    state = snapshot(tensors_of(graph))
    for batch in found.evaluation:
        run_alone(graph, state, batch, 0)
    assert int(state["calls"]) == len(found.evaluation)
    assert int(found.state["calls"]) == 0
    assert found.written.keys() == {"memory", "calls"}


def test_a_figure_that_is_a_little_off_is_seen() -> None:
    truth = known("SharedTwice", "x86")
    comparison = truth.compared()
    assert differences(truth, comparison) == []
    figures = list(truth.truth.ops.values())[1]
    for energies in (figures.accumulated, figures.introduced, truth.truth.output):
        kept, energies.noise = energies.noise, energies.noise * 1.005 + 1e-3
        assert len(differences(truth, comparison)) == 1
        energies.noise = kept
    truth.truth.ops[99, "more"] = figures
    assert differences(truth, comparison) == [f"99 more: missing -> {_figure(figures.accumulated)}"]


def test_another_weight_is_seen() -> None:
    truth = known("SharedTwice", "x86")
    actual = truth.quantized.actual
    weight = next(v for v in tensors_of(actual).values() if v.dtype == torch.int8)
    weight[0, 0] += 3 if weight[0, 0] < 0 else -3
    lines = differences(truth, truth.compared())
    assert any("linear introduced" in line for line in lines)
    assert any(line.startswith("output") for line in lines)


def _print_table() -> None:
    """How many ops are compared and how many lines differ, by model and recipe; then the lines."""
    torch.set_num_threads(1)
    for model, recipe in ALL_PAIRS:
        try:
            truth = known(model, recipe)
            found = differences(truth, truth.compared())
            count = f"{len(truth.truth.ops):4} compared{len(found):4} differ"
        except Exception as error:
            count = "failed"
            found = [f"{type(error).__name__}: {str(error)[:200]}".replace("\n", " ")]
        print(f"{model:30}{recipe:18}{count}")
        for line in found:
            print(f"    {line}", flush=True)


if __name__ == "__main__":
    _print_table()
