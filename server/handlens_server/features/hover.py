"""textDocument/hover: the numbers of the op at a position; at a target, what its run came to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from lsprotocol import types

from handlens.report import OpReport, Span
from handlens_server import op_card, target_card
from handlens_server.capabilities import Capabilities
from handlens_server.discovery import discover
from handlens_server.documents import Document
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
        if (target := _of_target(server, document, params.position)) is not None:
            return target
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
        note = _note([result for result, _ in by_target.values()], document.file)
        return types.Hover(
            content(cards, server.client, note, document.uri),
            document.range(span),
        )


def _of_target(
    server: HandlensServer, document: Document, position: types.Position
) -> types.Hover | None:
    """What the run of a target came to, where the target is declared."""
    file = document.file or ""
    line, column = document.place(position)
    for target in discover(document.source, file).targets:
        inside = target.line == line and target.column <= column <= target.end_column
        if not inside or target.file != file:
            continue
        all_of = server.results.all_of(document.uri)
        # Beside a run that failed, the last good one has the numbers.
        measured = [each for each in all_of if each.name == target.name and each.report.coverage]
        if not measured:
            return None
        report, note = measured[-1].report, _note(measured, file)
        name = Span(file, target.line, target.column, target.line, target.end_column)
        if server.client.markdown:
            texts = [*([f"*{note}*"] if note else []), target_card.markdown(report)]
            content = types.MarkupContent(types.MarkupKind.Markdown, "\n\n".join(texts))
        else:
            texts = [*([note] if note else []), target_card.plain(report)]
            content = types.MarkupContent(types.MarkupKind.PlainText, "\n".join(texts))
        return types.Hover(content, document.range(name))
    return None


def _note(shown: Sequence[Result], file: str) -> str:
    """What to know of numbers that are not those of the text as it is."""
    if any(result.kept for result in shown):
        return "Measured by the last run that worked."
    if any(result.is_stale(file) for result in shown):
        return "Measured before the last edits of this file."
    if any(result.is_outdated for result in shown):
        return "Measured before the last edits of another file."
    return ""


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
