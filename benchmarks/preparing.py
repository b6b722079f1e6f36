"""From a workload to the two graphs that are compared, by the stages of a Handlens run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch.export import ExportedProgram
from torch.fx import GraphModule

from benchmarks.workloads import ROOT, Workload
from handlens import recipes
from handlens.capture.export import Captured, capture
from handlens.capture.handles import generate_numeric_debug_handle
from handlens.loading.importing import Sources
from handlens.loading.module import load
from handlens.loading.subject import Subject, build
from handlens.recipes import Quantized
from handlens.source_text import read


@dataclass(frozen=True)
class Prepared:
    """The graphs of a workload and one batch for them. Every contender gets the same."""

    program: ExportedProgram
    float: GraphModule
    """The program as a module, as nobody has rewritten it."""
    reference: GraphModule
    """The float graph after the recipe's own rewrites."""
    actual: GraphModule
    """The converted graph."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def subject(workload: Workload) -> Subject:
    """The model of a workload and its inputs."""
    target = workload.find()
    module = load(Sources(target.file, read(target.file)), (str(ROOT),))
    return build(target, module)


def quantize(workload: Workload, captured: Captured, given: Subject) -> Quantized:
    """Both graphs. Raises recipes.UnknownRecipe, and whatever quantizing raises."""
    return recipes.resolve(workload.recipe).quantize(captured, given)


def prepare(workload: Workload) -> Prepared:
    """Load, export and quantize."""
    given = subject(workload)
    captured = capture(given.model, given.args, given.kwargs, given.dynamic_shapes)
    generate_numeric_debug_handle(captured.program)
    quantized = quantize(workload, captured, given)
    plain = captured.program.module()
    assert isinstance(plain, GraphModule)
    args, kwargs = next(given.evaluation_inputs())
    return Prepared(captured.program, plain, quantized.reference, quantized.actual, args, kwargs)
