"""The HTML format: one page with plots, the worst ops, what was compared and what was not.

The page loads nothing and runs no script. Every text in it is escaped, and its plots are SVG.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from handlens import words
from handlens.diagnosis.rules import RULES
from handlens.diagnosis.rules.reference_differs import ReferenceDiffers
from handlens.rendering import advice
from handlens.rendering.advice_curve import Curve
from handlens.rendering.svg import bars
from handlens.rendering.view import SEVERITIES, View, clean
from handlens.report import Document, Finding, OpReport, Report, Severity, Span, op_name

_WIDTH, _HEIGHT = 1000, 260
_WORST = 20
_CELLS = 48
_BLOCKS = 40
# Ratios have a colour for every 10 dB from 0 up. Two more colours are for ops that have no ratio: one for
# those without any error, one for those that are not quantized.
_STEPS = 6
_IN_FLOAT = _STEPS + 1
# The axis ends here even if a single op lies beyond; that op is drawn at the end of the axis.
_LOWEST_DB, _HIGHEST_DB = -20.0, 100.0


def render(document: Document, view: View) -> str:
    """The page with all reports of a document."""
    environment = jinja2.Environment(
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    folder = resources.files("handlens.rendering")
    style = (folder / "html.css").read_text("utf-8")
    template = environment.from_string((folder / "html.jinja").read_text("utf-8"))
    return template.render(
        document=document,
        reports=[_Page(report, view) for report in document.reports],
        style=Markup(style),
        # The page's policy names this hash, so that a browser applies no style that a text may contain.
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        legend=_LEGEND,
        words=words,
        width=_WIDTH,
        height=_HEIGHT,
        advising=advice,
        curve=Curve,
    )


def _finalize(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@dataclass(frozen=True)
class Fact:
    """A number at the top of a report, or a few words, with a name and possibly a severity."""

    name: str
    value: str
    detail: str = ""
    level: Severity | None = None


_Line = tuple[str, str, str]
"""A source line in three pieces: before an expression, the expression, and after it."""


@dataclass(frozen=True)
class Alarm:
    """A warning that the reference does not compute what the model computes.

    It names the first op that differs, and the ratios between model, reference and quantized model.
    """

    beginning: str
    place: str
    line: _Line
    ratios: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Worst:
    """One of the ops that lose the most, with its source line."""

    op: OpReport
    finding: Finding | None
    place: str
    line: _Line
    histogram: str
    """The SVG path of a histogram of its errors (see ``svg.bars``); empty if there is none."""


@dataclass(frozen=True)
class Block:
    """The ops of one module as a row of cells, in the order they run."""

    name: str
    ops: int
    worst_db: float | None
    introduced_db: float | None
    cells: tuple[tuple[int, str], ...]
    """The number of the colour of each cell, and its tooltip."""


class _Page:
    """The part of the page that is about one report: what the template asks for."""

    def __init__(self, report: Report, view: View) -> None:
        self.report = report
        self._view = view
        self.title = view.title(report)
        ratios = [
            value
            for op in report.ops
            for value in (op.sqnr_db, op.introduced_sqnr_db)
            if value is not None
        ]
        self._low = max(_LOWEST_DB, 10 * math.floor(min([0.0, *ratios]) / 10))
        self._high = min(_HIGHEST_DB, 10 * math.ceil(max([40.0, *ratios]) / 10))

    @property
    def facts(self) -> Iterator[Fact]:
        report = self.report
        if output := report.output:
            alarming = output.verdict in ("not-compared", "non-finite")
            value = words.ratio(output.verdict, output.sqnr_db)
            detail = output.reason or ("against the reference" if self.alarm else "")
            yield Fact("output", value, detail, "warning" if alarming else None)
            yield from itertools.starmap(Fact, words.objectives(output))
        if report.recipe:
            yield Fact("recipe", report.recipe)
        if verified := report.verified:
            value, way = words.verified(verified), words.way(verified)
            yield Fact("verified", value, way, words.level(verified))
        for each in report.caveats:
            yield Fact("caveat", words.caveat(each))
        yield Fact("batches", str(report.batches))
        if coverage := report.coverage:
            yield Fact("compared", words.compared(coverage))
            by = ", ".join(map(str, report.quantized_by))
            yield Fact("quantized", words.count(coverage.quantized, "op"), f"by {by}" if by else "")
        if report.timings:
            yield Fact("time", f"{sum(report.timings.values()):.1f} s")

    @property
    def alarm(self) -> Alarm | None:
        """The warning above all numbers if the reference is not the model; otherwise None."""
        report, verified = self.report, self.report.verified
        if verified is None or verified.verdict != "differs":
            return None
        span = verified.difference.span if verified.difference else None
        output = report.output
        ratios = (
            ("reference against the model", verified.sqnr_db),
            ("quantized model against the reference", output.sqnr_db if output else None),
            ("quantized model against the model", verified.actual_sqnr_db),
        )
        return Alarm(
            words.beginning(report),
            self._view.place(span) if span else "",
            self._line(span) if span else ("", "", ""),
            tuple((name, words.decibels(value)) for name, value in ratios if value is not None),
        )

    @property
    def timings(self) -> Iterator[tuple[str, float, float, float]]:
        """For each stage its name, its seconds, and where its part of the bar begins and how long it is, in
        percent."""
        total = sum(self.report.timings.values()) or 1.0
        done = 0.0
        for stage, seconds in self.report.timings.items():
            yield stage, seconds, 100 * done / total, 100 * seconds / total
            done += seconds

    @property
    def unmatched(self) -> Iterator[tuple[str, str, str]]:
        coverage = self.report.coverage
        for each in coverage.unmatched if coverage else ():
            yield each.op, each.module or each.node, each.reason

    @property
    def in_float(self) -> Iterator[tuple[str, str, str, str]]:
        """The op, module, place and reason of what the recipe should have quantized and did not."""
        coverage = self.report.coverage
        for each in coverage.in_float if coverage else ():
            place = self._view.place(each.span) if each.span else ""
            yield op_name(each.op), each.module or each.node, place, each.reason

    @property
    def others_in_float(self) -> list[tuple[str, int, str]]:
        """Each reason why other ops compute in float, with how many ops it holds for and their kinds."""
        coverage = self.report.coverage
        expected = {each.handle for each in coverage.in_float} if coverage else set()
        kinds: dict[str, Counter[str]] = {}
        for op in self.report.ops:
            if op.in_float and op.handle not in expected:
                kinds.setdefault(op.in_float, Counter())[op.name] += 1
        return [
            (reason, found.total(), words.counts(found))
            for reason, found in sorted(kinds.items(), key=lambda each: -each[1].total())
        ]

    # -- SQNR along the network --------------------------------------------------------------------

    def _x(self, index: int) -> float:
        return round(_WIDTH * (index + 0.5) / len(self.report.ops), 1)

    def _y(self, ratio: float) -> float:
        share = (min(max(ratio, self._low), self._high) - self._low) / (self._high - self._low)
        return round(_HEIGHT * (1 - share), 1)

    @property
    def ticks(self) -> list[tuple[float, int]]:
        step = 10 if self._high - self._low <= 60 else 20
        first = step * math.ceil(self._low / step)
        return [(self._y(each), each) for each in range(first, int(self._high) + 1, step)]

    @property
    def accumulated(self) -> str:
        """The SVG path of a line through the accumulated ratios, with a gap at each op that has none."""
        parts: list[str] = []
        pen = "M"
        for index, op in enumerate(self.report.ops):
            if op.sqnr_db is None:
                pen = "M"
                continue
            parts.append(f"{pen}{self._x(index)} {self._y(op.sqnr_db)}")
            pen = "L"
        return "".join(parts)

    @property
    def introduced(self) -> str:
        """The SVG path of a dot for each introduced ratio."""
        return "".join(
            f"M{self._x(index)} {self._y(op.introduced_sqnr_db)}h0"
            for index, op in enumerate(self.report.ops)
            if op.introduced_sqnr_db is not None
        )

    @property
    def markers(self) -> Iterator[tuple[float, float, str, str]]:
        """For each finding about an op, where it is drawn, its severity, and its message."""
        index = {op.handle: i for i, op in enumerate(self.report.ops)}
        for finding in self.report.findings:
            if finding.severity == "hint" or finding.handle not in index:
                continue
            at = index[finding.handle]
            op = self.report.ops[at]
            ratio = self._low if op.sqnr_db is None else op.sqnr_db
            yield self._x(at), self._y(ratio), finding.severity, finding.message

    # -- per block ---------------------------------------------------------------------------------

    @property
    def blocks(self) -> list[Block]:
        """The modules of the model, at the greatest depth at which they still fit on a screen."""
        depth = 1
        groups = self._grouped(depth)
        while depth < 4 and len(deeper := self._grouped(depth + 1)) <= _BLOCKS:
            depth, groups = depth + 1, deeper
        return [_block(name, ops) for name, ops in groups[: 4 * _BLOCKS]]

    @property
    def cells(self) -> int:
        """The width of all rows in cells: that of the longest block, and 12 at least."""
        return max([12, *(len(block.cells) for block in self.blocks)])

    def _grouped(self, depth: int) -> list[tuple[str, list[OpReport]]]:
        groups: dict[str, list[OpReport]] = {}
        for op in self.report.ops:
            groups.setdefault(".".join(op.module.split(".")[:depth]), []).append(op)
        return list(groups.items())

    # -- the worst ops -----------------------------------------------------------------------------

    @property
    def worst(self) -> list[Worst]:
        """The ops with findings, the most severe first, then the ops with the lowest ratios."""
        report = self.report
        ops = {op.handle: op for op in report.ops}
        findings: dict[int, Finding] = {}
        order = {severity: i for i, severity in enumerate(SEVERITIES)}
        for each in sorted(report.findings, key=lambda each: order[each.severity]):
            if each.handle in ops:
                assert each.handle is not None
                findings.setdefault(each.handle, each)
        low = sorted(
            (op for op in report.ops if op.sqnr_db is not None), key=lambda op: op.sqnr_db or 0
        )
        handles = list(dict.fromkeys([*findings, *(op.handle for op in low)]))[:_WORST]
        return [self._worst(ops[handle], findings.get(handle)) for handle in handles]

    def _worst(self, op: OpReport, finding: Finding | None) -> Worst:
        span = op.span
        place = self._view.place(span) if span else ""
        line = self._line(span) if span else ("", "", "")
        return Worst(op, finding, place, line, bars(op.errors) if op.errors else "")

    def _line(self, span: Span) -> _Line:
        lines = (self._view.read(span.file) or "").split("\n")
        if span.line > len(lines):
            return "", "", ""
        text = lines[span.line - 1]
        end = span.end_column if span.end_line == span.line else len(text)
        parts = text[: span.column].lstrip(), text[span.column : end], text[end:].rstrip()
        before, marked, after = (part.replace("\t", " ") for part in parts)
        return before[-60:], marked[:160], after[:60]

    # -- findings without an op --------------------------------------------------------------------

    @property
    def remarks(self) -> list[Finding]:
        """The findings that are about no op that was compared, without the one that ``alarm`` shows."""
        handles = {op.handle for op in self.report.ops}
        return [
            each
            for each in self.report.findings
            if each.handle not in handles
            and not (self.alarm and each.rule == ReferenceDiffers.code)
        ]

    def name(self, rule: str) -> str:
        return RULES[rule].name if rule in RULES else ""


def _block(name: str, ops: Sequence[OpReport]) -> Block:
    size = max(1, math.ceil(len(ops) / _CELLS))
    cells = []
    for start in range(0, len(ops), size):
        part = ops[start : start + size]
        worst = _lowest(op.introduced_sqnr_db for op in part)
        names = ", ".join(dict.fromkeys(op.name for op in part))
        step = _step(worst)
        if worst is None and all(op.in_float for op in part):
            step = _IN_FLOAT
        said = f"introduces {words.decibels(worst)}" if worst is not None else _NAMES[step]
        cells.append((step, f"{names}: {said}"))
    return Block(
        name or "(the model itself)",
        len(ops),
        _lowest(op.sqnr_db for op in ops),
        _lowest(op.introduced_sqnr_db for op in ops),
        tuple(cells),
    )


def _lowest(ratios: Iterable[float | None]) -> float | None:
    return min((each for each in ratios if each is not None), default=None)


def _step(ratio: float | None) -> int:
    """The number of the colour of a ratio: 0 under 10 dB, ``_STEPS`` for None, which is no error."""
    return _STEPS if ratio is None else min(max(int(ratio // 10), 0), _STEPS - 1)


_NAMES = {_STEPS: "no error", _IN_FLOAT: "not quantized"}
_LEGEND = [
    *((i, f"{10 * i} dB" if i else "under 10 dB") for i in range(_STEPS)),
    *_NAMES.items(),
]
