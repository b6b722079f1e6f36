"""A run: the stages in order, each failure turned into a report that says whose line it was."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from handlens import loading, recipes
from handlens.capture import Captured, capture, is_installed
from handlens.comparison import Comparison, Measurements, merge
from handlens.comparison.graph import UNUSED, Compared
from handlens.diagnosis import floor_sqnr_db, judge
from handlens.failures import failure
from handlens.handles import generate_numeric_debug_handle, graph_modules, handle_of
from handlens.protocol import RunRequest
from handlens.recipes import CalibrationFailed, Quantized, Recipe
from handlens.report import (
    Coverage,
    Failure,
    OpReport,
    OutputAccuracy,
    Quantizer,
    Report,
    Span,
    Unmatched,
    failed,
)
from handlens.targets import discover, parse_failure

_FOLDED = "folded by the recipe"
_NO_TENSOR = "no tensor output"
_CONSTANT = "computed from constants, beforehand"
# How torch's allocator says it.
_NO_MEMORY = "can't allocate memory"
_EXPECTED = (_FOLDED, _NO_TENSOR, _CONSTANT, UNUSED)


class _Failed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def run(request: RunRequest, on_stage: Callable[[str], None]) -> Report:
    """The report of one target. The user's code runs here; whatever it raises is in the report."""
    session = Session(request, on_stage)
    return session.export() or session.compare(request)


def shown_by(request: RunRequest) -> Callable[[str], bool]:
    """Tells of a file whether the findings of a run may be shown in it."""
    target = os.path.abspath(request.target.file)
    folders = tuple(os.path.join(os.path.abspath(each), "") for each in request.workspace)
    return lambda file: file == target or (file.startswith(folders) and not is_installed(file))


class Session:
    """A run in two halves: what follows the export can be done again, with another recipe."""

    def __init__(self, request: RunRequest, on_stage: Callable[[str], None]) -> None:
        self._request = request
        self._target = request.target
        self._file = os.path.abspath(request.target.file)
        self._in_workspace = shown_by(request)
        self._on_stage = on_stage
        self._timings: dict[str, float] = {}
        self._recipe_name = request.recipe or ""
        self._texts: dict[str, str] = {}
        self._subject: loading.Subject
        self._captured: Captured

    def export(self) -> Report | None:
        """Load the target and export its model; the report of the run if it ends with that."""
        try:
            with self._stage("load"):
                self._subject = self._load()
                self._recipe_name = self._recipe(self._subject).name
            with self._stage("export"):
                self._captured = self._export(self._subject)
                generate_numeric_debug_handle(self._captured.program)
        except _Failed as error:
            return self._finished(self._failed(error))
        return None

    def compare(self, request: RunRequest) -> Report:
        """Quantize the exported model as ``request`` says, which may ask for another recipe only."""
        if request is not self._request:
            # The export took no time of this run.
            self._request, self._timings = request, {}
        try:
            recipe = self._recipe(self._subject)
            self._recipe_name = recipe.name
            with self._stage("quantize"):
                quantized = self._quantize(self._captured, recipe, self._subject)
            with self._stage("compare"):
                comparison, batches = self._compare(self._captured, quantized, self._subject)
                report = self._report(self._captured, recipe, quantized, comparison, batches)
        except _Failed as error:
            report = self._failed(error)
        return self._finished(report)

    def files(self) -> Iterator[str]:
        """The workspace files that were imported, beside the target's."""
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file != self._file and self._in_workspace(file):
                yield file

    def _failed(self, error: _Failed) -> Report:
        return failed(self._target.name, self._target.file, self._recipe_name, error.failure)

    def _finished(self, report: Report) -> Report:
        return replace(report, timings=self._timings, files=tuple(sorted(self.files())))

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self._on_stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._timings[name] = round(time.perf_counter() - start, 3)

    # -- stages ------------------------------------------------------------------------------------

    def _load(self) -> loading.Subject:
        name = os.path.basename(self._file)
        try:
            text = self._request.text
            self._texts[self._file] = loading.read(self._file) if text is None else text
            module = loading.load(
                self._file, self._texts[self._file], self._request.workspace, self._request.unsaved
            )
        except SyntaxError as error:
            if error.filename == self._file:
                raise _Failed(parse_failure(error, self._file)) from error
            raise _Failed(self._failure("HL301", f"Importing {name}", error)) from error
        except BaseException as error:
            raise _Failed(self._failure("HL301", f"Importing {name}", error)) from error
        try:
            return loading.build(self._target, module)
        except loading.InvalidTarget as error:
            raise _Failed(Failure("HL305", str(error), self._declaration(), "")) from error
        except BaseException as error:
            raise _Failed(self._failure("HL301", f"Target {self._target.name}", error)) from error

    def _recipe(self, subject: loading.Subject) -> Recipe:
        request = self._request
        wanted = request.recipe or subject.recipe or request.default_recipe or recipes.DEFAULT
        try:
            return recipes.resolve(wanted)
        except recipes.UnknownRecipe as error:
            raise _Failed(Failure("HL305", str(error), self._declaration(), "")) from error
        except BaseException as error:
            raise _Failed(self._failure("HL305", f"Importing recipe {wanted!r}", error)) from error

    def _export(self, subject: loading.Subject) -> Captured:
        def export(strict: bool) -> Captured:
            if getattr(sys.stdout, "closed", False):
                # Torch asks it whether it is a terminal, and the model has closed it.
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            return capture(
                subject.model, subject.args, subject.kwargs, subject.dynamic_shapes, strict
            )

        try:
            return export(strict=False)
        except BaseException as first:
            if isinstance(first, Exception):
                # Symbolic execution understands some things that tracing does not.
                try:
                    return export(strict=True)
                except Exception:
                    pass
            what = f"Exporting {type(subject.model).__name__}"
            raised = self._failure("HL302", what, first)
            if isinstance(first, GuardOnDataDependentSymNode):
                advice = "Decide with torch.where or torch.cond, or from shapes alone."
                raised = replace(raised, message=f"{raised.message} {advice}")
            raise _Failed(raised) from first

    def _quantize(self, captured: Captured, recipe: Recipe, subject: loading.Subject) -> Quantized:
        try:
            return recipe.quantize(captured, subject)
        except CalibrationFailed as error:
            what = "Calibration"
            if error.node is not None:
                what += f" of {_op(error.node)}"
            raised = self._failure("HL303", what, error.error)
            if error.node is not None:
                spans = captured.spans(error.node)
                shown = self._shown(spans)
                raised = replace(raised, span=spans[shown] if shown is not None else raised.span)
            raise _Failed(raised) from error
        except (loading.InvalidTarget, recipes.UnknownRecipe) as error:
            raise _Failed(Failure("HL305", str(error), self._declaration(), "")) from error
        except BaseException as error:
            what = f"Quantizing with recipe {recipe.name}"
            raise _Failed(self._failure("HL303", what, error)) from error

    def _compare(
        self, captured: Captured, quantized: Quantized, subject: loading.Subject
    ) -> tuple[Comparison, int]:
        comparison = merge(quantized.reference, quantized.actual)
        batches = 0
        try:
            for args, kwargs in subject.evaluation_inputs():
                comparison.run(args, kwargs)
                batches += 1
        except loading.InvalidTarget as error:
            raise _Failed(Failure("HL305", str(error), self._declaration(), "")) from error
        except BaseException as error:
            what = f"Running evaluation batch {batches + 1}"
            raise _Failed(self._failure("HL303", what, error)) from error
        if not batches:
            message = f"{self._target.name} gives no evaluation batch: nothing was compared"
            raise _Failed(Failure("HL305", message, self._declaration(), ""))
        return comparison, batches

    # -- the report --------------------------------------------------------------------------------

    def _report(
        self,
        captured: Captured,
        recipe: Recipe,
        quantized: Quantized,
        comparison: Comparison,
        batches: int,
    ) -> Report:
        described = {
            each.handle: self._op(captured, each, quantized.described.get(each.handle, ()))
            for each in comparison.compared
        }
        unmatched = dict(_unmatched(captured, quantized.reference, comparison))
        ops = tuple(
            replace(op, floor_sqnr_db=floor_sqnr_db(op))
            for handle, op in sorted(described.items())
            if handle not in unmatched
        )
        nodes = {
            handle: node
            for graph_module in graph_modules(captured.program)
            for node in graph_module.graph.nodes
            if (handle := handle_of(node)) is not None
        }
        coverage = Coverage(
            len(nodes),
            len(ops),
            sum(bool(op.quantizers) for op in ops),
            tuple(
                self._unmatched(captured, nodes[handle], reason)
                for handle, reason in sorted(unmatched.items())
            ),
            quantized.unquantized,
        )
        total = comparison.output.total.accumulated
        report = Report(
            self._target.name,
            self._target.file,
            recipe.name,
            "ok",
            output=OutputAccuracy(
                total.verdict, total.sqnr_db, total.mse, total.max_abs_error, total.cosine
            ),
            batches=batches,
            coverage=coverage,
            ops=ops,
        )
        texts = self._texts_of(ops)
        return judge(
            report, self._request.thresholds, texts, self._declaration(), self._own_files()
        )

    def _unmatched(self, captured: Captured, node: Node, reason: str) -> Unmatched:
        spans = captured.spans(node)
        shown = self._shown(spans)
        return Unmatched(
            _op(node),
            node.name,
            _module(node),
            reason,
            handle_of(node),
            None if shown is None else spans[shown],
            reason in _EXPECTED,
        )

    def _op(
        self, captured: Captured, compared: Compared, described: tuple[Quantizer, ...]
    ) -> OpReport:
        node = compared.reference
        # The call of a body is not in the stack of what the body does.
        chain = (node, *compared.callers)
        spans = tuple(dict.fromkeys(span for each in chain for span in captured.spans(each)))
        shown = self._shown(spans)
        if shown is None and (declaration := self._declaration()) is not None:
            # A model that lives in a library entirely: the target is what the user wrote of it.
            shown, spans = len(spans), (*spans, declaration)
        measured = compared.measured
        total, own = measured.accumulated, measured.introduced
        return OpReport(
            handle=compared.handle,
            op=_op(node),
            node=compared.name,
            module=_module(node) or next(filter(None, map(_module, compared.callers)), ""),
            inputs=tuple(
                handle for each in node.all_input_nodes if (handle := handle_of(each)) is not None
            ),
            spans=spans,
            shown=shown,
            verdict=total.verdict,
            sqnr_db=total.sqnr_db,
            introduced_verdict=own.verdict,
            introduced_sqnr_db=own.sqnr_db,
            introduced_share=own.noise / total.noise if total.noise else 0.0,
            floor_sqnr_db=None,
            mse=total.mse,
            max_abs_error=total.max_abs_error if total.count else None,
            cosine=total.cosine,
            reference_range=total.reference_range,
            actual_range=total.actual_range,
            saturated=measured.outside / total.count if total.count else 0.0,
            quantizers=(*compared.quantizers, *described),
            reference_rms=total.rms,
            weight_share=float(measured.weight_noise) / own.noise if own.noise else None,
            clipping_share=min(1.0, float(measured.clipping_noise) / own.noise)
            if own.noise
            else 0.0,
            vanished=total.vanished / total.nonzero if total.nonzero else 0.0,
            channels=compared.channels,
            fan_in=compared.fan_in,
            input_rms=compared.input.total.accumulated.rms if compared.input else None,
            executions=measured.executions,
            worst_batch=measured.worst_batch,
            worst_batch_sqnr_db=None if measured.worst_batch is None else measured.worst_sqnr_db,
            errors=compared.recorder.errors,
        )

    # -- files and lines ---------------------------------------------------------------------------

    def _shown(self, spans: tuple[Span, ...]) -> int | None:
        return next((i for i, span in enumerate(spans) if self._in_workspace(span.file)), None)

    def _declaration(self) -> Span:
        target = self._target
        return Span(self._file, target.line, target.column, target.line, target.end_column)

    def _failure(self, rule: str, what: str, error: BaseException) -> Failure:
        raised = failure(rule, what, error, self._in_workspace, self._declaration())
        limit = self._request.memory_limit_mib
        if limit is not None and (isinstance(error, MemoryError) or _NO_MEMORY in raised.message):
            advice = f"The run may take {limit} MiB; handlens.memoryLimit allows for more."
            raised = replace(raised, message=f"{raised.message} {advice}")
        return raised

    def _own_files(self) -> list[str]:
        """The files in which this target alone decides whether a suppression is used."""
        try:
            alone = len(discover(self._texts[self._file], self._file)) == 1
        except ModuleNotFoundError:
            # Python 3.10 cannot read the pyproject.toml, which may have more targets.
            return []
        return [self._file] if alone else []

    def _texts_of(self, ops: tuple[OpReport, ...]) -> dict[str, str]:
        """The texts of the files that findings can be in."""
        for file in {op.span.file for op in ops if op.span is not None} - self._texts.keys():
            try:
                unsaved = self._request.unsaved.get(file)
                self._texts[file] = loading.read(file) if unsaved is None else unsaved
            except (OSError, SyntaxError, UnicodeDecodeError):
                continue
        return self._texts


def _unmatched(
    captured: Captured, reference: GraphModule, comparison: Comparison
) -> Iterator[tuple[int, str]]:
    """Handles of the captured program that have no statistics, and why."""
    there = {handle_of(node) for each in graph_modules(reference) for node in each.graph.nodes}
    compared = {each.handle: each.measured for each in comparison.compared}
    constant = _constant(reference)
    for graph_module in graph_modules(captured.program):
        for node in graph_module.graph.nodes:
            handle = handle_of(node)
            if handle is None:
                continue
            if handle not in there:
                yield handle, _FOLDED
            elif handle not in compared:
                reason = comparison.unmatched.get(handle, "inside the body of another op")
                yield handle, _CONSTANT if handle in constant and reason != UNUSED else reason
            elif reason := _incomparable(compared[handle]):
                yield handle, reason


def _constant(model: GraphModule) -> set[int | None]:
    """The handles of the ops that no input of the model has a part in."""
    constant: set[Node] = set()
    for node in model.graph.nodes:
        if node.op == "get_attr" or (
            node.op == "call_function" and constant.issuperset(node.all_input_nodes)
        ):
            constant.add(node)
    return {handle_of(node) for node in constant}


def _incomparable(measured: Measurements) -> str:
    total = measured.accumulated
    if total.mismatch:
        return total.mismatch
    if measured.diverged:
        runs = measured.diverged + measured.executions
        return f"the models took different ways in {measured.diverged} of {runs} executions"
    if not measured.executions:
        return "never executed"
    return "" if total.count or total.non_finite else _NO_TENSOR


def _op(node: Node) -> str:
    """The op of a node: ``aten.conv2d.default``, or the name of the function or module it calls."""
    if isinstance(node.target, (str, torch._ops.OpOverload)):
        return str(node.target)
    return str(getattr(node.target, "__name__", node.target))


def _module(node: Node) -> str:
    """The path of the innermost module that an op was called in."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""
