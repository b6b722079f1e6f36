"""Reports as one self-contained page of HTML: plots, the worst ops, what was compared and what not.

The page loads nothing and runs nothing. Every text in it is escaped; its plots are SVG.
"""

from __future__ import annotations

import base64
import hashlib
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
from handlens.rendering.svg import bars
from handlens.rendering.view import SEVERITIES, View, clean
from handlens.report import Document, Finding, OpReport, Report, Severity, Span, op_name

_WIDTH, _HEIGHT = 1000, 260
_WORST = 20
_CELLS = 48
_BLOCKS = 40
# Ratios are coloured in steps of 10 dB, from 0 up; what has none is without error, or not quantized.
_STEPS = 6
_IN_FLOAT = _STEPS + 1
# One op decides nothing about how far the axis reaches: what is beyond is drawn at its end.
_LOWEST_DB, _HIGHEST_DB = -20.0, 100.0


def render(document: Document, view: View) -> str:
    """The page of a document."""
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
        # The only style that a browser applies is this one, whatever a text may smuggle in.
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        legend=_LEGEND,
        words=words,
        width=_WIDTH,
        height=_HEIGHT,
    )


def _finalize(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@dataclass(frozen=True)
class Fact:
    """A number, or a few words, at the head of a report."""

    name: str
    value: str
    detail: str = ""
    level: Severity | None = None


_Line = tuple[str, str, str]
"""Of a source line, what is before an expression, the expression, and what is after it."""


@dataclass(frozen=True)
class Alarm:
    """That the reference is not the model: where that begins, and the ratios between the three."""

    beginning: str
    place: str
    line: _Line
    ratios: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Worst:
    """One of the ops that lose the most, and the source line it is on."""

    op: OpReport
    finding: Finding | None
    place: str
    line: _Line
    histogram: str
    """The path of a histogram of its errors, 120 by 32; empty where there is none."""


@dataclass(frozen=True)
class Block:
    """Ops that belong to one module, in the order they run."""

    name: str
    ops: int
    worst_db: float | None
    introduced_db: float | None
    cells: tuple[tuple[int, str], ...]
    """The colour of each cell, and what it says."""


class _Page:
    """What the page shows of one report."""

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
        if report.recipe:
            yield Fact("recipe", report.recipe)
        if verified := report.verified:
            value, way = words.verified(verified), words.way(verified)
            yield Fact("verified", value, way, words.level(verified))
        yield Fact("batches", str(report.batches))
        if coverage := report.coverage:
            yield Fact("compared", words.compared(coverage))
            by = ", ".join(map(str, report.quantized_by))
            yield Fact("quantized", words.count(coverage.quantized, "op"), f"by {by}" if by else "")
        if report.timings:
            yield Fact("time", f"{sum(report.timings.values()):.1f} s")

    @property
    def alarm(self) -> Alarm | None:
        """What stands above all numbers where the reference is not the model."""
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
        """Each stage: its name, its seconds, and the part of the bar that it takes, in percent."""
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
        """The ops that one would expect to be quantized and that are not: op, module, place and reason."""
        coverage = self.report.coverage
        for each in coverage.in_float if coverage else ():
            place = self._view.place(each.span) if each.span else ""
            yield op_name(each.op), each.module or each.node, place, each.reason

    @property
    def others_in_float(self) -> list[tuple[str, int, str]]:
        """Why the other ops compute in float: the reason, for how many it holds, and of which kinds."""
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
        """A line through the accumulated ratios, with gaps where there is none."""
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
        """A dot for each ratio that an op has by itself."""
        return "".join(
            f"M{self._x(index)} {self._y(op.introduced_sqnr_db)}h0"
            for index, op in enumerate(self.report.ops)
            if op.introduced_sqnr_db is not None
        )

    @property
    def markers(self) -> Iterator[tuple[float, float, str, str]]:
        """The ops that findings are about: where they are drawn, how grave, and what is said."""
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
        """The modules down to the depth at which a screen still shows them all."""
        depth = 1
        groups = self._grouped(depth)
        while depth < 4 and len(deeper := self._grouped(depth + 1)) <= _BLOCKS:
            depth, groups = depth + 1, deeper
        return [_block(name, ops) for name, ops in groups[: 4 * _BLOCKS]]

    @property
    def cells(self) -> int:
        """How many cells the longest block has, and a few more where all are short."""
        return max([12, *(len(block.cells) for block in self.blocks)])

    def _grouped(self, depth: int) -> list[tuple[str, list[OpReport]]]:
        groups: dict[str, list[OpReport]] = {}
        for op in self.report.ops:
            groups.setdefault(".".join(op.module.split(".")[:depth]), []).append(op)
        return list(groups.items())

    # -- the worst ops -----------------------------------------------------------------------------

    @property
    def worst(self) -> list[Worst]:
        """What findings are about, the gravest first; then what has the lowest ratio."""
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
        """The findings about something else than an op that was compared, but for what the alarm says."""
        handles = {op.handle for op in self.report.ops}
        return [
            each
            for each in self.report.findings
            if each.handle not in handles and not (self.alarm and each.rule == "HL204")
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
    """The colour of a ratio: 0 under 10 dB, up to the last one for what has no error."""
    return _STEPS if ratio is None else min(max(int(ratio // 10), 0), _STEPS - 1)


_NAMES = {_STEPS: "no error", _IN_FLOAT: "not quantized"}
_LEGEND = [
    *((i, f"{10 * i} dB" if i else "under 10 dB") for i in range(_STEPS)),
    *_NAMES.items(),
]
