"""textDocument/codeLens: the accuracy above each target, with a rerun, and what its advice reaches; the
worst op above each class."""

from __future__ import annotations

from collections.abc import Iterator

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens import words
from handlens.report import OpReport, Span
from handlens.targets import Target
from handlens_server import commands
from handlens_server.cards.markup import short
from handlens_server.results import advised
from handlens_server.results.result import ClassOps, Result
from handlens_server.runs.runs import Runs
from handlens_server.runs.searches import Searches
from handlens_server.state import State
from handlens_server.text.discovery import discover, name_span
from handlens_server.text.documents import Document


def register(server: LanguageServer, state: State, runs: Runs, searches: Searches) -> None:
    """Register the handler, and ask the client to refresh its lenses when they change."""

    def numbers_changed() -> None:
        if state.capabilities.refresh_code_lenses:
            server.workspace_code_lens_refresh(None)

    state.events.numbers_changed.subscribe(numbers_changed)

    @server.feature(types.TEXT_DOCUMENT_CODE_LENS)
    def code_lens(params: types.CodeLensParams) -> list[types.CodeLens]:
        document = state.documents.find(params.text_document.uri)
        if document is None or document.file is None or not document.is_python:
            return []
        results = state.results.of(document.uri)
        lenses = []
        for target in discover(document.source, document.file).targets:
            if target.file != document.file:
                continue
            where = document.range(name_span(target))
            if where is None:
                continue
            running = runs.stage(document.uri, target.name) is not None
            title = _title(target, results.get(target.name), running, state.trusted)
            act = commands.cancel if running else commands.rerun
            lenses.append(types.CodeLens(where, act(title, document.uri)))
            if target.name in results and not running:
                lenses.append(types.CodeLens(where, commands.report("Report", document.uri)))
                is_searched = searches.progress(document.uri, target.name) is not None
                if state.capabilities.apply_edits and not is_searched:
                    lenses += _of_advice(document.uri, results[target.name], where)
        return [*lenses, *_of_classes(state, document, document.file)]


def _of_advice(uri: str, result: Result, where: types.Range) -> Iterator[types.CodeLens]:
    """What all recommended changes reach together, and a click that makes them."""
    offer = advised.whole(result.advice) if result.advice else None
    if result.advice and offer:
        title = f"{offer.reached} · apply"
        steps = len(offer.changes)
        yield types.CodeLens(where, commands.apply_advice(title, uri, result.name, steps))


def _of_classes(state: State, document: Document, file: str) -> Iterator[types.CodeLens]:
    """Above each class with a ``forward``, its worst op and a link to it."""
    shown = state.results.matching(file, document.source)
    stale = " · stale" if any(result.is_stale for result in shown) else ""
    by_class: dict[Span, list[tuple[Result, ClassOps]]] = {}
    for result in shown:
        for each in result.classes.get(file, ()):
            if (name := result.span(each.name)) is not None:
                by_class.setdefault(name, []).append((result, each))
    for name, runs in sorted(by_class.items(), key=lambda each: each[0].start):
        where = document.range(name)
        worst = [found for result, each in runs if (found := _worst(result, each)) is not None]
        if where is None or not worst:
            continue
        ratio, _, op, span = min(worst, key=lambda each: each[:2])
        count = sum(len(each.ops) for _, each in runs)
        title = (
            f"Handlens: {words.count(count, 'op')} · worst {op.name} {words.decibels(ratio)}{stale}"
        )
        target = state.documents.locate(span, document.source)
        if target is not None:
            yield types.CodeLens(where, commands.show(title, target))


def _worst(result: Result, of: ClassOps) -> tuple[float, int, OpReport, Span] | None:
    """The worst op of a class that was not edited since, and where it is now."""
    for op in of.ops:
        span = None if op.span is None else result.span(op.span)
        if span is not None and op.sqnr_db is not None:
            return op.sqnr_db, op.handle, op, span
    return None


def _title(target: Target, result: Result | None, running: bool, trusted: bool) -> str:
    if not trusted:
        return "Handlens: not run, the workspace is not trusted"
    if running:
        return "Handlens: running … · cancel"
    if result is None:
        return "Handlens: compare with the quantized model"
    if result.report.error is not None:
        return f"Handlens: the run failed: {short(result.report.error.message)} · rerun"
    stale = " · stale" if result.is_stale else ""
    return f"Handlens: {_summary(result)}{stale} · rerun"


def _summary(result: Result) -> str:
    """The accuracy of the output, whether the reference differs from the model, and the worst op."""
    report = result.report
    parts = []
    if report.verified is not None and report.verified.verdict == "differs":
        parts.append("the reference is not the model")
    if report.output is not None:
        parts.append(result.output)
    if result.worst is not None:
        parts.append(
            f"worst {result.worst.name} {words.ratio(result.worst.verdict, result.worst.sqnr_db)}"
        )
    return " · ".join(parts) or "nothing was measured"
