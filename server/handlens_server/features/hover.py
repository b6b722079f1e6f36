"""textDocument/hover: the numbers of the op at a position, or the result of the target there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from urllib.parse import quote

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens.report import OpReport
from handlens_server import commands
from handlens_server.capabilities import Capabilities
from handlens_server.cards import op_card, target_card
from handlens_server.results.result import Result
from handlens_server.runs.runs import Runs
from handlens_server.state import State
from handlens_server.text.discovery import discover, name_span
from handlens_server.text.documents import Document

_MOST_TARGETS = 6
# VS Code cuts a hover off at 100,000 characters, in the middle of a picture.
_LONGEST = 90_000


def register(server: LanguageServer, state: State, runs: Runs) -> None:
    """Register the handler."""

    @server.feature(types.TEXT_DOCUMENT_HOVER)
    def hover(params: types.HoverParams) -> types.Hover | None:
        document = state.documents.find(params.text_document.uri)
        if document is None or document.file is None:
            return None
        runs.prioritize(document)
        if (target := _of_target(state, document, params.position)) is not None:
            return target
        span, found = state.results.innermost(
            document.file, document.source, document.place(params.position)
        )
        if span is None:
            return None
        client = state.capabilities
        has_causes = client.diagnostics_in_hover
        return types.Hover(content_of(found, document, client, has_causes), document.range(span))


def content_of(
    found: Sequence[tuple[Result, OpReport]],
    document: Document,
    client: Capabilities,
    has_causes: bool = False,
) -> types.MarkupContent:
    """The cards of ops at one place of a document, one for each target that runs them.

    With ``has_causes``, the causes of their findings are shown beside the cards, and left out of them.
    """
    by_target: dict[str, tuple[Result, list[OpReport]]] = {}
    for result, op in found:
        by_target.setdefault(result.name, (result, []))[1].append(op)
    cards = [
        op_card.card(
            ops,
            target if len(by_target) > 1 else None,
            result.report.findings,
            result.report.advice,
        )
        for target, (result, ops) in by_target.items()
    ]
    if has_causes:
        cards = [dataclasses.replace(card, cause=()) for card in cards]
    note = _note([result for result, _ in by_target.values()], document.file or "")
    return content(cards, client, note, document.uri)


def _of_target(state: State, document: Document, position: types.Position) -> types.Hover | None:
    """The result of the target that is declared at a position."""
    file = document.file or ""
    line, column = document.place(position)
    for target in discover(document.source, file).targets:
        inside = target.line == line and target.column <= column <= target.end_column
        if not inside or target.file != file:
            continue
        result = state.results.numbers_of(document.uri, target.name)
        if result is None or result.report.coverage is None:
            return None
        report, note = result.report, _note([result], file)
        history = result.history
        if state.capabilities.markdown:
            texts = [*([f"*{note}*"] if note else []), target_card.markdown(report, history)]
            content = types.MarkupContent(types.MarkupKind.Markdown, "\n\n".join(texts))
        else:
            texts = [*([note] if note else []), target_card.plain(report, history)]
            content = types.MarkupContent(types.MarkupKind.PlainText, "\n".join(texts))
        return types.Hover(content, document.range(name_span(target)))
    return None


def _note(shown: Sequence[Result], file: str) -> str:
    """A warning if the numbers are not those of the present text; else empty."""
    if any(result.is_previous for result in shown):
        return "Measured by the last run that worked."
    if any(result.is_stale_in(file) for result in shown):
        return "Measured before the last edits of this file."
    if any(result.is_stale for result in shown):
        return "Measured before the last edits of another file."
    return ""


def content(
    cards: Sequence[op_card.Card], client: Capabilities, note: str, uri: str
) -> types.MarkupContent:
    """The note, and below it a card for each target that runs the expression, as many as have room."""
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
            links = commands.rerun("Rerun", uri), commands.report("Report", uri)
            texts.append(" · ".join(map(_link, links)))
        return types.MarkupContent(types.MarkupKind.Markdown, "\n\n---\n\n".join(texts))
    texts = [*([note] if note else []), *map(op_card.plain, cards), *more]
    return types.MarkupContent(types.MarkupKind.PlainText, "\n\n".join(texts))


def _link(command: types.Command) -> str:
    arguments = quote(json.dumps(command.arguments))
    return f"[{command.title}](command:{command.command}?{arguments})"
