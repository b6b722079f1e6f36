"""textDocument/hover: the numbers of the op at a position."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from lsprotocol import types

from handlens.report import OpReport
from handlens_server import op_card
from handlens_server.capabilities import Capabilities
from handlens_server.features.execute_command import REPORT, RERUN
from handlens_server.results import Result

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer


_MOST_TARGETS = 6
# VS Code cuts off what is longer than 100,000 characters, and pictures with it.
_LONGEST = 90_000


def register(server: HandlensServer) -> None:
    """Register the handler."""

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        document = server.documents.find(params.text_document.uri)
        if document is None or document.file is None:
            return None
        server.runs.attend(document)
        span, found = server.results.innermost(
            document.file, document.source, document.place(params.position)
        )
        if span is None:
            return None
        by_target: dict[str, tuple[Result, list[OpReport]]] = {}
        for result, op in found:
            by_target.setdefault(result.name, (result, []))[1].append(op)
        cards = [
            op_card.card(
                ops,
                target if len(by_target) > 1 else None,
                result.report.findings,
            )
            for target, (result, ops) in by_target.items()
        ]
        if server.client.diagnostics_in_hover:
            cards = [dataclasses.replace(card, cause=()) for card in cards]
        shown = [result for result, _ in by_target.values()]
        note = ""
        if any(result.kept for result in shown):
            note = "Measured by the last run that worked."
        elif any(result.is_stale(document.file) for result in shown):
            note = "Measured before the last edits of this file."
        return types.Hover(
            content(cards, server.client, note, document.uri),
            document.range(span),
        )


def content(
    cards: Sequence[op_card.Card], client: Capabilities, note: str, uri: str
) -> types.MarkupContent:
    """The cards of one expression, one for each target, below a note; as many as a hover has room for."""
    # Nobody compares a dozen targets in a hover.
    shown = min(len(cards), _MOST_TARGETS)
    while len((found := _content(cards, shown, client, note, uri)).value) > _LONGEST and shown > 1:
        shown -= 1
    return found


def _content(
    cards: Sequence[op_card.Card], shown: int, client: Capabilities, note: str, uri: str
) -> types.MarkupContent:
    hidden, cards = len(cards) - shown, cards[:shown]
    more = [f"And {hidden} more targets run this."] if hidden else []
    if client.markdown:
        texts = [op_card.markdown(card, client.images) for card in cards]
        texts = [*([f"*{note}*"] if note else []), *texts, *more]
        if client.command_links:
            links = (("Rerun", RERUN, [uri]), ("Report", REPORT, [uri, "html"]))
            texts.append(
                " · ".join(
                    f"[{name}](command:{command}?{quote(json.dumps(arguments))})"
                    for name, command, arguments in links
                )
            )
        return types.MarkupContent(types.MarkupKind.Markdown, "\n\n---\n\n".join(texts))
    texts = [*([note] if note else []), *map(op_card.plain, cards), *more]
    return types.MarkupContent(types.MarkupKind.PlainText, "\n\n".join(texts))
