"""Ops in the bodies of cond, map, scan and while_loop are compared as they run, in both models in step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops.associative_scan import associative_scan
from torch._higher_order_ops.map import map as map_over
from torch._higher_order_ops.scan import scan

from handlens.capture.export import capture
from handlens.capture.handles import generate_numeric_debug_handle, handle_of
from handlens.capture.nodes import graph_modules
from handlens.comparison import Comparison, merge
from handlens.comparison.compared import Compared

from .test_comparison import compared, quantized

Batch = tuple[tuple[Any, ...], dict[str, Any]]


class Controlled(nn.Module):
    """A quantized linear, and something with control flow after it."""

    def __init__(self, after: Callable[[Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 8)
        self.after = after

    def forward(self, x: Tensor) -> Any:
        return self.after(self.linear(x))


def comparison_of(
    after: Callable[[Tensor], Any], *inputs: Tensor, recipe: Any = "x86"
) -> Comparison:
    batches: list[Batch] = [((each,), {}) for each in inputs]
    _, result = quantized(Controlled(after), batches, recipe)
    comparison = compared(result, batches)
    handles = {
        handle_of(node)
        for each in graph_modules(result.reference)
        for node in each.graph.nodes
        if handle_of(node) is not None
    }
    assert handles == {each.handle for each in comparison.compared} | comparison.unmatched.keys()
    with torch.no_grad():
        for each in inputs:
            torch.testing.assert_close(
                comparison.module(each), result.reference(each), rtol=0, atol=0
            )
    return comparison


def by_op(comparison: Comparison) -> dict[str, Compared]:
    """The ops in bodies."""
    return {each.reference.name: each for each in comparison.compared if each.callers}


def cond(y: Tensor) -> Tensor:
    return torch.cond(y.sum() > 0, lambda y: y.sin() * 2, lambda y: y.cos(), (y,))


def loop(y: Tensor) -> Tensor:
    return torch.while_loop(
        lambda count, y: count < 3, lambda count, y: (count + 1, y.sin()), (torch.tensor(0), y)
    )[1]


def mapped(y: Tensor) -> Tensor:
    return map_over(lambda row: row.sin(), y)  # type: ignore[arg-type]


def scanned(y: Tensor) -> Any:
    return scan(lambda carry, row: (carry + row, row.sin()), torch.zeros(8), y)


def ungraded(y: Tensor) -> Tensor:
    with torch.no_grad():
        y = y.sin()
    return y + 1


@pytest.mark.parametrize(
    ("after", "op", "executions", "place"),
    [
        (cond, "sin", 1, "true_graph_0.sin"),
        (loop, "sin", 3, "while_loop_body_graph_0.sin"),
        (mapped, "sin", 4, "body_graph_0.sin"),
        (scanned, "sin", 4, "scan_combine_graph_0.sin"),
    ],
)
def test_ops_in_bodies_are_compared_by_path_and_counted(
    after: Callable[[Tensor], Any], op: str, executions: int, place: str
) -> None:
    x = torch.randn(4, 8)
    with torch.no_grad():
        x = x if Controlled(lambda y: y)(x).sum() > 0 else -x
        x = x if Controlled(lambda y: y)(x).sum() > 0 else x + 3
    comparison = comparison_of(after, x)
    body = by_op(comparison)[op]
    assert body.name == place
    assert body.measured.executions == executions
    ratio = body.measured.accumulated.sqnr_db
    assert ratio is not None
    assert 20 < ratio < 80
    # Nothing in it is quantized, so it only hands on what it gets.
    assert body.measured.introduced.noise == 0


def test_the_figures_of_a_body_are_those_of_the_same_ops_without_control_flow() -> None:
    x = torch.randn(4, 8)
    inside = by_op(comparison_of(mapped, x))["sin"].measured.accumulated
    plain = comparison_of(torch.sin, x).compared[-1].measured.accumulated
    assert inside.count == plain.count
    assert inside.sqnr_db == pytest.approx(plain.sqnr_db, abs=1e-6)


def test_a_branch_that_is_not_taken_is_not_executed() -> None:
    found = by_op(comparison_of(cond, torch.randn(4, 8)))
    executions = [found["sin"].measured.executions, found["cos"].measured.executions]
    assert sorted(executions) == [0, 1]


def drifting(y: Tensor) -> Tensor:
    return torch.while_loop(
        lambda count, y: count + y.mean() * 1e4 < 3,
        lambda count, y: (count + 1, y.sin()),
        (torch.tensor(-(10**3)), y),
    )[1]


def test_models_that_take_different_ways_go_on_alone_and_it_is_counted() -> None:
    x = torch.randn(4, 8)
    comparison = comparison_of(drifting, x)
    body = by_op(comparison)["sin"].measured
    assert body.executions > 10
    assert body.diverged == 1
    assert comparison.output.total.accumulated.count == 32


def test_control_flow_within_control_flow_is_compared() -> None:
    def by_sign(row: Tensor) -> Tensor:
        return torch.cond(row.sum() > 0, lambda r: r.sin(), lambda r: r.cos(), (row,))

    def nested(y: Tensor) -> Tensor:
        return map_over(by_sign, y)  # type: ignore[arg-type]

    # torchao does not convert such a graph, so it is compared with itself.
    x = torch.randn(6, 8)
    captured = capture(Controlled(nested).eval(), (x,))
    generate_numeric_debug_handle(captured.program)
    comparison = merge(captured.program.module(), captured.program.module())
    comparison.run((x,), {})
    found = by_op(comparison)
    assert found["sin"].measured.executions + found["cos"].measured.executions == 6
    assert found["sin"].name == "body_graph_0.true_graph_0.sin"
    assert [str(each.target) for each in found["sin"].callers] == ["cond", "map_impl"]


def test_a_region_without_gradients_is_compared() -> None:
    comparison = comparison_of(ungraded, torch.randn(4, 8))
    assert {"linear", "sin", "add"} <= {
        str(each.reference.target).split(".")[1]
        for each in comparison.compared
        if "." in str(each.reference.target)
    }


@pytest.mark.parametrize("recipe", ["int8-dynamic", "bf16"])
def test_what_is_mapped_by_vmap_is_compared(recipe: str) -> None:
    def mapped_by_vmap(y: Tensor) -> Tensor:
        return torch.vmap(lambda row: row.sin() * row)(y)

    x = torch.randn(4, 8)
    comparison = comparison_of(mapped_by_vmap, x, recipe=recipe)
    plain = comparison_of(lambda y: y.sin() * y, x, recipe=recipe)
    for name in ("sin", "mul"):
        measured, expected = (
            next(each.measured for each in found.compared if each.reference.name == name)
            for found in (comparison, plain)
        )
        assert measured.accumulated.sqnr_db == pytest.approx(expected.accumulated.sqnr_db, abs=1e-6)
        assert measured.introduced.sqnr_db == expected.introduced.sqnr_db


def test_an_associative_scan_is_compared() -> None:
    def scanned_in_pairs(y: Tensor) -> Tensor:
        return associative_scan(lambda a, b: a * b + a, y, 0, combine_mode="generic")

    comparison = comparison_of(scanned_in_pairs, torch.randn(4, 8))
    assert comparison.output.total.accumulated.verdict == "ok"
    assert {each.reference.name for each in comparison.compared} >= {"mul", "add", "stack", "cat"}
