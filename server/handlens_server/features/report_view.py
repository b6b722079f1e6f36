"""handlens/report, /advice, /op, /location and /opsAt: the data of a report, for a client that draws it."""

from __future__ import annotations

import dataclasses
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from handlens import words
from handlens.advice_report import Scores
from handlens.advised import of_steps
from handlens.diagnosis.thresholds import thresholds_in_force
from handlens.rendering.view import View, clean, clean_lines
from handlens.report import Report, Span, StaysInFloat, Unmatched
from handlens.source_text import split_lines
from handlens_server.cards import op_card
from handlens_server.results import advised
from handlens_server.results.result import Result
from handlens_server.runs.searches import Searches
from handlens_server.state import State
from handlens_server.text.documents import Document

REPORT = "handlens/report"
ADVICE = "handlens/advice"
OP = "handlens/op"
LOCATION = "handlens/location"
OPS_AT = "handlens/opsAt"


def register(server: LanguageServer, state: State, searches: Searches) -> None:
    """Register the handlers."""

    def find(params: Any) -> tuple[Document, Result] | None:
        document = state.document(str(params.uri))
        if document is None or document.file is None:
            return None
        result = state.results.numbers_of(document.uri, params.target)
        return None if result is None else (document, result)

    @server.feature(REPORT)
    def report(params: Any) -> dict[str, Any] | None:
        """The last result of a target, with its ops in the order they run."""
        found = find(params)
        if found is None:
            return None
        document, result = found
        report = result.report
        source = _Source(state, result)
        coverage = report.coverage
        return {
            "uri": document.uri,
            "target": result.name,
            "recipe": report.recipe,
            "generation": result.run.generation,
            "stale": result.is_previous or result.is_stale,
            "batches": report.batches,
            "output": _output(report),
            "verified": _verified(report, source),
            "caveats": [
                {"what": clean(each.what), "help": clean(each.help)} for each in report.caveats
            ],
            "quantized_by": [
                {key: clean(value) for key, value in dataclasses.asdict(each).items()}
                for each in report.quantized_by
            ],
            "coverage": coverage
            and {
                "ops": coverage.ops,
                "matched": coverage.matched,
                "quantized": coverage.quantized,
                "unmatched": [source.left(each) for each in coverage.unmatched],
                "in_float": [source.left(each) for each in coverage.in_float],
            },
            "timings": report.timings,
            "error": clean(report.error.message) if report.error else None,
            "thresholds": dataclasses.asdict(thresholds_in_force(report, result.run.thresholds)),
            "findings": [
                {
                    "rule": each.rule,
                    "severity": each.severity,
                    "message": clean(each.message),
                    "cause": clean_lines(str(each.cause)),
                    "handle": each.handle,
                    "place": source.place(each.span or result.declaration),
                }
                for each in report.findings
            ],
            "ops": [
                {
                    "handle": each.handle,
                    "name": clean(each.name),
                    "module": clean(each.module),
                    "sqnr_db": each.sqnr_db,
                    "verdict": each.verdict,
                    "introduced_db": each.introduced_sqnr_db,
                    "introduced_verdict": each.introduced_verdict,
                    "in_float": clean(words.in_float(each)),
                    "floor_db": each.floor_sqnr_db,
                    "line": source.line(each.span),
                    "place": source.place(each.span),
                }
                for each in report.ops
            ],
        }

    @server.feature(ADVICE)
    def advice(params: Any) -> dict[str, Any] | None:
        """What was measured to help a target; None if nothing was measured."""
        found = find(params)
        return None if found is None else _advice(found[1], searches)

    @server.feature(OP)
    def op(params: Any) -> dict[str, Any] | None:
        """Everything about one op that was compared."""
        found = find(params)
        measured = found and found[1].op(int(params.handle))
        if not found or not measured:
            return None
        _, result = found
        source = _Source(state, result)
        card = op_card.card([measured], findings=result.report.findings)
        return {
            "handle": measured.handle,
            "name": clean(measured.name),
            "module": clean(measured.module),
            "place": source.place(measured.span),
            "line": source.line(measured.span),
            "rows": [
                [clean(name), clean(value)]
                for name, value in op_card.rows(measured, result.report.advice)
            ],
            "cause": [clean(line) for line in card.cause],
            "errors": measured.errors and dataclasses.asdict(measured.errors),
        }

    @server.feature(LOCATION)
    def location(params: Any) -> types.Location | None:
        """Where the expression of an op is now, compared or not; without a handle, where the target is."""
        found = find(params)
        if found is None:
            return None
        _, result = found
        handle = None if params.handle is None else int(params.handle)
        return _Source(state, result).location(result.place(handle))

    @server.feature(OPS_AT)
    def ops_at(params: Any) -> list[dict[str, Any]]:
        """The ops of the innermost expression at a place, of all targets; if there is none, those of the
        line."""
        document = state.documents.find(str(params.uri))
        if document is None or document.file is None:
            return []
        position = types.Position(int(params.position.line), int(params.position.character))
        place = document.place(position)
        _, found = state.results.innermost(document.file, document.source, place)
        return [
            {"target": result.name, "handle": op.handle}
            for result, op in found
            or state.results.in_line(document.file, document.source, place[0])
        ]


def _advice(result: Result, searches: Searches) -> dict[str, Any] | None:
    """The steps of the advice, and what they give."""
    advice = result.report.advice
    if advice is None:
        return None
    whole = advised.whole(advice)
    is_searched = searches.progress(result.run.uri, result.name) is not None
    return {
        "generation": result.run.generation,
        "stale": result.advice is None,
        "text": "" if is_searched else clean(advised.summary(advice)),
        "objective": advice.objective,
        "before": _scores(advice.before),
        "steps": [
            {
                "name": clean(step.change.name),
                "title": clean(offer.title),
                "kind": step.change.kind,
                "handle": step.change.handles[0] if step.change.handles else None,
                "output": _scores(step.output),
                "cost": dataclasses.asdict(step.cost),
                "verified": step.verified,
            }
            for count, step in enumerate(advice.steps, 1)
            if (offer := of_steps(advice, count))
        ],
        "recommended": len(whole.changes) if whole else 0,
        "reach_db": advice.reach_db,
        "units": advice.units,
        "measurements": advice.measurements,
        "seconds": advice.seconds,
        "complete": advice.complete,
    }


def _scores(scores: Scores) -> dict[str, Any]:
    return {
        "sqnr_db": scores.sqnr_db,
        "exact": scores.exact,
        "metric": scores.metric,
        "top1": scores.logits.top1 if scores.logits else None,
        "text": words.scores(scores),
    }


def _output(report: Report) -> dict[str, Any] | None:
    """The accuracy of the output, and what there is beside its ratio, in words."""
    output = report.output
    if output is None:
        return None
    return {
        "verdict": output.verdict,
        "sqnr_db": output.sqnr_db,
        "mse": output.mse,
        "max_abs_error": output.max_abs_error,
        "cosine": output.cosine,
        "reason": clean(output.reason),
        "objectives": [[clean(name), clean(value)] for name, value in words.objectives(output)],
    }


def _verified(report: Report, source: _Source) -> dict[str, Any] | None:
    """What a result was checked against. If the reference differs: both ratios, and where that begins."""
    verified = report.verified
    if verified is None:
        return None
    begins = verified.difference
    return {
        "verdict": verified.verdict,
        "text": clean(words.verified(verified)),
        "way": words.way(verified),
        "beginning": clean(words.beginning(report)),
        "sqnr_db": verified.sqnr_db,
        "actual_sqnr_db": verified.actual_sqnr_db,
        # Without a place in the source, a click leads to the target.
        "handle": begins.handle if begins and begins.span else None,
        "place": source.place(begins.span) if begins else "",
    }


class _Source:
    """The source of a result's ops, in the texts that were run."""

    def __init__(self, state: State, result: Result) -> None:
        self._documents = state.documents
        self._result = result
        self._view = View(result.texts.get, state.documents.root(result.run.file))
        self._lines = {file: split_lines(text) for file, text in result.texts.items() if text}

    def line(self, span: Span | None) -> str:
        """The first line of an expression; empty where there is none."""
        lines = self._lines.get(span.file, ()) if span else ()
        return clean(lines[span.line - 1].strip()) if span and span.line <= len(lines) else ""

    def place(self, span: Span | None) -> str:
        """``model.py:42``; empty without a span."""
        return f"{self._view.path(span.file)}:{span.line}" if span else ""

    def left(self, each: Unmatched | StaysInFloat) -> dict[str, Any]:
        """An op that was not compared, or not quantized, and why."""
        return {
            "op": clean(each.op),
            "module": clean(each.module or each.node),
            "reason": clean(each.reason),
            "handle": each.handle if each.span else None,
            "place": self.place(each.span),
        }

    def location(self, span: Span | None) -> types.Location | None:
        """Where an expression is now; None if it was edited."""
        return None if span is None else self._result.location(span, self._documents)
