"""textDocument/codeLens: above each target, how accurate its quantized model is, and a way to run it; above
each class of modules, what is worst in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lsprotocol import types

from handlens import words
from handlens.report import OpReport, Span
from handlens.targets import Target
from handlens_server import positions
from handlens_server.discovery import discover
from handlens_server.documents import Document
from handlens_server.features import execute_command
from handlens_server.results import ClassOps, Result

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer


def register(server: HandlensServer) -> None:
    """Register the handler."""

    @server.feature(types.TEXT_DOCUMENT_CODE_LENS)
    def code_lens(params: types.CodeLensParams) -> list[types.CodeLens]:
        document = server.documents.find(params.text_document.uri)
        if document is None or document.file is None or not document.is_python:
            return []
        results = server.results.of(document.uri)
        running = server.runs.is_running(document.uri)
        lenses = []
        for target in discover(document.source, document.file).targets:
            if target.file != document.file:
                continue
            name = Span(target.file, target.line, target.column, target.line, target.end_column)
            where = document.range(name)
            if where is None:
                continue
            title = _title(target, results.get(target.name), running, server.trusted)
            act = execute_command.CANCEL if running else execute_command.RERUN
            command = types.Command(title, act, arguments=[document.uri])
            lenses.append(types.CodeLens(where, command))
            if target.name in results and not running:
                show = types.Command(
                    "Report", execute_command.REPORT, arguments=[document.uri, "html"]
                )
                lenses.append(types.CodeLens(where, show))
        return [*lenses, *_of_classes(server, document, document.file)]


def _of_classes(server: HandlensServer, document: Document, file: str) -> Iterator[types.CodeLens]:
    """Above each class of modules, the op in it that is worst, and a way to get there."""
    shown = server.results.following(file, document.source)
    stale = " · stale" if any(result.is_outdated for result in shown) else ""
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
        ops = "1 op" if count == 1 else f"{count} ops"
        title = f"Handlens: {ops} · worst {op.name} {ratio:.1f} dB{stale}"
        place = positions.to_range(span, document.lines, document.encoding)
        target = server.documents.location(file, place)
        if target is not None:
            start, end = target.range.start, target.range.end
            arguments = [target.uri, start.line, start.character, end.line, end.character]
            yield types.CodeLens(
                where, types.Command(title, execute_command.SHOW, arguments=arguments)
            )


def _worst(result: Result, of: ClassOps) -> tuple[float, int, OpReport, Span] | None:
    """The worst op of a class that is still there, and where it is now."""
    for op in of.ops:
        span = None if op.span is None else result.span(op.span)
        if span is not None and op.sqnr_db is not None:
            return op.sqnr_db, op.handle, op, span
    return None


def _title(target: Target, result: Result | None, running: bool, trusted: bool) -> str:
    if not trusted:
        return "Handlens: not run, the workspace is not trusted"
    if running:
        return "Handlens: comparing … · cancel"
    if result is None:
        return "Handlens: compare with the quantized model"
    if result.report.error is not None:
        return "Handlens: the run failed · rerun"
    stale = " · stale" if result.is_outdated else ""
    return f"Handlens: {_summary(result)}{stale} · rerun"


def _summary(result: Result) -> str:
    """The accuracy of the output, whether it is the model's, and the op that is worst."""
    report = result.report
    parts = []
    if report.verified is not None and report.verified.verdict == "differs":
        parts.append("the reference is not the model")
    if report.output is not None:
        parts.append(f"output {words.ratio(report.output.verdict, report.output.sqnr_db)}")
    if result.worst is not None:
        parts.append(f"worst {result.worst.name} {result.worst.sqnr_db:.1f} dB")
    return " · ".join(parts) or "nothing was measured"
