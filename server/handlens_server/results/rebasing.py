"""A report as if other texts had been run, which have the same code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from handlens.report import OpReport, Report, Span, digest


def rebased(
    report: Report, texts: Mapping[str, str | None], moved: Callable[[Span], Span | None]
) -> Report:
    """The report with its spans in ``texts``, but for its findings, which are to be made anew.

    ``moved`` tells where a span is there; None if what it covered is not there.
    """

    def of_op(op: OpReport) -> OpReport:
        shown = None if op.span is None else moved(op.span)
        spans = tuple(filter(None, map(moved, op.spans)))
        return replace(op, spans=spans, shown=None if shown is None else spans.index(shown))

    def now(span: Span | None) -> Span | None:
        return span and moved(span)

    coverage = report.coverage
    if coverage is not None:
        coverage = replace(
            coverage,
            unmatched=tuple(replace(e, span=now(e.span)) for e in coverage.unmatched),
            in_float=tuple(replace(e, span=now(e.span)) for e in coverage.in_float),
        )
    verified = report.verified
    if verified is not None and (begins := verified.difference) is not None:
        verified = replace(verified, difference=replace(begins, span=now(begins.span)))
    non_finite = report.non_finite
    if non_finite is not None:
        non_finite = replace(
            non_finite,
            span=now(non_finite.span),
            nan_span=now(non_finite.nan_span),
            infinity_span=now(non_finite.infinity_span),
        )
    return replace(
        report,
        non_finite=non_finite,
        ops=tuple(map(of_op, report.ops)),
        coverage=coverage,
        verified=verified,
        digests=report.digests | {file: digest(text) for file, text in texts.items() if text},
    )
