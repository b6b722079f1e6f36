"""textDocument/codeAction: quick fixes for findings, all that was measured to help a target, a rerun, and
declarations of targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens import target_edits
from handlens.advice_report import Advice, Change
from handlens.advised import Offer, gain, of_op
from handlens.diagnosis.rules import RULES
from handlens.diagnosis.rules.inherited_error import InheritedError
from handlens.diagnosis.rules.unused_suppression import UnusedSuppression
from handlens.report import Finding, Misspelled, OpReport, Span
from handlens.target_edits import Edit, NoEdit
from handlens.targets import Target
from handlens_server import commands
from handlens_server.features import diagnostics
from handlens_server.results import advised
from handlens_server.results.result import Result
from handlens_server.runs.searches import Searches
from handlens_server.state import State
from handlens_server.text import source_edits, target_template, workspace_edits
from handlens_server.text.discovery import discover
from handlens_server.text.documents import Document

TITLE = "Rerun the quantization comparison"
RERUN = "source.handlens.rerun"
APPLY_ADVICE = "source.handlens.applyAdvice"
DECLARE = "refactor.handlens.declareTarget"

_QUICK_FIX = types.CodeActionKind.QuickFix


def register(server: LanguageServer, state: State, searches: Searches) -> None:
    """Register the handler."""

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=[_QUICK_FIX, APPLY_ADVICE, RERUN, DECLARE]),
    )
    def code_action(
        params: types.CodeActionParams,
    ) -> list[types.Command | types.CodeAction] | None:
        document = state.documents.find(params.text_document.uri)
        if document is None or document.file is None or not document.is_python:
            return None
        ours = [each for each in params.context.diagnostics if each.source == diagnostics.SOURCE]
        has_targets = bool(ours) or discover(document.source, document.file).found
        command = commands.rerun(TITLE, document.uri)
        if not state.capabilities.code_action_literals:
            return [command] if has_targets else None
        actions = _Actions(state, searches, document, document.file)
        found = [action for each in ours for action in actions.on(each)]
        if ours:
            found.append(
                types.CodeAction(TITLE, kind=_QUICK_FIX, diagnostics=ours, command=command)
            )
        found += actions.apply_advice()
        if has_targets:
            found.append(types.CodeAction(TITLE, kind=RERUN, command=command))
        (first, _), (last, _) = document.place(params.range.start), document.place(params.range.end)
        found += actions.declare(first, last)
        return [each for each in found if _asked_for(each.kind or "", params.context.only)]


def _asked_for(kind: str, only: Sequence[str] | None) -> bool:
    """True if a client that asks for the kinds ``only``, or for all (None), asks for this one."""
    return only is None or any(kind == each or kind.startswith(each + ".") for each in only)


@dataclass(frozen=True)
class _Actions:
    """The actions in one document."""

    state: State
    searches: Searches
    document: Document
    file: str

    def on(self, diagnostic: types.Diagnostic) -> Iterator[types.CodeAction]:
        """The actions for one diagnostic of the document."""
        found = self._finding(diagnostic)
        if found is None:
            return
        result, finding, span = found
        if finding.rule == UnusedSuppression.code:
            yield from self._fix(
                "Remove the unused suppression",
                diagnostic,
                lambda: self._edit(
                    source_edits.remove_suppression(self.document.source, span.line)
                ),
                preferred=True,
            )
        elif (error := result.report.error) and error.misspelled and result.target:
            yield from self._respelled(diagnostic, result.target, error.misspelled)
        elif RULES[finding.rule].can_be_suppressed:
            yield from self._go_to_origin(diagnostic, result, finding)
            yield from self._advised(diagnostic, result, finding)
            if finding.span is not None:
                yield from self._fix(
                    f"Suppress {finding.rule} on this line",
                    diagnostic,
                    lambda: self._edit(
                        source_edits.suppress(self.document.source, span, finding.rule)
                    ),
                )

    def _respelled(
        self, diagnostic: types.Diagnostic, target: Target, misspelled: Misspelled
    ) -> Iterator[types.CodeAction]:
        """A fix for each name that a misspelled one can be changed to."""
        given, text = misspelled.given, self.document.source

        def make(meant: str) -> types.WorkspaceEdit:
            return self._edit(target_edits.respell(text, target, given, meant))

        for each in misspelled.meant:
            is_nearest = each == misspelled.meant[0]
            title = f"Change {given!r} to {each!r}"
            yield from self._fix(title, diagnostic, partial(make, each), preferred=is_nearest)

    def apply_advice(self) -> Iterator[types.CodeAction]:
        """Actions that make all recommended changes, for each target of the document."""
        for result in self.state.results.of(self.document.uri).values():
            if not (advice := result.advice) or self._is_searched(result):
                continue
            if result.target and (offer := advised.whole(advice)):
                title = self._title(result, advice, offer)
                action = types.CodeAction(title, kind=APPLY_ADVICE)
                yield from self._with_edit(action, self._changes(result.target, offer.changes))

    def declare(self, first: int, last: int) -> Iterator[types.CodeAction]:
        """Actions that declare a target, for each model class in the lines from ``first`` to ``last``."""
        text = self.document.source
        for model in target_template.model_classes(text, first, last):
            title = f"Declare a Handlens target for {model.name}"
            action = types.CodeAction(title, kind=DECLARE)
            if self.state.trusted and self.state.capabilities.apply_edits:
                action.command = commands.declare(title, self.document.uri, model.name)
            else:
                function = target_template.target_function(model, text)
                action.edit = self._edit(Edit(len(text), len(text), function))
            yield action

    def _finding(self, diagnostic: types.Diagnostic) -> tuple[Result, Finding, Span] | None:
        """The finding of a diagnostic, where it is now; None if there is none any more."""
        sent = diagnostic.data if isinstance(diagnostic.data, dict) else {}

        def likeness(found: tuple[Result, Finding, Span]) -> tuple[list[bool], bool]:
            result, finding, _ = found
            data = diagnostics.data(finding, result)
            # Clients that send no data back still send the message.
            is_same_message = diagnostics.message(finding, result) == diagnostic.message
            return [sent.get(key) == value for key, value in data.items()], is_same_message

        return max(self._findings(diagnostic), key=likeness, default=None)

    def _findings(self, diagnostic: types.Diagnostic) -> Iterator[tuple[Result, Finding, Span]]:
        """The findings of all targets with the rule and the place of a diagnostic."""
        for result in self.state.results.at(self.file):
            if result.text(self.file) != self.document.source:
                continue
            for finding in result.report.findings:
                place = result.span(finding.span or result.declaration)
                if (
                    finding.rule == diagnostic.code
                    and place is not None
                    and place.file == self.file
                    and self.document.range(place) == diagnostic.range
                ):
                    yield result, finding, place

    def _fix(
        self,
        title: str,
        diagnostic: types.Diagnostic,
        make: Callable[[], types.WorkspaceEdit],
        preferred: bool = False,
    ) -> Iterator[types.CodeAction]:
        """A quick fix that edits a file."""
        action = types.CodeAction(title, kind=_QUICK_FIX, diagnostics=[diagnostic])
        if preferred and self.state.capabilities.preferred_actions:
            action.is_preferred = True
        yield from self._with_edit(action, make)

    def _with_edit(
        self, action: types.CodeAction, make: Callable[[], types.WorkspaceEdit]
    ) -> Iterator[types.CodeAction]:
        """An action with its edit. If there is none, clients that show disabled actions get the reason."""
        try:
            action.edit = make()
        except NoEdit as reason:
            if not self.state.capabilities.disabled_actions:
                return
            action.disabled = types.CodeActionDisabled(str(reason))
        yield action

    def _go_to_origin(
        self, diagnostic: types.Diagnostic, result: Result, finding: Finding
    ) -> Iterator[types.CodeAction]:
        related = (
            finding.related[0] if finding.rule == InheritedError.code and finding.related else None
        )
        if related is None or related.span is None or not self.state.capabilities.show_document:
            return
        where = result.location(related.span, self.state.documents)
        if where is None:
            return
        title = f"Go to the {related.message}"
        command = commands.show(title, where)
        yield types.CodeAction(title, kind=_QUICK_FIX, diagnostics=[diagnostic], command=command)

    def _advised(
        self, diagnostic: types.Diagnostic, result: Result, finding: Finding
    ) -> Iterator[types.CodeAction]:
        """Fixes by what was measured to help; before that, to keep the op of a finding in float."""
        target, op, advice = result.target, result.op(finding.handle), result.advice
        if target is None:
            return
        # A loss that is inherited has its fix where it comes from.
        is_inherited = finding.rule == InheritedError.code
        is_pending = advice is None or self._is_searched(result)
        if advice is not None:
            whole = None if is_pending else advised.whole(advice)
            offers = list(of_op(advice, op.handle)) if op and not is_inherited else []
            # What helps the output is told where nothing is won, and names the ops that win it. A finding
            # without an op is about the output.
            for offer in offers or filter(None, [whole]):
                is_pending = False
                yield from self._fix(
                    self._title(result, advice, offer),
                    diagnostic,
                    self._changes(target, offer.changes),
                    preferred=not is_inherited
                    and (offer == whole or advised.is_best(advice, offer)),
                )
        if is_pending and op is not None and RULES[finding.rule].is_helped_by_keep_float:
            yield from self._keep_float(diagnostic, target, op)

    def _keep_float(
        self, diagnostic: types.Diagnostic, target: Target, op: OpReport
    ) -> Iterator[types.CodeAction]:
        def make() -> types.WorkspaceEdit:
            if not op.module:
                raise NoEdit(f"{op.name} belongs to no submodule, and only modules stay in float")
            change = Change("keep-float", (op.module,), (op.handle,), op.module)
            return self._changes(target, [change])()

        title = f"Keep {op.module or op.name} in float for {target.name}"
        yield from self._fix(title, diagnostic, make)

    def _title(self, result: Result, advice: Advice, offer: Offer) -> str:
        """``Keep conv2 in float: output 9.2 → 39.5 dB``, with the target if there are several."""
        several = len(self.state.results.of(result.run.uri)) > 1
        named = f" for {result.name}" if several else ""
        return f"{offer.title}{named}: {gain(advice, offer.output)}"

    def _is_searched(self, result: Result) -> bool:
        return self.searches.progress(result.run.uri, result.name) is not None

    def _changes(
        self, target: Target, changes: Sequence[Change]
    ) -> Callable[[], types.WorkspaceEdit]:
        return lambda: workspace_edits.with_changes(self.state.documents, target, changes)

    def _edit(self, edit: Edit) -> types.WorkspaceEdit:
        return workspace_edits.workspace_edit(self.state.documents, self.file, edit)
