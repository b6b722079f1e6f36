"""A session: the stages of a run in order. Every failure becomes a report that names the user's line."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from handlens import recipes
from handlens.advice_report import Advice, Scores
from handlens.advising import advise
from handlens.capture.export import Captured, capture
from handlens.capture.handles import generate_numeric_debug_handle
from handlens.capture.nodes import op_of
from handlens.capture.places import Places
from handlens.comparison import Comparison
from handlens.comparison.compared import Outputs
from handlens.comparison.objectives import MetricFailed, Objectives, OutputAgreement
from handlens.diagnosis.losses import Losses
from handlens.diagnosis.rules.export_failed import ExportFailed
from handlens.diagnosis.rules.invalid_target import InvalidTarget as InvalidTargetRule
from handlens.diagnosis.rules.run_failed import RunFailed
from handlens.diagnosis.rules.target_failed import TargetFailed, does_not_parse
from handlens.failures.exceptions import failure, is_out_of_memory
from handlens.failures.inquiry import Inquiry
from handlens.loading.importing import Sources
from handlens.loading.inputs import cloned
from handlens.loading.module import load
from handlens.loading.preserving import as_given
from handlens.loading.subject import (
    Batch,
    BatchFailed,
    InvalidTarget,
    Subject,
    build,
    with_options,
)
from handlens.recipes import CalibrationFailed, CannotQuantize, Quantized, Recipe
from handlens.report import Failure, NonFinite, OpReport, Report, Span, Verification, digest, failed
from handlens.reporting import measured
from handlens.request import AdviceRequest, RunRequest, Stage
from handlens.shown_files import shown_by
from handlens.source_text import read
from handlens.target_options import changed_options, moved
from handlens.verification import verify


class _Failed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def run(request: RunRequest, on_stage: Callable[[str], None]) -> Report:
    """Run one target, and return its report, which is not judged yet.

    The user's code runs here; whatever it raises ends up in the report.
    """
    session = Session(request, on_stage)
    return session.export() or session.compare(request)


@dataclass(frozen=True)
class _Compared:
    """The comparison after some evaluation batches."""

    comparison: Comparison
    verification: Verification
    batches: int
    non_finite: NonFinite | None


class Session:
    """A run in two halves. The second one, after the export, can be repeated with another recipe."""

    def __init__(self, request: RunRequest, on_stage: Callable[[str], None]) -> None:
        self._request = request
        self._target = request.target
        self._file = os.path.abspath(request.target.file)
        self._in_workspace = shown_by(request)
        self._on_stage = on_stage
        self._timings: dict[str, float] = {}
        self._recipe_name = request.recipe or ""
        self._texts: dict[str, str] = {}
        self._subject: Subject
        self._captured: Captured
        self._quantized: Quantized

    def export(self) -> Report | None:
        """Load the target and export its model. Returns a report if that fails, else None."""
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
        """Quantize the exported model as ``request`` says, and compare.

        A request other than the first may ask for another recipe, and for other ops to be kept in float
        or adjusted.
        """
        if request is not self._request:
            # This run did not spend the time of the export.
            self._request, self._timings = request, {}
        try:
            if request.keep_float is not None:
                self._subject = replace(self._subject, keep_float=request.keep_float)
            if request.adjust is not None:
                self._subject = replace(self._subject, adjust=request.adjust)
            recipe = self._recipe(self._subject)
            self._recipe_name = recipe.name
            with self._stage("quantize"):
                quantized = self._quantize(self._captured, recipe, self._subject)
            self._quantized = quantized
            with self._stage("compare"):
                report = self._report(recipe, quantized, *self._compare(quantized))
        except _Failed as error:
            report = self._failed(error)
        return self._finished(report)

    def compare_with_options(self, request: RunRequest) -> Report | None:
        """``compare`` for a request whose text differs in the options of the target.

        Returns None if the model has to be exported again: the texts differ in more, or the comparison
        fails.
        """
        target, before, after = self._target.name, self._request.text, request.text
        assert before is not None
        assert after is not None
        options = changed_options(before, after, target)
        if options is None:
            return None
        try:
            self._subject = with_options(self._subject, target, options)
        except InvalidTarget:
            return None
        report = self.compare(request)
        if report.status == "failed":
            return None
        placed = moved(report, self._file, before, after)
        digests = {**report.digests, self._file: digest(after)}
        return None if placed is None else replace(placed, digests=digests)

    def advise(
        self, report: Report, request: AdviceRequest, on_advice: Callable[[Advice], None]
    ) -> Report:
        """The report of the comparison before, with advice. A report of a failure stays as it is.

        ``on_advice`` is called with the advice so far, whenever something is found.
        """
        if report.status == "failed":
            return report
        try:
            with self._stage("advise"), self._refusals():
                advice = advise(
                    self._captured,
                    self._subject,
                    self._recipe(self._subject),
                    self._quantized,
                    Losses(report.ops, report.thresholds).charged.keys(),
                    request,
                    on_advice,
                )
        except _Failed as error:
            advice = Advice(Scores(None), reason=error.failure.message)
        except Exception as error:
            # The comparison is not lost with it.
            traceback.print_exc()
            advice = Advice(Scores(None), reason=f"the search raised {error!r}")
        return replace(report, advice=advice, timings=self._timings)

    def files(self) -> Iterator[str]:
        """The workspace files that were imported, except the target's own."""
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and file != self._file and self._in_workspace(file):
                yield file

    def _failed(self, error: _Failed) -> Report:
        return failed(self._target.name, self._target.file, self._recipe_name, error.failure)

    def _finished(self, report: Report) -> Report:
        return replace(
            report,
            timings=self._timings,
            files=tuple(sorted(self.files())),
            digests={file: digest(text) for file, text in self._texts.copy().items()},
        )

    @contextmanager
    def _stage(self, name: Stage) -> Iterator[None]:
        self._on_stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._timings[name] = round(time.perf_counter() - start, 3)

    # -- stages ------------------------------------------------------------------------------------

    def _load(self) -> Subject:
        name = os.path.basename(self._file)
        try:
            text = self._request.text
            text = self._texts[self._file] = read(self._file) if text is None else text
            unsaved = self._request.unsaved
            sources = Sources(self._file, text, unsaved, self._in_workspace, self._texts)
            module = load(sources, self._request.workspace)
        except SyntaxError as error:
            if error.filename == self._file:
                raise _Failed(does_not_parse(error, self._file)) from error
            raise _Failed(
                self._failure(TargetFailed.code, f"Importing {name} failed", error)
            ) from error
        except BaseException as error:
            raise _Failed(
                self._failure(TargetFailed.code, f"Importing {name} failed", error)
            ) from error
        try:
            return build(self._target, module)
        except InvalidTarget as error:
            raise _Failed(
                Failure(InvalidTargetRule.code, str(error), self._target.declaration, "")
            ) from error
        except BaseException as error:
            raise _Failed(
                self._failure(TargetFailed.code, f"Target {self._target.name} failed", error)
            ) from error

    def _recipe(self, subject: Subject) -> Recipe:
        request = self._request
        wanted = request.recipe or subject.recipe or request.default_recipe or recipes.DEFAULT
        try:
            return recipes.resolve(wanted)
        except recipes.UnknownRecipe as error:
            raise _Failed(
                Failure(InvalidTargetRule.code, str(error), self._target.declaration, "")
            ) from error
        except BaseException as error:
            raise _Failed(
                self._failure(InvalidTargetRule.code, f"Importing recipe {wanted!r} failed", error)
            ) from error

    def _export(self, subject: Subject) -> Captured:
        def export(strict: bool) -> Captured:
            if getattr(sys.stdout, "closed", False):
                # Torch asks standard output whether it is a terminal, and the model has closed it.
                sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            with as_given(subject.model):
                return capture(
                    subject.model, subject.args, subject.kwargs, subject.dynamic_shapes, strict
                )

        try:
            return export(strict=False)
        except BaseException as first:
            if isinstance(first, Exception):
                # Dynamo, which strict export uses, captures some models that tracing does not.
                try:
                    return export(strict=True)
                except Exception:
                    pass
            what = f"Exporting {type(subject.model).__name__} failed"
            raised = self._failure(ExportFailed.code, what, first)
            if isinstance(first, GuardOnDataDependentSymNode):
                advice = "Decide with torch.where or torch.cond, or from shapes alone."
                raised = replace(raised, message=f"{raised.message} {advice}")
            raise _Failed(raised) from first

    def _quantize(self, captured: Captured, recipe: Recipe, subject: Subject) -> Quantized:
        try:
            with self._refusals():
                return recipe.quantize(captured, subject)
        except _Failed:
            raise
        except CalibrationFailed as error:
            raise _Failed(self._inquiry.calibration(error, recipe)) from error
        except CannotQuantize as error:
            span = self._places.shown(captured.spans(error.node)) or self._target.declaration
            message = f"{op_of(error.node)} cannot be quantized with {recipe.name}: {error.message}"
            raise _Failed(Failure(RunFailed.code, message, span, "")) from error
        except BaseException as error:
            raise _Failed(self._inquiry.quantizing(error, recipe)) from error

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turn an unusable target, an unknown recipe, a batch or a metric that raises into _Failed."""
        try:
            yield
        except (InvalidTarget, recipes.UnknownRecipe) as error:
            raise _Failed(
                Failure(InvalidTargetRule.code, str(error), self._target.declaration, "")
            ) from error
        except BatchFailed as error:
            raise _Failed(
                self._failure(RunFailed.code, f"Making {error.batch} failed", error.error)
            ) from error
        except MetricFailed as error:
            raise _Failed(self._failure(RunFailed.code, error.what, error.error)) from error

    def _compare(self, quantized: Quantized) -> tuple[_Compared, OutputAgreement]:
        compared: _Compared | None = None
        agreement = OutputAgreement(Objectives(self._captured, self._subject))
        with self._refusals():
            for batch in self._subject.evaluation_batches():
                try:
                    compared, outputs = self._compare_batch(quantized, batch, compared)
                except BaseException as error:
                    failure = self._inquiry.running(error, quantized, batch.number, batch.inputs)
                    raise _Failed(failure) from error
                agreement.add(outputs, batch)
                del outputs
        if compared is None:
            message = f"{self._target.name} gives no evaluation batch: nothing was compared"
            raise _Failed(Failure(InvalidTargetRule.code, message, self._target.declaration, ""))
        return compared, agreement

    def _compare_batch(
        self, quantized: Quantized, batch: Batch, so_far: _Compared | None
    ) -> tuple[_Compared, Outputs]:
        inputs = batch.inputs
        if so_far is None:
            verified = verify(self._captured, self._subject, quantized, inputs, self._places)
            comparison, verification = verified.comparison, verified.verification
            outputs, before, non_finite = verified.outputs, 0, None
        else:
            comparison, verification = so_far.comparison, so_far.verification
            before, non_finite = comparison.not_finite, so_far.non_finite
            # The model may change its inputs.
            args, kwargs = cloned(inputs)
            outputs = comparison.run(args, kwargs)
        if non_finite is None and comparison.not_finite > before:
            non_finite = self._inquiry.non_finite(inputs, f"evaluation batch {batch.number}")
        return _Compared(comparison, verification, batch.number, non_finite), outputs

    def _report(
        self,
        recipe: Recipe,
        quantized: Quantized,
        compared: _Compared,
        agreement: OutputAgreement,
    ) -> Report:
        found = measured(
            self._captured,
            quantized,
            compared.comparison,
            agreement,
            self._places,
            is_finite=compared.non_finite is None,
        )
        report = Report(
            self._target.name,
            self._target.file,
            recipe.name,
            "ok",
            thresholds=recipe.thresholds,
            output=found.output,
            batches=compared.batches,
            coverage=found.coverage,
            ops=found.ops,
            quantized_by=found.quantized_by,
            verified=compared.verification,
            non_finite=compared.non_finite,
        )
        self._read_shown(found.ops)
        return report

    # -- files and lines ---------------------------------------------------------------------------

    @property
    def _places(self) -> Places:
        return Places(self._in_workspace, self._target.declaration)

    @property
    def _inquiry(self) -> Inquiry:
        return Inquiry(self._captured, self._subject, self._places, self._failure)

    def _failure(
        self, rule: str, what: str, error: BaseException, place: Span | None = None
    ) -> Failure:
        """A failure at the user's line that raised ``error``; else at ``place``; else at the target."""
        fallback = place or self._target.declaration
        raised = failure(rule, what, error, self._in_workspace, fallback)
        limit = self._request.memory_limit_mib
        if limit is not None and is_out_of_memory(error):
            advice = f"The run may take {limit} MiB; handlens.memoryLimit allows for more."
            raised = replace(raised, message=f"{raised.message} {advice}")
        return raised

    def _read_shown(self, ops: tuple[OpReport, ...]) -> None:
        """Read the files that show ops and were not imported as modules, so that their digests are told."""
        shown = {self._file, *(op.span.file for op in ops if op.span is not None)}
        for file in shown - self._texts.keys():
            with suppress(OSError, SyntaxError, UnicodeDecodeError):
                self._texts[file] = read(file)
