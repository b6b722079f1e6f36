"""textDocument/codeAction: quick fixes for findings, a rerun, and declarations of targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens import target_edits
from handlens.diagnosis.rules import RULES
from handlens.diagnosis.rules.inherited_error import InheritedError
from handlens.diagnosis.rules.unused_suppression import UnusedSuppression
from handlens.report import Finding, Span
from handlens.source_text import split_lines
from handlens.target_edits import Additions, Edit, NoEdit
from handlens_server import commands
from handlens_server.features import diagnostics
from handlens_server.results.result import Result
from handlens_server.state import State
from handlens_server.text import positions, source_edits, target_template
from handlens_server.text.discovery import discover
from handlens_server.text.documents import Document

TITLE = "Rerun the quantization comparison"
RERUN = "source.handlens.rerun"
DECLARE = "refactor.handlens.declareTarget"

_QUICK_FIX = types.CodeActionKind.QuickFix


def register(server: LanguageServer, state: State) -> None:
    """Register the handler."""

    @server.feature(
        types.TEXT_DOCUMENT_CODE_ACTION,
        types.CodeActionOptions(code_action_kinds=[_QUICK_FIX, RERUN, DECLARE]),
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
        actions = _Actions(state, document, document.file)
        found = [action for each in ours for action in actions.on(each)]
        if ours:
            found.append(
                types.CodeAction(TITLE, kind=_QUICK_FIX, diagnostics=ours, command=command)
            )
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
                lambda: source_edits.remove_suppression(self.document.source, span.line),
                preferred=True,
            )
        elif finding.span is not None and RULES[finding.rule].can_be_suppressed:
            yield from self._go_to_origin(diagnostic, result, finding)
            yield from self._keep_float(diagnostic, result, finding)
            yield from self._fix(
                f"Suppress {finding.rule} on this line",
                diagnostic,
                lambda: source_edits.suppress(self.document.source, span, finding.rule),
            )

    def declare(self, first: int, last: int) -> Iterator[types.CodeAction]:
        """Actions that declare a target, for each model class in the lines from ``first`` to ``last``."""
        text = self.document.source
        for model in target_template.model_classes(text, first, last):
            function = target_template.target_function(model, text)
            edit = self._edit(self.file, text, Edit(len(text), len(text), function))
            if edit is not None:
                title = f"Declare a Handlens target for {model.name}"
                yield types.CodeAction(title, kind=DECLARE, edit=edit)

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
        make: Callable[[], Edit],
        preferred: bool = False,
        file: str | None = None,
    ) -> Iterator[types.CodeAction]:
        """An action that edits a file. If it cannot, clients that show disabled actions get the reason."""
        action = types.CodeAction(title, kind=_QUICK_FIX, diagnostics=[diagnostic])
        if preferred and self.state.capabilities.preferred_actions:
            action.is_preferred = True
        try:
            edit = make()
        except NoEdit as reason:
            if not self.state.capabilities.disabled_actions:
                return
            action.disabled = types.CodeActionDisabled(str(reason))
        else:
            changed = file or self.file
            action.edit = self._edit(changed, self.state.documents.text(changed) or "", edit)
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

    def _keep_float(
        self, diagnostic: types.Diagnostic, result: Result, finding: Finding
    ) -> Iterator[types.CodeAction]:
        target = result.target
        op = result.op(finding.handle)
        # Keeping an op in float helps only against the loss that quantizing it causes.
        if target is None or op is None or not RULES[finding.rule].is_helped_by_keep_float:
            return
        # The target is declared in the document that was run, which may be another one.
        file = target_edits.declaring_file(target)

        def make() -> Edit:
            if not op.module:
                raise NoEdit(f"{op.name} belongs to no submodule, and only modules stay in float")
            text = self.state.documents.text(file) or ""
            return target_edits.add(text, target, Additions(keep_float=(op.module,)))

        title = f"Keep {op.module or op.name} in float for {target.name}"
        yield from self._fix(title, diagnostic, make, file=file)

    def _edit(self, file: str, text: str, edit: Edit) -> types.WorkspaceEdit | None:
        lines, encoding = split_lines(text), self.state.documents.encoding
        whole = types.Range(
            positions.at(edit.start, lines, encoding), positions.at(edit.end, lines, encoding)
        )
        where = self.state.documents.location(file, whole)
        if where is None:
            return None
        return types.WorkspaceEdit(changes={where.uri: [types.TextEdit(where.range, edit.text)]})
