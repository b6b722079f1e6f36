"""The numbers of one op for people: a few lines for a hover, as Markdown or as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handlens import words
from handlens.rendering import svg
from handlens.report import Channels, Finding, OpReport, Quantizer, Verdict
from handlens_server.cards import markup
from handlens_server.cards.markup import code, escaped, short

_OTHERS_SHOWN = 24


@dataclass(frozen=True)
class Card:
    """What is shown about the ops that one place in the source runs."""

    op: OpReport
    """The one that a finding is about, else the worst of them."""
    others: tuple[OpReport, ...]
    target: str | None
    """Named where the place belongs to more than one target."""
    cause: tuple[str, ...] = ()
    """Why the op loses accuracy and what helps, in lines."""


def card(
    ops: Sequence[OpReport], target: str | None = None, findings: Sequence[Finding] = ()
) -> Card:
    """The card of the ops of one place, at least one; ``findings`` are those of the run.

    A finding may be about an instance that is not the worst: one that the others inherit from.
    """
    found = {finding.handle for finding in findings}
    first, *others = sorted(ops, key=lambda op: (op.handle not in found, *_badness(op)))
    causes = [finding.cause for finding in findings if finding.handle == first.handle]
    lines = [line for cause in dict.fromkeys(causes) for line in str(cause).splitlines()]
    return Card(first, tuple(others), target, tuple(lines))


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
        # A hover is a window of a few lines: what is seen at once comes first.
        lines += [" ".join(pictures), ""]
    lines += markup.table(rows(op))
    if card.others:
        shown = ", ".join(
            f"{code(_place(each))} {words.accumulated(each)}"
            for each in card.others[:_OTHERS_SHOWN]
        )
        lines += ["", f"Also here: {shown}{_more(card)}"]
    return "\n".join(lines)


def _images(card: Card) -> Iterator[str]:
    """The ratios of all instances in the order they run, and the errors of the one that is shown."""
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
    lines += markup.columns(rows(op))
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


def rows(op: OpReport) -> list[tuple[str, str]]:
    """What was measured at an op: names, and values with their units."""
    introduced = words.introduced(op)
    # Where an op's own noise cancels part of what it inherits, a share would be more than all.
    if op.introduced_verdict == "ok" and op.introduced_share <= 1:
        introduced += f", {words.percent(op.introduced_share)} of the noise"
    if op.in_float and op.introduced_verdict == "exact":
        introduced = words.in_float(op)
    named = [("SQNR", words.accumulated(op)), ("Introduced here", introduced)]
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
    # In a run of one batch it is the batch that all the rest is about.
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
