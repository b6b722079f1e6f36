"""Finds out whether a run would measure what an earlier one has measured: most edits change no number.

What is measured is decided by the exported program and its tensors, the batches, the recipe, and torch's
settings. Where nothing else can have a part in it, these have a digest. A run exports the edited model, and
if an earlier one had the same digest, takes over what that has measured, at the places of the new source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from handlens import digests, recipes
from handlens.capture.export import Captured
from handlens.capture.handles import handle_of, nodes_by_handle
from handlens.capture.nodes import graph_modules, op_name
from handlens.capture.places import Places
from handlens.comparison.ops import is_random
from handlens.comparison.random_state import RandomState
from handlens.loading.subject import Subject
from handlens.patches import is_patched
from handlens.recipes import Recipe
from handlens.recipes.pt2e import Pt2eRecipe
from handlens.report import OpReport, Report, StaysInFloat, Unmatched
from handlens.request import AdviceRequest
from handlens.verification import run_model


@dataclass(frozen=True)
class Earlier:
    """What an earlier run has measured."""

    by_model: str
    """The digest of what the model itself gave for the first evaluation batch."""
    report: Report


def decided_by(
    captured: Captured, subject: Subject, recipe: Recipe, advise: AdviceRequest | None
) -> str | None:
    """The digest of all that decides what is measured, but for what the model itself computes.

    Returns None if something else may have a part in it: code of the user's that the program does not show
    (a metric, an op or a kernel, a recipe, or one that calls the model), batches that cannot be made
    twice, or random numbers.
    """
    program = captured.program
    tensors = {**program.state_dict, **program.constants}
    batches = pytree.tree_leaves((subject.calibration, subject.evaluation))
    if not (
        subject.metric is None
        and _is_built_in(recipe)
        and not is_patched()
        and digests.are_plain((subject.calibration, subject.evaluation))
        and all(type(each) in digests.TENSORS for each in tensors.values())
        # Bodies of control flow have modules of their own.
        and len(list(graph_modules(program))) == 1
        and all(map(_is_torch_s_own, program.graph.nodes))
    ):
        return None
    texts = (
        recipe.name,
        repr((subject.keep_float, subject.adjust, advise)),
        repr((program.graph_signature, program.call_spec, program.range_constraints)),
        *map(_text, program.graph.nodes),
        *(f"{name} {type(each).__qualname__}" for name, each in subject.model.named_modules()),
        repr(sorted({str(each.dtype) for each in subject.model.parameters()})),
        repr(pytree.tree_structure((subject.calibration, subject.evaluation))),
        *map(repr, digests.settings()),
        *digests.layouts([*tensors.values(), *batches]),
    )
    return digests.of((*texts, *tensors, *tensors.values(), *batches))


def by_model(subject: Subject) -> str:
    """The digest of what the model itself gives for the first evaluation batch; empty if it fails."""
    now = RandomState()
    batch = next(subject.evaluation_batches())
    outputs = run_model(subject, batch.inputs)
    now.restore()
    return "" if isinstance(outputs, str) else digests.of(outputs)


def can_be_taken_over(report: Report, captured: Captured, places: Places) -> bool:
    """True if a run with the same digest may take over a report, but for the places of the ops."""
    verified = report.verified
    return (
        report.status == "ok"
        and report.non_finite is None
        and verified is not None
        and verified.verdict in ("exact", "ok")
        and placed(report, captured, places) == report
    )


def placed(report: Report, captured: Captured, places: Places) -> Report:
    """A report of the same ops at their places in another source."""
    nodes = nodes_by_handle(captured.program)

    def op(found: OpReport) -> OpReport:
        spans, shown = places.of(captured.spans(nodes[found.handle]))
        return replace(found, spans=spans, shown=shown)

    def entry(found: Any) -> Any:
        return replace(found, span=places.shown(captured.spans(nodes[found.handle])))

    coverage = report.coverage
    if coverage is not None:
        unmatched: tuple[Unmatched, ...] = tuple(map(entry, coverage.unmatched))
        in_float: tuple[StaysInFloat, ...] = tuple(map(entry, coverage.in_float))
        coverage = replace(coverage, unmatched=unmatched, in_float=in_float)
    return replace(report, ops=tuple(map(op, report.ops)), coverage=coverage)


def _is_built_in(recipe: Recipe) -> bool:
    """True for recipes that start from the exported program alone, and whose code is not the user's."""
    return isinstance(recipe, Pt2eRecipe) and recipes.RECIPES.keys() >= set(recipe.name.split("+"))


def _is_torch_s_own(node: Node) -> bool:
    if node.op != "call_function":
        return node.op in ("placeholder", "output")
    is_aten = isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "aten"
    return (is_aten or op_name(node) == "getitem") and not is_random(node)


def _text(node: Node) -> str:
    """All that a recipe or a report takes from a node."""
    meta = node.meta
    modules = [(path, str(kind)) for path, kind in (meta.get("nn_module_stack") or {}).values()]
    functions = [
        (name, getattr(function, "__qualname__", str(function)))
        for name, function in meta.get("source_fn_stack") or ()
    ]
    shape = digests.layouts(pytree.tree_leaves(meta.get("val")))
    return (
        f"{node.name} {node.op} {node.target} {node.args} {node.kwargs} {handle_of(node)} "
        f"{modules} {functions} {meta.get('torch_fn')} {[*shape]}"
    )
