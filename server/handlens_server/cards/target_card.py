"""The card of a target: a few lines with its result, for the hover of its declaration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from handlens import words
from handlens.report import Report, op_name
from handlens_server.cards import markup
from handlens_server.cards.markup import code, escaped, short
from handlens_server.results import advised


def markdown(report: Report, history: Sequence[float] = ()) -> str:
    """The result as Markdown."""
    lines = [f"{code(report.target)} · recipe {code(report.recipe)}", ""]
    if said := words.beginning(report):
        lines += [f"**The reference is not the model.** {escaped(said)}", ""]
    return "\n".join([*lines, *markup.table(list(rows(report, history)))])


def plain(report: Report, history: Sequence[float] = ()) -> str:
    """The result as plain text."""
    lines = [f"{short(report.target)} · recipe {short(report.recipe)}"]
    if said := words.beginning(report):
        lines.append(f"The reference is not the model. {short(said)}")
    return "\n".join([*lines, *markup.columns(list(rows(report, history)))])


def rows(report: Report, history: Sequence[float] = ()) -> Iterator[tuple[str, str]]:
    """The rows of the table: the output, what helps it, what it was checked against, and what was quantized
    by whom. ``history`` has the ratios of the output in the results before."""
    output, verified, coverage = report.output, report.verified, report.coverage
    yield "Output", words.output(output) + words.beside(output) if output else "not measured"
    if history and output and output.sqnr_db is not None:
        ratios = *history, output.sqnr_db
        yield (
            "History",
            " → ".join(words.decibels(each).removesuffix(" dB") for each in ratios) + " dB",
        )
    if report.advice and advised.whole(report.advice):
        yield "What helps", advised.summary(report.advice)
    if verified:
        yield "Verified", words.verified(verified)
        if verified.actual_sqnr_db is not None:
            yield "Against the model", words.decibels(verified.actual_sqnr_db)
        if way := words.way(verified):
            yield "Comparison", way
    if coverage:
        by = ", ".join(map(str, report.quantized_by))
        yield "Quantized", words.count(coverage.quantized, "op") + (f" by {by}" if by else "")
        kinds = Counter(op_name(each.op) for each in coverage.in_float)
        if kinds:
            yield "Left in float", words.counts(kinds)
        yield "Compared", words.compared(coverage)
    for each in report.caveats:
        yield "Caveat", words.caveat(each)
