"""The card of an op: a few lines with its numbers for a hover, in Markdown or in plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handlens import words
from handlens.advised import gain, kept_alone
from handlens.rendering import svg
from handlens.report import Advice, Channels, Finding, OpReport, Quantizer, Verdict
from handlens_server.cards import markup
from handlens_server.cards.markup import code, escaped, short

_OTHERS_SHOWN = 24


@dataclass(frozen=True)
class Card:
    """The content of a card: the ops of one place in the source."""

    op: OpReport
    """The op that a finding is about, else the worst one."""
    others: tuple[OpReport, ...]
    target: str | None
    """The name of the target, if ops of several targets are at the place."""
    cause: tuple[str, ...] = ()
    """Why the op loses accuracy and what helps, in lines."""
    advice: Advice | None = None
    """What was measured to help the target of the op."""


def card(
    ops: Sequence[OpReport],
    target: str | None = None,
    findings: Sequence[Finding] = (),
    advice: Advice | None = None,
) -> Card:
    """The card of the ops of one place, at least one; findings and advice are those of the run.

    A finding may be about an instance that is not the worst: one that the others inherit from.
    """
    found = {finding.handle for finding in findings}
    first, *others = sorted(ops, key=lambda op: (op.handle not in found, *_badness(op)))
    causes = [finding.cause for finding in findings if finding.handle == first.handle]
    lines = [line for cause in dict.fromkeys(causes) for line in str(cause).splitlines()]
    return Card(first, tuple(others), target, tuple(lines), advice)


def markdown(card: Card, images: bool = False) -> str:
    """The card as Markdown, with pictures if ``images`` are shown."""
    op = card.op
    title = [f"**{escaped(op.name)}**", *([code(op.module)] if op.module else [])]
    if card.target:
        title.append(code(card.target))
    lines = [" · ".join(title), ""]
    if card.cause:
        # Two blanks at the end of a line break it.
        lines += ["  \n".join(map(escaped, card.cause)), ""]
    if images and (pictures := list(_images(card))):
        # A hover shows a few lines at once: pictures come before the table.
        lines += [" ".join(pictures), ""]
    lines += markup.table(rows(op, card.advice))
    if card.others:
        shown = ", ".join(
            f"{code(_place(each))} {words.accumulated(each)}"
            for each in card.others[:_OTHERS_SHOWN]
        )
        lines += ["", f"Also here: {shown}{_more(card)}"]
    return "\n".join(lines)


def _images(card: Card) -> Iterator[str]:
    """Pictures of the ratios of all instances in the order they run, and of the errors of the op shown."""
    instances = sorted((card.op, *card.others), key=lambda op: op.handle)
    ratios = [op.sqnr_db for op in instances if op.sqnr_db is not None]
    if len(ratios) > 2:
        yield svg.image(svg.sparkline(ratios), f"SQNR of the {len(ratios)} instances, in order")
    if card.op.errors is not None:
        yield svg.image(svg.histogram(card.op.errors), "Histogram of its errors")


def plain(card: Card) -> str:
    """The card as plain text."""
    op = card.op
    lines = [" · ".join(short(part) for part in (op.name, op.module, card.target) if part)]
    lines += card.cause
    lines += markup.columns(rows(op, card.advice))
    if card.others:
        shown = ", ".join(
            f"{short(_place(each))} {words.accumulated(each)}"
            for each in card.others[:_OTHERS_SHOWN]
        )
        lines.append(f"Also here: {shown}{_more(card)}")
    return "\n".join(lines)


def _badness(op: OpReport) -> tuple[int, float]:
    """The key that sorts the worst op first."""
    order: dict[Verdict, int] = {"non-finite": 0, "not-compared": 1, "no-signal": 2, "ok": 3}
    return order.get(op.verdict, 4), op.sqnr_db if op.sqnr_db is not None else 0.0


def _place(op: OpReport) -> str:
    return op.module or op.name


def _more(card: Card) -> str:
    hidden = len(card.others) - _OTHERS_SHOWN
    return f" and {hidden} more" if hidden > 0 else ""


def rows(op: OpReport, advice: Advice | None = None) -> list[tuple[str, str]]:
    """The rows of the table: names, and values with their units."""
    introduced = words.introduced(op)
    # The share is over 1 if the noise of the op cancels part of the noise that it inherits.
    if op.introduced_verdict == "ok" and op.introduced_share <= 1:
        introduced += f", {words.percent(op.introduced_share)} of the noise"
    if op.in_float and op.introduced_verdict == "exact":
        introduced = words.in_float(op)
    named = [("SQNR", words.accumulated(op)), ("Introduced here", introduced)]
    if advice and (alone := kept_alone(advice, op.handle)):
        named.append(("Kept in float alone", gain(advice, alone.output)))
    if op.in_float and op.introduced_verdict != "exact":
        named.append(("In float", words.in_float(op)))
    named += [(f"Quantized {each.role}", _quantizer(each)) for each in op.quantizers]
    if op.floor_sqnr_db is not None:
        named.append(("Rounding alone", words.decibels(op.floor_sqnr_db)))
    if op.weight_share is not None and {"weight", "output"} <= {
        each.role for each in op.quantizers
    }:
        named.append(
            ("From its weight", f"{words.percent(min(op.weight_share, 1.0))} of what it introduces")
        )
    worst = op.worst_batch_sqnr_db
    # In a run of one batch, it repeats the first row.
    if worst is not None and words.decibels(worst) != words.accumulated(op):
        named.append(
            ("Worst batch", f"{words.decibels(worst)}, number {op.worst_batch} counted from 0")
        )
    for name, value, form in (
        ("MSE", op.mse, ".3g"),
        ("Max abs error", op.max_abs_error, ".3g"),
        ("Cosine", op.cosine, ".6f"),
    ):
        if value is not None:
            named.append((name, f"{value:{form}}"))
    named.append(("Reference range", _range(op.reference_range)))
    named.append(("Actual range", _range(op.actual_range)))
    if op.saturated > 0:
        clipping = f", {words.percent(min(op.clipping_share, 1.0))} of what it introduces"
        named.append(
            ("Saturated", words.percent(op.saturated) + (clipping if op.clipping_share else ""))
        )
    if op.vanished > 0:
        named.append(("Rounded to zero", f"{words.percent(op.vanished)} of the nonzero values"))
    named += [(f"Loudest {each.role} channel", _channels(each)) for each in op.channels]
    named.append(("Debug handle", str(op.handle)))
    return named


def _channels(channels: Channels) -> str:
    return (
        f"{channels.widest} of {channels.count} reaches {channels.widest_magnitude:.3g}, "
        f"the median one {channels.median_magnitude:.3g}"
    )


def _quantizer(quantizer: Quantizer) -> str:
    if quantizer.granularity == "per-value":
        return f"cast to {quantizer.dtype}"
    scale = _interval(quantizer.scale, "{:.3g}")
    zero_point = _interval(quantizer.zero_point, "{}")
    kind = f"{quantizer.dtype.removeprefix('torch.')} {quantizer.granularity}"
    return f"{kind}, scale {scale}, zero point {zero_point}"


def _interval(ends: tuple[float, float] | None, form: str) -> str:
    if ends is None:
        return "computed for each input"
    low, high = (form.format(end) for end in ends)
    return low if low == high else f"{low} to {high}"


def _range(ends: tuple[float | None, float | None]) -> str:
    low, high = ("not finite" if end is None else f"{end:.4g}" for end in ends)
    return f"{low} to {high}"
