"""A session: the stages of a run in order. Every failure becomes a report that names the user's line."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import ModuleType
from typing import Any, BinaryIO

from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from handlens import freed_memory, recipes
from handlens.advice_report import Advice, Scores
from handlens.advising import advise
from handlens.capture.export import Captured, capture
from handlens.capture.handles import generate_numeric_debug_handle
from handlens.capture.nodes import op_of
from handlens.capture.places import Places
from handlens.comparison.objectives import MetricFailed
from handlens.diagnosis.losses import Losses
from handlens.diagnosis.rules.export_failed import ExportFailed
from handlens.diagnosis.rules.invalid_target import InvalidTarget as InvalidTargetRule
from handlens.diagnosis.rules.run_failed import RunFailed
from handlens.diagnosis.rules.target_failed import TargetFailed, does_not_parse
from handlens.distributed.ranks import RankFailed, Ranks
from handlens.distributed.shares import Shares
from handlens.evaluation import Evaluation
from handlens.failures.exceptions import failure, is_out_of_memory
from handlens.failures.inquiry import Inquiry
from handlens.loading.importing import Sources
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
from handlens.recipes.calibrating import load_calibration, save_calibration
from handlens.report import Failure, OpReport, Report, Span, digest, failed
from handlens.reporting import measured
from handlens.request import AdviceRequest, Progress, RunRequest, Stage
from handlens.same_model import beside_model, is_random_program, model_digest
from handlens.shown_files import shown_by
from handlens.source_text import read
from handlens.target_changes import TargetEdit
from handlens.unchanged import (
    Earlier,
    by_model,
    can_be_taken_over,
    decided_by,
    placed,
)


class _Failed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def run(request: RunRequest, on_stage: Callable[[str], None]) -> Report:
    """Run one target, and return its report, which is not judged yet.

    The user's code runs here; whatever it raises ends up in the report.
    """
    session = Session(request, on_stage)
    return session.load() or session.export() or session.compare(request)


class Session:
    """A run in two halves. The second one, after the export, can be repeated with another recipe."""

    def __init__(
        self,
        request: RunRequest,
        on_stage: Callable[[str], None],
        on_progress: Callable[[Progress], None] = lambda progress: None,
        ranks: Ranks | None = None,
        on_note: Callable[[str], None] = lambda note: None,
        recall: Callable[[str], Earlier | None] | None = None,
    ) -> None:
        """``ranks`` are the processes that share the run; ``on_note`` gets what one should know of it.

        ``recall`` gives what an earlier run of the same digest has measured; without it, all is measured.
        """
        self._request = request
        self._on_progress, self._on_note = on_progress, on_note
        self._ranks = ranks
        self._target = request.target
        self._file = os.path.abspath(request.target.file)
        self._in_workspace = shown_by(request)
        self._on_stage = on_stage
        self._timings: dict[str, float] = {}
        self._recipe_name = request.recipe or ""
        self._texts: dict[str, str] = {}
        self._subject: Subject
        self._is_shared = False
        """True if other ranks can measure what this one can."""
        self._captured: Captured
        self._quantized: Quantized
        self._recall = recall
        self.decided_by: tuple[str, str] | None = None
        """The digests of what decided the report and of what the model gave; None if it stands alone."""

    def load(self) -> Report | None:
        """Load the target. Returns a report if that fails, else None."""
        try:
            if self._ranks is not None:
                with self._refusals():
                    self._ranks.share_random_state()
            with self._stage("load"):
                self._subject = self._load()
                self._recipe_name = self._recipe(self._subject).name
        except _Failed as error:
            return self._finished(self._failed(error))
        return None

    def export(self) -> Report | None:
        """Export the model of the target. Returns a report if that fails, else None."""
        try:
            with self._stage("export"):
                self._captured = self._export(self._subject)
                generate_numeric_debug_handle(self._captured.program)
        except _Failed as error:
            return self._finished(self._failed(error))
        return None

    def model_digest(self) -> str | None:
        """The digest of what is going to be exported; None if it has none. Call it before the export."""
        modules = [sys.modules[name] for name in sorted(sys.modules)]
        own = [each for each in modules if self._is_own(each)]
        return model_digest(self._subject, own, self._target.name)

    @property
    def is_random(self) -> bool:
        """True if an op of the exported model draws random numbers."""
        return is_random_program(self._captured)

    def beside_model(self) -> dict[str, Any] | None:
        """What the target gives beside its model, for ``compare_edited`` of another process; None if that
        cannot have it."""
        return beside_model(self._subject)

    def compare(self, request: RunRequest) -> Report:
        """Quantize the exported model as ``request`` says, and compare.

        A request other than the first may ask for another recipe, and for other ops to be kept in float
        or adjusted.
        """
        if request is not self._request:
            # This run did not spend the time of the export.
            self._request, self._timings = request, {}
        self.decided_by = None
        try:
            if request.keep_float is not None:
                self._subject = replace(self._subject, keep_float=request.keep_float)
            if request.adjust is not None:
                self._subject = replace(self._subject, adjust=request.adjust)
            recipe = self._recipe(self._subject)
            self._recipe_name = recipe.name
            digest = self._digest(recipe)
            if digest is not None and (report := self._recalled(digest)) is not None:
                return self._finished(report)
            with self._stage("quantize"):
                quantized = self._quantize(self._captured, recipe, self._subject)
            self._quantized = quantized
            with self._stage("compare"):
                evaluation = self._compare(quantized)
                if self._ranks is not None and not self._ranks.is_first:
                    # Rank 0 has the report.
                    return Report(self._target.name, self._target.file, recipe.name, "ok")
                report = self._report(recipe, quantized, evaluation)
            if digest is not None and can_be_taken_over(report, self._captured, self._places):
                self.decided_by = digest, evaluation.by_model
        except _Failed as error:
            report = self._failed(error)
        return self._finished(report)

    def _digest(self, recipe: Recipe) -> str | None:
        """The digest of what decides what this run measures; None if the run takes nothing over."""
        if self._recall is None or self._ranks is not None:
            return None
        return decided_by(self._captured, self._subject, recipe, self._request.advise)

    def _recalled(self, digest: str) -> Report | None:
        """What an earlier run has measured, if this one would measure the same."""
        assert self._recall is not None
        earlier = self._recall(digest)
        if earlier is None or earlier.by_model != by_model(self._subject):
            return None
        self.decided_by = digest, earlier.by_model
        report = placed(earlier.report, self._captured, self._places)
        self._read_shown(report.ops)
        return replace(report, target=self._target.name, file=self._target.file)

    def compare_edited(
        self, request: RunRequest, beside_model: dict[str, Any] | None
    ) -> Report | None:
        """``compare`` for a request whose text has other options or other data than that of the first.

        ``beside_model`` is what the target of that text gives beside its model; None if that is not known.
        Returns None if the model has to be exported again: the text differs in more, or the run fails, and
        its message may name lines.
        """
        before, after = self._request.text, request.text
        assert before is not None
        assert after is not None
        edit = TargetEdit.between(before, after, self._target.name)
        if edit is None or (edit.data and beside_model is None):
            return None
        if beside_model is not None:
            self._subject = replace(self._subject, **beside_model)
        try:
            self._subject = with_options(self._subject, self._target.name, edit.options)
        except InvalidTarget:
            return None
        report = self.compare(request)
        if report.status == "failed":
            return None
        digests = {**report.digests, self._file: digest(after)}
        return edit.moved(replace(report, digests=digests), self._file)

    def advise(
        self, report: Report, request: AdviceRequest, on_advice: Callable[[Advice], None]
    ) -> Report:
        """The report of the comparison before, with advice. That of a failure stays as it is.

        ``on_advice`` is called with the advice so far, whenever something is found.
        """
        is_helper = self._ranks is not None and not self._ranks.is_first
        if (
            report.status == "failed"
            or report.advice is not None
            or (is_helper and not self._is_shared)
        ):
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
                    self._ranks if self._is_shared else None,
                )
        except _Failed as error:
            advice = self._without_advice(error.failure)
        except Exception as error:
            # The comparison is not lost with it.
            traceback.print_exc()
            message = f"the search raised {error!r}"
            advice = self._without_advice(Failure(RunFailed.code, message, None, ""))
        if not advice.complete or advice.reason:
            self.decided_by = None
        return replace(report, advice=advice, timings=self._timings)

    def _without_advice(self, failure: Failure) -> Advice:
        if self._ranks is not None:
            self._ranks.fail(failure)
        return Advice(Scores(None), reason=failure.message)

    def save_calibration(self, file: BinaryIO) -> None:
        """Write what is known of the calibration, if anything is."""
        save_calibration(self._captured.program, file)

    def load_calibration(self, file: BinaryIO) -> None:
        """Know what a copy of this session wrote of the calibration."""
        load_calibration(self._captured.program, self._subject.calibration, file)

    def files(self) -> Iterator[str]:
        """The workspace files that were imported, except the target's own."""
        for module in list(sys.modules.values()):
            if self._is_own(module) and module.__file__ != self._file:
                yield str(module.__file__)

    def _is_own(self, module: ModuleType) -> bool:
        """True for the modules of the workspace."""
        file = getattr(module, "__file__", None)
        return isinstance(file, str) and self._in_workspace(file)

    def _failed(self, error: _Failed) -> Report:
        if self._ranks is not None:
            self._ranks.fail(error.failure)
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
            freed_memory.give_back()
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
        except RankFailed as error:
            message = f"On rank {error.rank}: {error.failure.message}"
            raise _Failed(replace(error.failure, message=message)) from error

    def _compare(self, quantized: Quantized) -> Evaluation:
        """Compare on all evaluation batches; on other ranks than the first, on a share of them."""
        evaluation = Evaluation(
            self._captured,
            self._subject,
            quantized,
            self._places,
            self._inquiry,
            self._on_progress,
        )
        batches = self._subject.evaluation_batches()
        if self._ranks is None:
            self._evaluate(evaluation, quantized, batches)
            return evaluation
        shares = Shares(self._ranks, self._captured, quantized, evaluation)
        try:
            self._evaluate(evaluation, quantized, shares.mine(batches))
        except _Failed as error:
            shares.fail(error.failure)
        self._is_shared = shares.alone is None
        if shares.alone is not None and self._ranks.is_first:
            self._on_note(f"rank 0 compares all batches: {shares.alone}")
        with self._refusals():
            failure = shares.gather()
        if failure is not None:
            raise _Failed(failure)
        return evaluation

    def _evaluate(
        self, evaluation: Evaluation, quantized: Quantized, batches: Iterable[Batch]
    ) -> None:
        with self._refusals():
            for batch in batches:
                try:
                    outputs = evaluation.compare(batch)
                except BaseException as error:
                    failure = self._inquiry.running(error, quantized, batch.number, batch.inputs)
                    raise _Failed(failure) from error
                evaluation.agreement.add(outputs, batch)
                del outputs

    def _report(self, recipe: Recipe, quantized: Quantized, evaluation: Evaluation) -> Report:
        if not evaluation.batches:
            message = f"{self._target.name} gives no evaluation batch: nothing was compared"
            raise _Failed(Failure(InvalidTargetRule.code, message, self._target.declaration, ""))
        found = measured(
            self._captured,
            quantized,
            evaluation.comparison,
            evaluation.agreement,
            self._places,
            is_finite=evaluation.non_finite is None,
        )
        report = Report(
            self._target.name,
            self._target.file,
            recipe.name,
            "ok",
            thresholds=recipe.thresholds,
            output=found.output,
            batches=evaluation.batches,
            coverage=found.coverage,
            ops=found.ops,
            quantized_by=found.quantized_by,
            verified=evaluation.verification,
            non_finite=evaluation.non_finite,
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
