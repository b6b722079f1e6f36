"""A session: the stages of a run in order. Every failure becomes a report that names the user's line."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

from handlens import freed_memory
from handlens.advice_report import Advice, Scores
from handlens.advising import advise
from handlens.capture.export import Captured
from handlens.caveats import caveats
from handlens.diagnosis.losses import Losses
from handlens.diagnosis.rules.run_failed import RunFailed
from handlens.distributed.ranks import Ranks
from handlens.distributed.shares import Shares
from handlens.evaluation import Evaluation
from handlens.loading.subject import (
    Batch,
    InvalidTarget,
    Subject,
    with_options,
)
from handlens.recipes import Quantized, Recipe
from handlens.recipes.calibrating import load_calibration, save_calibration
from handlens.recipes.pt2e import Pt2eRecipe
from handlens.report import Caveat, Failure, Report, digest, failed
from handlens.reporting import measured
from handlens.request import AdviceRequest, Progress, RunRequest, Stage
from handlens.same_model import beside_model, is_random_program, model_digest
from handlens.stages import Failed, Stages
from handlens.target_changes import TargetEdit
from handlens.unchanged import (
    Earlier,
    by_model,
    can_be_taken_over,
    decided_by,
    placed,
)


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
        self._stages = Stages(request)
        self._on_stage = on_stage
        self._timings: dict[str, float] = {}
        self._recipe_name = request.recipe or ""
        self._subject: Subject
        self._is_shared = False
        """True if other ranks can measure what this one can."""
        self._captured: Captured
        self._quantized: Quantized
        self._recall = recall
        self.decided_by: tuple[str, str] | None = None
        """The digests of what decided the report and of what the model gave; None if it stands alone."""

    def load(self) -> Report | None:
        """Load the target. Returns a report if that fails, or if all is done then, else None."""
        try:
            if self._ranks is not None:
                with self._stages.refusals():
                    self._ranks.share_random_state()
            with self._stage("load"):
                if self._target.kind == "draft":
                    found = self._stages.draft()
                    report = Report(self._target.name, self._target.file, "", "ok", draft=found)
                    return self._finished(report)
                self._subject = self._stages.load()
                self._recipe_name = self._recipe().name
        except Failed as error:
            return self._finished(self._failed(error))
        return None

    def export(self) -> Report | None:
        """Export the model of the target. Returns a report if that fails, else None."""
        try:
            with self._stage("export"):
                self._captured = self._stages.export(self._subject)
        except Failed as error:
            return self._finished(self._failed(error))
        return None

    def model_digest(self) -> str | None:
        """The digest of what is going to be exported; None if it has none. Call it before the export."""
        modules = sorted(self._stages.modules(), key=lambda each: each.__name__)
        return model_digest(self._subject, modules, self._target.name)

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
            recipe = self._recipe()
            self._recipe_name = recipe.name
            digest = self._digest(recipe)
            if digest is not None and (report := self._recalled(digest)) is not None:
                return self._finished(report)
            with self._stage("quantize"):
                quantized = self._stages.quantize(self._captured, recipe, self._subject)
            self._quantized = quantized
            with self._stage("compare"):
                evaluation = self._compare(quantized)
                if self._ranks is not None and not self._ranks.is_first:
                    # Rank 0 has the report.
                    return Report(self._target.name, self._target.file, recipe.name, "ok")
                report = self._report(recipe, quantized, evaluation)
            if digest is not None and can_be_taken_over(
                report, self._captured, self._stages.places
            ):
                self.decided_by = digest, evaluation.by_model
        except Failed as error:
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
        report = placed(earlier.report, self._captured, self._stages.places)
        self._stages.read_shown(report.ops)
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
        digests = {**report.digests, self._stages.file: digest(after)}
        return edit.moved(replace(report, digests=digests), self._stages.file)

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
            with self._stage("advise"), self._stages.refusals():
                advice = advise(
                    self._captured,
                    self._subject,
                    self._recipe(),
                    self._quantized,
                    Losses(report.ops, report.thresholds).charged.keys(),
                    request,
                    on_advice,
                    self._ranks if self._is_shared else None,
                )
        except Failed as error:
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
        return self._stages.files()

    def _recipe(self) -> Recipe:
        return self._stages.recipe(self._request, self._subject)

    def _failed(self, error: Failed) -> Report:
        if self._ranks is not None:
            self._ranks.fail(error.failure)
        return failed(self._target.name, self._target.file, self._recipe_name, error.failure)

    def _finished(self, report: Report) -> Report:
        return replace(
            report,
            timings=self._timings,
            files=tuple(sorted(self.files())),
            digests={file: digest(text) for file, text in self._stages.texts.copy().items()},
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

    # -- comparing ---------------------------------------------------------------------------------

    def _compare(self, quantized: Quantized) -> Evaluation:
        """Compare on all evaluation batches; on other ranks than the first, on a share of them."""
        evaluation = Evaluation(
            self._captured,
            self._subject,
            quantized,
            self._stages.places,
            self._stages.inquiry(self._captured, self._subject),
            self._on_progress,
        )
        batches = self._subject.evaluation_batches()
        if self._ranks is None:
            self._evaluate(evaluation, quantized, batches)
            return evaluation
        shares = Shares(self._ranks, self._captured, quantized, evaluation)
        try:
            self._evaluate(evaluation, quantized, shares.mine(batches))
        except Failed as error:
            shares.fail(error.failure)
        self._is_shared = shares.alone is None
        if shares.alone is not None and self._ranks.is_first:
            self._on_note(f"rank 0 compares all batches: {shares.alone}")
        with self._stages.refusals():
            failure = shares.gather()
        if failure is not None:
            raise Failed(failure)
        return evaluation

    def _evaluate(
        self, evaluation: Evaluation, quantized: Quantized, batches: Iterable[Batch]
    ) -> None:
        with self._stages.refusals():
            for batch in batches:
                try:
                    outputs = evaluation.compare(batch)
                except BaseException as error:
                    inquiry = self._stages.inquiry(self._captured, self._subject)
                    failure = inquiry.running(error, quantized, batch.number, batch.inputs)
                    raise Failed(failure) from error
                evaluation.agreement.add(outputs, batch)
                del outputs

    def _caveats(self, recipe: Recipe, batches: int) -> tuple[Caveat, ...]:
        try:
            return tuple(caveats(self._subject, batches, isinstance(recipe, Pt2eRecipe)))
        except Exception:
            # Of objects of the user's that cannot be looked at, nothing is said.
            traceback.print_exc()
            return ()

    def _report(self, recipe: Recipe, quantized: Quantized, evaluation: Evaluation) -> Report:
        if not evaluation.batches:
            message = f"{self._target.name} gives no evaluation batch: nothing was compared"
            raise self._stages.invalid(InvalidTarget(message))
        found = measured(
            self._captured,
            quantized,
            evaluation.comparison,
            evaluation.agreement,
            self._stages.places,
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
            caveats=self._caveats(recipe, evaluation.batches),
        )
        self._stages.read_shown(found.ops)
        return report
