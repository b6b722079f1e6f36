"""textDocument/inlayHint: the worst ratio of the ops of a line, at its end."""

from __future__ import annotations

from collections.abc import Sequence

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens import words
from handlens.report import OpReport, Span
from handlens_server.cards import op_card
from handlens_server.runs.runs import Runs
from handlens_server.state import State
from handlens_server.text.documents import Document


def register(server: LanguageServer, state: State, runs: Runs) -> None:
    """Register the handlers, and let the client ask again when it would be answered something else."""

    def numbers_changed() -> None:
        if state.capabilities.refresh_inlay_hints:
            server.workspace_inlay_hint_refresh(None)

    state.events.numbers_changed.subscribe(numbers_changed)

    @server.feature(types.TEXT_DOCUMENT_INLAY_HINT, types.InlayHintOptions(resolve_provider=True))
    def inlay_hint(params: types.InlayHintParams) -> list[types.InlayHint]:
        document = state.documents.find(params.text_document.uri)
        if document is None or document.file is None:
            return []
        runs.prioritize(document)
        if not state.settings(document.file).inlay_hints:
            return []
        stale = any(
            result.is_previous or result.is_stale for result in state.results.at(document.file)
        )
        hints = []
        (first, _), (last, _) = document.place(params.range.start), document.place(params.range.end)
        shown = _by_line(state, document, first, last)
        for line, ops in sorted(shown.items()):
            if label := _label(ops):
                width = len(document.lines[line - 1])
                where = document.range(Span(document.file, line, width, line, width))
                if where is not None:
                    hints.append(
                        types.InlayHint(
                            where.end,
                            label + " (stale)" * stale,
                            padding_left=True,
                            data={"uri": document.part.uri, "line": line},
                        )
                    )
        return hints

    @server.feature(types.INLAY_HINT_RESOLVE)
    def resolve(hint: types.InlayHint) -> types.InlayHint:
        data = hint.data if isinstance(hint.data, dict) else {}
        document = state.documents.find(str(data.get("uri")))
        line = int(data.get("line", 0))
        if document is not None and (ops := _by_line(state, document, line, line)):
            card = op_card.card(ops[line])
            if state.capabilities.markdown:
                markdown = types.MarkupKind.Markdown
                hint.tooltip = types.MarkupContent(markdown, op_card.markdown(card))
            else:
                hint.tooltip = op_card.plain(card)
        return hint


def _by_line(state: State, document: Document, first: int, last: int) -> dict[int, list[OpReport]]:
    """The ops that are shown in some lines of a document, by the line that they start in."""
    found: dict[int, list[OpReport]] = {}
    file = document.file or ""
    for result in state.results.matching(file, document.source):
        for span, op in result.ops_starting_in(file, first, last):
            found.setdefault(span.line, []).append(op)
    return found


def _label(ops: Sequence[OpReport]) -> str:
    """A few characters about the ops of a line; empty if there is nothing to say."""
    times = f" ×{len(ops)}" if len(ops) > 1 else ""
    if any(op.verdict == "non-finite" for op in ops):
        return f"{words.ratio('non-finite', None)}{times}"
    ratios = [op.sqnr_db for op in ops if op.sqnr_db is not None]
    if not ratios:
        return ""
    return f"{'min ' if times else ''}{words.decibels(min(ratios))}{times}"
