"""How numbers, verdicts and lists are written, so that all front ends and messages write them alike.

The first half is about values of any origin, the second about parts of a report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from handlens.advice_report import Change, ChangeKind, Scores
from handlens.report import (
    Caveat,
    Coverage,
    LogitsAgreement,
    Metric,
    OpReport,
    OutputAccuracy,
    Report,
    Severity,
    Verdict,
    Verification,
    op_name,
)

_PLURALS = {"batch": "batches", "information": "information"}


# -- numbers, names and lists ----------------------------------------------------------------------


def decibels(ratio: float) -> str:
    """``12.3 dB``, and never a negative zero."""
    # Adding zero takes the sign off a ratio that rounds to zero.
    return f"{round(ratio, 1) + 0.0:.1f} dB"


def change(before: float, after: float) -> str:
    """A ratio before and after something: ``9.2 → 39.5 dB``."""
    return f"{decibels(before).removesuffix(' dB')} → {decibels(after)}"


def percent(share: float) -> str:
    """A share from 0 to 1 with three digits: ``4.25 %``, ``< 0.1 %``."""
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.3g} %"


def portion(share: float) -> str:
    """A share of a loss in whole percents: ``63 %``, and ``all`` from 99.5 % on."""
    # Noises that cancel make one of them more than their sum.
    return "all" if share >= 0.995 else f"{100 * share:.0f} %"


def number(value: float) -> str:
    """A value of a tensor with three digits: ``0.0123``, ``1.5e+03``."""
    return f"{value:.3g}"


def interval(low: float, high: float) -> str:
    """The ends of a range of values: ``-1.5 to 3.27``."""
    return f"{number(low)} to {number(high)}"


def count(amount: int, noun: str) -> str:
    """An amount of things: ``1 batch``, ``2 batches``."""
    return f"{amount} {noun if amount == 1 else _PLURALS.get(noun, noun + 's')}"


def counts(kinds: Counter[str]) -> str:
    """How many there are of each kind, the most frequent first: ``2 lstm, 1 linear``."""
    return ", ".join(f"{amount} {kind}" for kind, amount in kinds.most_common())


def listed(names: Sequence[str]) -> str:
    """At least one name in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def at_module(message: str, module: str) -> str:
    """A message and the module that it is about: ``conv2d 12.3 dB · features.0``."""
    return f"{message} · {module}" if module else message


def in_module(op: str, module: str) -> str:
    """The name of an op in a sentence, with its module: ``conv2d in features.0``."""
    return f"{op} in {module}" if module else op


# -- how accurate something is ---------------------------------------------------------------------

_SHORT: dict[Verdict, str] = {
    "exact": "exact",
    "no-signal": "no signal",
    "non-finite": "NaN or Inf",
    "not-compared": "not compared",
}
_EXPLAINED = _SHORT | {
    "no-signal": "no signal: the reference is zero",
    "non-finite": "NaN or Inf where the reference is finite",
}
_LEVELS: dict[str, Severity] = {"differs": "error", "not-checked": "warning"}


def ratio(verdict: Verdict, sqnr_db: float | None) -> str:
    """``12.3 dB``, or in a word or two why there is no ratio."""
    return _ratio(_SHORT, verdict, sqnr_db)


def accumulated(op: OpReport) -> str:
    """The accuracy of the quantized model at an op. An op in float without error has ``no noise``.

    Only an op that is quantized can be ``exact``: in float, that would be no achievement.
    """
    if op.in_float and op.verdict == "exact":
        return "no noise"
    return _ratio(_EXPLAINED, op.verdict, op.sqnr_db)


def introduced(op: OpReport) -> str:
    """The accuracy of an op by itself, or that it is not quantized."""
    if op.in_float and op.introduced_verdict == "exact":
        return "not quantized"
    return _ratio(_EXPLAINED, op.introduced_verdict, op.introduced_sqnr_db)


def in_float(op: OpReport) -> str:
    """What of an op is in float, and why; empty for an op that is quantized."""
    if not op.in_float:
        return ""
    rounded = any(each.role == "output" for each in op.quantizers)
    left = "computes in float, its output alone is quantized" if rounded else "not quantized"
    return f"{left}: {op.in_float}"


def output(accuracy: OutputAccuracy) -> str:
    """The accuracy of a model's output, or what is known about it where there is no ratio."""
    if accuracy.verdict == "exact":
        return "exactly the reference"
    if accuracy.verdict == "not-compared":
        return f"not compared: {accuracy.reason}"
    if accuracy.verdict == "no-signal":
        too = "and not in the quantized model" if accuracy.mse else "and in the quantized model"
        return f"all zero in the reference, {too}"
    return _ratio(_EXPLAINED, accuracy.verdict, accuracy.sqnr_db)


def objectives(accuracy: OutputAccuracy) -> list[tuple[str, str]]:
    """What there is of the output beside its ratio, each after its name: ``97.2 % of 64 rows``.

    Nothing is said of logits that are exactly the reference's.
    """
    found = []
    if (logits := accuracy.logits) is not None and accuracy.verdict != "exact":
        rows = count(logits.rows, "row")
        found.append(("top-1 agrees in", f"{top1(logits)} of {rows}"))
        if logits.kl_divergence is not None:
            found.append(("KL", f"{_divergence(logits.kl_divergence)} nats"))
    if accuracy.metric is not None:
        found.append((accuracy.metric.name, _metrics(accuracy.metric)))
    return found


def beside(accuracy: OutputAccuracy) -> str:
    """All of them in a line that goes on after the ratio; empty if there are none."""
    return "".join(f" · {name} {value}" for name, value in objectives(accuracy))


def brief(accuracy: OutputAccuracy) -> str:
    """The ratio, and what people ask for first: ``9.2 dB, top-1 97.2 %``, or the metric."""
    told = ratio(accuracy.verdict, accuracy.sqnr_db)
    if accuracy.metric is not None:
        return f"{told}, {accuracy.metric.name} {_metrics(accuracy.metric)}"
    if accuracy.logits is not None and accuracy.verdict != "exact":
        return f"{told}, top-1 {top1(accuracy.logits)}"
    return told


def top1(logits: LogitsAgreement) -> str:
    """The share of rows in which two outputs agree: ``99.2 %``."""
    # Rounding must not make all of nearly all.
    return "> 99.9 %" if 0.999 < logits.top1 < 1 else percent(logits.top1)


def _divergence(nats: float) -> str:
    return "< 0.001" if 0 < nats < 0.001 else number(nats)


def _metrics(metric: Metric) -> str:
    return f"{metric_value(metric.reference)} → {metric_value(metric.quantized)}"


def metric_value(value: float | None) -> str:
    """The value of a target's metric with four digits: ``0.9125``."""
    return "not finite" if value is None else f"{value:.4g}"


def _ratio(reasons: dict[Verdict, str], verdict: Verdict, sqnr_db: float | None) -> str:
    return reasons.get(verdict, "not measured") if sqnr_db is None else decibels(sqnr_db)


# -- what was compared, and what that was checked against ------------------------------------------


def compared(coverage: Coverage) -> str:
    """How many ops were compared: ``112 of 113 ops``."""
    return f"{coverage.matched} of {count(coverage.ops, 'op')}"


def caveat(given: Caveat) -> str:
    """``compared on one batch, of 1: give more batches``."""
    return f"{given.what}: {given.help}"


def verified(verification: Verification) -> str:
    """Whether the reference computes what the model computes: ``reference = model (131 dB)``."""
    sqnr_db = verification.sqnr_db
    measured = "" if sqnr_db is None else f" ({round(sqnr_db) + 0.0:.0f} dB)"
    if verification.verdict == "exact":
        return "reference = model, to the bit"
    if verification.verdict == "ok":
        return f"reference = model{measured}"
    if verification.verdict == "differs":
        return f"the reference is not the model{measured}"
    return f"not against the model: {verification.reason}"


def level(verification: Verification) -> Severity | None:
    """The severity of a verification that did not succeed; None for one that did."""
    return _LEVELS.get(verification.verdict)


def way(verification: Verification) -> str:
    """How the ops were compared; empty for the usual way, in one merged graph."""
    if verification.comparison == "plain":
        return "compared op by op without shortcuts, which did not give the same bits"
    if verification.comparison == "outputs":
        return "outputs alone: the ops cannot be compared as they run by themselves"
    return ""


def beginning(report: Report) -> str:
    """A sentence on where the quantized graph begins to differ from the model; empty if it does not."""
    begins = report.verified.difference if report.verified else None
    if begins is None:
        return ""
    exported = begins.by == "export"
    graph = "the exported graph" if exported else f"the graph that recipe {report.recipe} quantizes"
    if not begins.op:
        return f"{graph[0].upper()}{graph[1:]} computes something else; where that begins is not known."
    first = in_module(op_name(begins.op), begins.module)
    measured = "" if begins.sqnr_db is None else f" ({decibels(begins.sqnr_db)})"
    return f"From {first} on, {graph} computes something else{measured}."


# -- advice ----------------------------------------------------------------------------------------

_TO_DO: dict[ChangeKind, str] = {
    "keep-float": "keep {} in float",
    "weight-per-channel": "quantize the weight of {} per channel",
    "activation-16-bit": "quantize the output of {} to 16 bits",
    "observer-min-max": "observe the range of {} by minimum and maximum",
    "observer-histogram": "observe the range of {} by a histogram",
    "weight-finer-group": "quantize the weight of {} in finer groups",
    "weight-8-bit": "quantize the weight of {} to 8 bits",
}


def to_do(change: Change) -> str:
    """What a change is to do: ``keep conv2 in float``."""
    return _TO_DO[change.kind].format(change.name)


def scores(output: Scores) -> str:
    """The accuracy of an output: ``39.5 dB``, or why there is no ratio."""
    if output.sqnr_db is not None:
        return decibels(output.sqnr_db)
    return "exact" if output.exact else "not comparable"
