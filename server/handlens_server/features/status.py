"""``handlens/status``: what the targets of a document are doing, for clients that show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from pygls.lsp.server import LanguageServer

from handlens.rendering.view import SEVERITIES, clean
from handlens.request import Progress
from handlens.targets import Target
from handlens_server.results import advised
from handlens_server.results.result import Result
from handlens_server.runs.runs import Runs
from handlens_server.runs.searches import Searches
from handlens_server.runs.stages import stage_at
from handlens_server.state import State
from handlens_server.text.discovery import discover, name_span
from handlens_server.text.documents import Document

STATUS = "handlens/status"


def register(server: LanguageServer, state: State, runs: Runs, searches: Searches) -> None:
    """Tell the client about its documents, each time something about them is new."""
    sent: dict[str, dict[str, Any]] = {}
    """By the uri of a document."""

    def status_changed(uri: str) -> None:
        document = state.document(uri)
        if document is None or document.file is None or not state.capabilities.status:
            return
        root = state.documents.root(document.file)
        now = {
            "uri": document.uri,
            "trusted": state.trusted,
            "targets": targets(state, runs, searches, document),
            "measured_by": _measured_by(state, runs, document),
            "unreadable": _unreadable(document),
            "problem": state.pool.problem(root),
            "remarks": state.pool.remarks(root),
        }
        if sent.get(document.uri) != now:
            sent[document.uri] = now
            server.protocol.notify(STATUS, now)

    def findings_changed(files: Collection[str], run: str | None) -> None:
        for file in files:
            if (document := state.documents.at(file)) is not None:
                status_changed(document.uri)

    def forget(uris: Collection[str]) -> None:
        for uri in uris:
            sent.pop(uri, None)

    state.events.status_changed.subscribe(status_changed)
    state.events.findings_changed.subscribe(findings_changed)
    state.events.documents_closed.subscribe(forget)
    state.events.documents_abandoned.subscribe(forget)


def targets(
    state: State, runs: Runs, searches: Searches, document: Document
) -> list[dict[str, Any]]:
    """The targets of a document: where each is declared, and how it stands with its runs."""
    if document.file is None or not document.is_python:
        return []
    results = state.results.of(document.uri)
    return [
        {
            **_target(document, each, results.get(each.name), runs.stage(document.uri, each.name)),
            "began": runs.began(document.uri, each.name),
            "advice": advice(results.get(each.name), searches.progress(document.uri, each.name)),
        }
        for each in discover(document.source, document.file).targets
    ]


def _measured_by(state: State, runs: Runs, document: Document) -> list[str]:
    """The uris of other documents whose targets run code of this one, the last looked at first."""
    if document.file is None:
        return []
    found = {result.run.uri for result in state.results.at(document.file)} - {document.uri}
    return sorted(found, key=lambda uri: (-runs.last_looked_at(uri), uri))


def _unreadable(document: Document) -> str | None:
    """Why the targets of a document are not known; None if they are."""
    if document.file is None or not document.is_python:
        return None
    failure = discover(document.source, document.file).failure
    return clean(failure.message) if failure else None


def advice(result: Result | None, progress: str | None) -> dict[str, Any] | None:
    """What the search for advice does, and has found; None if nothing is searched for or found."""
    found = result.report.advice if result else None
    if found is None and progress is None:
        return None
    return {
        "state": progress or "done",
        "measurements": found.measurements if found else 0,
        "best": clean(advised.so_far(found)) if found else "",
        "text": clean(advised.summary(found)) if found and progress is None else "",
    }


def _target(
    document: Document,
    target: Target,
    result: Result | None,
    running: tuple[str, Progress | None] | None,
) -> dict[str, Any]:
    stage = stage_at(*running) if running is not None else None
    report = result.report if result else None
    severities = Counter(each.severity for each in report.findings) if report else Counter()
    output = report.output if report else None
    return {
        "name": target.name,
        "kind": target.kind,
        "range": document.range(name_span(target)) if target.file == document.file else None,
        "state": "running" if running is not None else _state(result),
        "stage": running and running[0],
        "stage_text": stage and stage.description,
        "percentage": stage and stage.percentage,
        "recipe": report.recipe if report else None,
        "output": output and {"verdict": output.verdict, "sqnr_db": output.sqnr_db},
        "previous_db": result.previous_db if result else None,
        "verified": report.verified.verdict if report and report.verified else None,
        "findings": {severity: severities[severity] for severity in SEVERITIES},
        "error": clean(report.error.message) if report and report.error else None,
        "finished": result.finished if result else None,
        "seconds": sum(seconds for stage, seconds in report.timings.items() if stage != "advise")
        if report
        else None,
        "generation": result.run.generation if result else None,
    }


def _state(result: Result | None) -> str:
    if result is None:
        return "idle"
    if result.report.error is not None:
        return "failed"
    return "stale" if result.is_stale else "ok"
