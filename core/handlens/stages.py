"""The stages of a run up to the comparison. Whatever goes wrong in one is a failure at the user's line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import ModuleType

from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from handlens import recipes
from handlens.capture.export import Captured, capture
from handlens.capture.handles import generate_numeric_debug_handle
from handlens.capture.nodes import op_of
from handlens.capture.places import Places
from handlens.comparison.objectives import MetricFailed
from handlens.diagnosis.rules.export_failed import ExportFailed
from handlens.diagnosis.rules.invalid_target import InvalidTarget as InvalidTargetRule
from handlens.diagnosis.rules.run_failed import RunFailed
from handlens.diagnosis.rules.target_failed import TargetFailed, does_not_parse
from handlens.distributed.ranks import RankFailed
from handlens.drafting import draft
from handlens.failures.exceptions import failure, is_out_of_memory
from handlens.failures.inquiry import Inquiry
from handlens.loading.importing import Sources
from handlens.loading.module import load
from handlens.loading.preserving import as_given
from handlens.loading.subject import BatchFailed, InvalidTarget, Subject, build
from handlens.recipes import CalibrationFailed, CannotQuantize, Quantized, Recipe
from handlens.report import Draft, Failure, OpReport, Span
from handlens.request import RunRequest
from handlens.shown_files import shown_by
from handlens.source_text import read


class Failed(Exception):
    """A stage ended in a failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Stages:
    """Loads, exports and quantizes the target of a request, and knows the places of its source.

    Every method may raise ``Failed``.
    """

    def __init__(self, request: RunRequest) -> None:
        self._request = request
        self._target = request.target
        self.file = os.path.abspath(request.target.file)
        self._in_workspace = shown_by(request)
        self.texts: dict[str, str] = {}
        """The texts of the workspace files that a report depends on, as they were executed or read."""

    def load(self) -> Subject:
        """Import the target's file and call the target."""
        module = self._import()
        try:
            return build(self._target, module)
        except InvalidTarget as error:
            raise self.invalid(error) from error
        except BaseException as error:
            what = f"Target {self._target.name} failed"
            raise Failed(self.failure(TargetFailed.code, what, error)) from error

    def draft(self) -> Draft:
        """Import the target's file, and find out how its model class could be a target."""
        module = self._import()
        return draft(getattr(module, self._target.name), module)

    def _import(self) -> ModuleType:
        try:
            text = self._request.text
            text = self.texts[self.file] = read(self.file) if text is None else text
            unsaved = self._request.unsaved
            sources = Sources(self.file, text, unsaved, self._in_workspace, self.texts)
            return load(sources, self._request.workspace)
        except BaseException as error:
            if isinstance(error, SyntaxError) and error.filename == self.file:
                raise Failed(does_not_parse(error, self.file)) from error
            what = f"Importing {os.path.basename(self.file)} failed"
            raise Failed(self.failure(TargetFailed.code, what, error)) from error

    def recipe(self, request: RunRequest, subject: Subject) -> Recipe:
        """The recipe that a request asks for, or else the target, or else the settings."""
        wanted = request.recipe or subject.recipe or request.default_recipe or recipes.DEFAULT
        try:
            return recipes.resolve(wanted)
        except recipes.UnknownRecipe as error:
            raise self.invalid(error) from error
        except BaseException as error:
            what = f"Importing recipe {wanted!r} failed"
            raise Failed(self.failure(InvalidTargetRule.code, what, error)) from error

    def export(self, subject: Subject) -> Captured:
        """Export the model, with a debug handle for each op."""
        try:
            captured = self._export(subject, strict=False)
        except BaseException as error:
            # Dynamo, which strict export uses, captures some models that tracing does not.
            found = self._export_strictly(subject) if isinstance(error, Exception) else None
            if found is None:
                raise self._not_exported(subject, error) from error
            captured = found
        generate_numeric_debug_handle(captured.program)
        return captured

    def quantize(self, captured: Captured, recipe: Recipe, subject: Subject) -> Quantized:
        """Quantize the exported model."""
        try:
            with self.refusals():
                return recipe.quantize(captured, subject)
        except Failed:
            raise
        except CalibrationFailed as error:
            inquiry = self.inquiry(captured, subject)
            raise Failed(inquiry.calibration(error, recipe)) from error
        except CannotQuantize as error:
            span = self.places.shown(captured.spans(error.node)) or self._target.declaration
            message = f"{op_of(error.node)} cannot be quantized with {recipe.name}: {error.message}"
            raise Failed(Failure(RunFailed.code, message, span, "")) from error
        except BaseException as error:
            raise Failed(self.inquiry(captured, subject).quantizing(error, recipe)) from error

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Turn an unusable target, an unknown recipe, a batch or a metric that raises into ``Failed``."""
        try:
            yield
        except (InvalidTarget, recipes.UnknownRecipe) as error:
            raise self.invalid(error) from error
        except BatchFailed as error:
            what = f"Making {error.batch} failed"
            raise Failed(self.failure(RunFailed.code, what, error.error)) from error
        except MetricFailed as error:
            raise Failed(self.failure(RunFailed.code, error.what, error.error)) from error
        except RankFailed as error:
            message = f"On rank {error.rank}: {error.failure.message}"
            raise Failed(replace(error.failure, message=message)) from error

    # -- failures ----------------------------------------------------------------------------------

    def invalid(self, error: InvalidTarget | recipes.UnknownRecipe) -> Failed:
        """The target itself is wrong."""
        place, misspelled = self._target.declaration, error.misspelled
        found = Failure(InvalidTargetRule.code, str(error), place, "", misspelled=misspelled)
        return Failed(found)

    def failure(
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

    def inquiry(self, captured: Captured, subject: Subject) -> Inquiry:
        """Finds the op that a failure comes from."""
        return Inquiry(captured, subject, self.places, self.failure)

    # -- files and lines ---------------------------------------------------------------------------

    @property
    def places(self) -> Places:
        return Places(self._in_workspace, self._target.declaration)

    def modules(self) -> list[ModuleType]:
        """The modules of the workspace that were imported."""
        return [each for each in list(sys.modules.values()) if self._is_own(each)]

    def files(self) -> Iterator[str]:
        """The workspace files that were imported, except the target's own."""
        for module in self.modules():
            if module.__file__ != self.file:
                yield str(module.__file__)

    def read_shown(self, ops: tuple[OpReport, ...]) -> None:
        """Read the files that show ops and were not imported as modules, so that their digests are told."""
        shown = {self.file, *(op.span.file for op in ops if op.span is not None)}
        for file in shown - self.texts.keys():
            with suppress(OSError, SyntaxError, UnicodeDecodeError):
                self.texts[file] = read(file)

    def _is_own(self, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        return isinstance(file, str) and self._in_workspace(file)

    # -- export ------------------------------------------------------------------------------------

    def _export(self, subject: Subject, strict: bool) -> Captured:
        if getattr(sys.stdout, "closed", False):
            # Torch asks standard output whether it is a terminal, and the model has closed it.
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        with as_given(subject.model):
            return capture(
                subject.model, subject.args, subject.kwargs, subject.dynamic_shapes, strict
            )

    def _export_strictly(self, subject: Subject) -> Captured | None:
        try:
            return self._export(subject, strict=True)
        except Exception:
            return None

    def _not_exported(self, subject: Subject, error: BaseException) -> Failed:
        what = f"Exporting {type(subject.model).__name__} failed"
        raised = self.failure(ExportFailed.code, what, error)
        if isinstance(error, GuardOnDataDependentSymNode):
            advice = "Decide with torch.where or torch.cond, or from shapes alone."
            raised = replace(raised, message=f"{raised.message} {advice}")
        return Failed(raised)
