"""textDocument/hover: the numbers of the op at a position."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import quote

from lsprotocol import types

from handlens.report import OpReport, Span
from handlens_server import op_card
from handlens_server.capabilities import Capabilities
from handlens_server.features.execute_command import REPORT, RERUN
from handlens_server.results import Result

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer


def register(server: HandlensServer) -> None:
    """Register the handler."""

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        document = server.documents.find(params.text_document.uri)
        if document is None or document.file is None:
            return None
        text, at = document.source, document.place(params.position)
        found: list[tuple[Span, OpReport, Result]] = []
        for result in server.results.at(document.file):
            # Numbers beside a line that they were not measured on are worse than none.
            if result.text(document.file) == text:
                found += [(span, op, result) for span, op in result.ops_at(document.file, *at)]
        if not found:
            return None
        smallest = min((span for span, _, _ in found), key=_size)
        by_target: dict[str, tuple[Result, list[OpReport]]] = {}
        for span, op, result in found:
            if (span.start, span.end) == (smallest.start, smallest.end):
                by_target.setdefault(result.name, (result, []))[1].append(op)
        cards = [
            op_card.card(
                ops,
                target if len(by_target) > 1 else None,
                result.report.findings,
            )
            for target, (result, ops) in by_target.items()
        ]
        shown = [result for result, _ in by_target.values()]
        note = ""
        if any(result.kept for result in shown):
            note = "Measured by the last run that worked."
        elif any(result.is_stale(document.file) for result in shown):
            note = "Measured before the last edits of this file."
        return types.Hover(
            _content(cards, server.client, note, document.uri),
            document.range(smallest),
        )


def _content(
    cards: list[op_card.Card], client: Capabilities, note: str, uri: str
) -> types.MarkupContent:
    if client.markdown:
        texts = [op_card.markdown(card, client.images) for card in cards]
        texts = [*([f"*{note}*"] if note else []), *texts]
        if client.command_links:
            links = (("Rerun", RERUN, [uri]), ("Report", REPORT, [uri, "html"]))
            texts.append(
                " · ".join(
                    f"[{name}](command:{command}?{quote(json.dumps(arguments))})"
                    for name, command, arguments in links
                )
            )
        return types.MarkupContent(types.MarkupKind.Markdown, "\n\n---\n\n".join(texts))
    texts = [*([note] if note else []), *map(op_card.plain, cards)]
    return types.MarkupContent(types.MarkupKind.PlainText, "\n\n".join(texts))


def _size(span: Span) -> tuple[int, int]:
    return span.end_line - span.line, span.end_column - span.column
