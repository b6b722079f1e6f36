"""textDocument/inlayHint: at the end of a line, the worst ratio of its ops.

Once the user has selected a target of a file, hints are about that one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens import words
from handlens.report import OpReport, Span
from handlens_server.features import hover
from handlens_server.results.result import Result
from handlens_server.runs.runs import Runs
from handlens_server.state import State
from handlens_server.text.documents import Document

DID_SELECT_TARGET = "handlens/didSelectTarget"

# A ratio of an op in float above this is how float32 rounds, and no loss of anybody's.
_ROUNDING_DB = 100.0


def register(server: LanguageServer, state: State, runs: Runs) -> None:
    """Register the handlers, and ask the client to refresh its hints when they change."""

    def numbers_changed() -> None:
        if state.capabilities.refresh_inlay_hints:
            server.workspace_inlay_hint_refresh(None)

    def documents_closed(uris: Collection[str]) -> None:
        for uri in uris:
            state.selected.pop(uri, None)

    state.events.numbers_changed.subscribe(numbers_changed)
    state.events.documents_closed.subscribe(documents_closed)

    @server.feature(DID_SELECT_TARGET)
    def did_select_target(params: Any) -> None:
        document = state.documents.find(str(params.uri))
        if document is not None:
            state.selected[document.uri] = str(params.target)
            numbers_changed()

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
        for line, found in sorted(shown.items()):
            if text := label([op for _, op in found]):
                width = len(document.lines[line - 1])
                where = document.range(Span(document.file, line, width, line, width))
                if where is not None:
                    hints.append(
                        types.InlayHint(
                            where.end,
                            text + " (stale)" * stale,
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
        if document is not None and (found := _by_line(state, document, line, line)):
            content = hover.content_of(found[line], document, state.capabilities)
            hint.tooltip = content if state.capabilities.markdown else content.value
        return hint


def _by_line(
    state: State, document: Document, first: int, last: int
) -> dict[int, list[tuple[Result, OpReport]]]:
    """The ops in the lines from ``first`` to ``last`` with their runs, by the line that they start in."""
    found: dict[int, list[tuple[Result, OpReport]]] = {}
    file = document.file or ""
    for result in state.results.matching(file, document.source):
        if state.selected.get(result.run.uri, result.name) != result.name:
            continue
        for span, op in result.ops_starting_in(file, first, last):
            found.setdefault(span.line, []).append((result, op))
    return found


def label(ops: Sequence[OpReport]) -> str:
    """The hint for the ops of a line; empty if there is nothing to see."""
    of = f" of {words.count(len(ops), 'op')}" if len(ops) > 1 else ""
    if any(op.verdict == "non-finite" for op in ops):
        return f"{words.ratio('non-finite', None)}{of}"
    ratios = [
        op.sqnr_db
        for op in ops
        if op.sqnr_db is not None and not (op.in_float and op.sqnr_db > _ROUNDING_DB)
    ]
    if not ratios:
        return ""
    return f"{'min ' if of else ''}{words.decibels(min(ratios))}{of}"
