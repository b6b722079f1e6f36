"""What the targets of a document are doing, for clients that show it: ``handlens/status``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from handlens.rendering.view import SEVERITIES, clean
from handlens.report import Span
from handlens.targets import Target
from handlens_server.discovery import discover
from handlens_server.documents import Document
from handlens_server.progress import STAGES
from handlens_server.results import Result

if TYPE_CHECKING:
    from handlens_server.server import HandlensServer

STATUS = "handlens/status"


class Status:
    """Tells the client what is done about its documents, each time it is something else."""

    def __init__(self, server: HandlensServer) -> None:
        self._server = server
        self._told: dict[str, dict[str, Any]] = {}

    def follow(self, document: Document | None) -> None:
        """Tell the client about a document if there is news."""
        if document is None or document.file is None or not self._server.client.status:
            return
        now = {
            "uri": document.uri,
            "trusted": self._server.trusted,
            "targets": self.targets(document),
            "problem": self._server.pool.problem(self._server.documents.root(document.file)),
        }
        if self._told.get(document.uri) != now:
            self._told[document.uri] = now
            self._server.protocol.notify(STATUS, now)

    def forget(self, uri: str) -> None:
        """Forget what was told about a document that is closed."""
        self._told.pop(uri, None)

    def targets(self, document: Document) -> list[dict[str, Any]]:
        """The targets of a document: where each is declared, and how it stands with its runs."""
        if document.file is None or not document.is_python:
            return []
        results = self._server.results.of(document.uri)
        found = discover(document.source, document.file).targets
        return [self._target(document, each, results.get(each.name)) for each in found]

    def _target(self, document: Document, target: Target, result: Result | None) -> dict[str, Any]:
        report = result.report if result else None
        stage = self._server.runs.stage(document.uri, target.name)
        where = None
        if target.file == document.file:
            name = Span(target.file, target.line, target.column, target.line, target.end_column)
            where = document.range(name)
        severities = Counter(each.severity for each in report.findings) if report else Counter()
        output = report.output if report else None
        return {
            "name": target.name,
            "kind": target.kind,
            "range": where,
            "state": "running" if stage is not None else _state(result),
            "stage": stage,
            "percentage": STAGES[stage][0] if stage in STAGES else None,
            "recipe": report.recipe if report else None,
            "output": output and {"verdict": output.verdict, "sqnr_db": output.sqnr_db},
            "verified": report.verified.verdict if report and report.verified else None,
            "findings": {severity: severities[severity] for severity in SEVERITIES},
            "error": clean(report.error.message) if report and report.error else None,
            "finished": result.finished if result else None,
            "seconds": sum(report.timings.values()) if report else None,
            "generation": result.run.generation if result else None,
        }


def _state(result: Result | None) -> str:
    if result is None:
        return "idle"
    if result.report.error is not None:
        return "failed"
    return "stale" if result.is_outdated else "ok"
