"""Rule codes, thresholds, severities and suppression comments."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from handlens.report import Finding, Severity, Span
from handlens.targets import BOM

DOCUMENTATION = "https://github.com/handlens/handlens/blob/main/docs/rules"


@dataclass(frozen=True)
class Rule:
    """What a finding is called and where it is explained."""

    code: str
    name: str

    @property
    def url(self) -> str:
        return f"{DOCUMENTATION}/{self.code}.md"


RULES: Mapping[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule("HL101", "low-sqnr"),
        Rule("HL102", "inherited-error"),
        Rule("HL103", "non-finite"),
        Rule("HL104", "saturation"),
        Rule("HL105", "low-output"),
        Rule("HL201", "nothing-quantized"),
        Rule("HL202", "unmatched"),
        Rule("HL203", "unused-suppression"),
        Rule("HL204", "reference-differs"),
        Rule("HL205", "stays-in-float"),
        Rule("HL206", "not-calibrated"),
        Rule("HL208", "non-finite-model"),
        Rule("HL301", "target-failed"),
        Rule("HL302", "export-failed"),
        Rule("HL303", "run-failed"),
        Rule("HL304", "worker-failed"),
        Rule("HL305", "invalid-target"),
    )
}


@dataclass(frozen=True)
class Thresholds:
    """Accumulated SQNR, in dB, under which an op is worth a look; how much clipping is too much."""

    error_db: float = 10.0
    warning_db: float = 20.0
    information_db: float = 30.0
    saturated_share: float = 0.01

    def severity(self, sqnr_db: float) -> Severity | None:
        """The severity of an accumulated SQNR in dB, or None where it is fine."""
        if sqnr_db < self.error_db:
            return "error"
        if sqnr_db < self.warning_db:
            return "warning"
        return "information" if sqnr_db < self.information_db else None


# One op at the noise floor has about 40 dB with 8 bits, 20 dB with 4, 56 dB in bfloat16. The information
# is for what is 10 dB under it, the warning for 20, the error for 30; with 4 bits there is not that much
# room: at 0 dB the noise is as loud as the signal. In float16 an op at the floor has 74 dB, but nobody
# minds the 50 dB of a deep float16 model, so bfloat16's hold.
_8_BIT = Thresholds()
_4_BIT = Thresholds(0.0, 5.0, 10.0)
_HALF_PRECISION = Thresholds(25.0, 35.0, 45.0)
_PRESETS = {"int4-weight-only": _4_BIT, "bf16": _HALF_PRECISION, "fp16": _HALF_PRECISION}


def thresholds_for(recipe: str) -> Thresholds:
    """The thresholds that suit a recipe by its name: those for 8 bits if it is not known.

    Of recipes joined by ``+``, the coarsest decides.
    """
    presets = (_PRESETS.get(name, _8_BIT) for name in recipe.split("+"))
    return min(presets, key=lambda each: each.warning_db)


@dataclass(frozen=True)
class ChosenThresholds:
    """The thresholds that somebody set, of a project or in an editor; None for those left alone."""

    error_db: float | None = None
    warning_db: float | None = None
    information_db: float | None = None
    saturated_share: float | None = None

    @property
    def in_order(self) -> bool:
        """Whether no severity has a higher threshold than a milder one."""
        chosen = [level for level in self._levels if level is not None]
        return chosen == sorted(chosen)

    def over(self, base: Thresholds) -> Thresholds:
        """These, and where none is set that of ``base``, moved if need be to stay in order with these."""

        def level(at: int, preset: float) -> float:
            graver = [each for each in self._levels[: at + 1] if each is not None]
            milder = [each for each in self._levels[at:] if each is not None]
            return min([max([preset, *graver]), *milder])

        return Thresholds(
            level(0, base.error_db),
            level(1, base.warning_db),
            level(2, base.information_db),
            base.saturated_share if self.saturated_share is None else self.saturated_share,
        )

    @property
    def _levels(self) -> tuple[float | None, float | None, float | None]:
        return self.error_db, self.warning_db, self.information_db


def thresholds_in_force(recipe: str, chosen: Iterable[ChosenThresholds]) -> Thresholds:
    """Those that suit a recipe, and over them what somebody chose, each over those before it."""
    thresholds = thresholds_for(recipe)
    for each in chosen:
        thresholds = each.over(thresholds)
    return thresholds


def parse_codes(values: Iterable[str]) -> tuple[str, ...]:
    """Rule codes, or beginnings of some, that may be joined by commas. Raises ValueError."""
    codes = [code.strip().upper() for value in values for code in value.split(",") if code.strip()]
    for code in codes:
        if not any(known.startswith(code) for known in RULES):
            raise ValueError(f"no rule starts with {code}; there are {', '.join(RULES)}")
    return tuple(codes)


def select(
    findings: Iterable[Finding], selected: Collection[str], ignored: Collection[str]
) -> list[Finding]:
    """The findings whose code starts with one of ``selected`` (all, if empty) and none of ``ignored``."""
    return [
        finding
        for finding in findings
        if (not selected or finding.rule.startswith(tuple(selected)))
        and not finding.rule.startswith(tuple(ignored))
    ]


# -- suppressions --------------------------------------------------------------------------------

_SUPPRESSION = re.compile(r"#\s*handlens:\s*ignore(?:\[(?P<codes>[^\]]*)\])?\s*(?=#|$)")


@dataclass(frozen=True)
class Suppression:
    """A ``# handlens: ignore`` comment. No codes means every code."""

    line: int
    column: int
    end_column: int
    codes: frozenset[str]

    def covers(self, finding: Finding) -> bool:
        return (
            finding.span is not None
            and finding.span.line <= self.line <= finding.span.end_line
            and (not self.codes or finding.rule in self.codes)
        )


def suppressions(text: str) -> list[Suppression]:
    """The suppression comments in ``text``; those of its readable part if it does not tokenize."""
    found: list[Suppression] = []
    if text.startswith(BOM):
        # Columns count it.
        text = " " + text[1:]
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline=None).readline):
            match = token.type == tokenize.COMMENT and _SUPPRESSION.search(token.string)
            if match:
                line, start = token.start
                codes = frozenset(
                    code.strip().upper()
                    for code in (match["codes"] or "").split(",")
                    if code.strip()
                )
                found.append(
                    Suppression(
                        line,
                        start + match.start(),
                        start + len(match[0].rstrip()) + match.start(),
                        codes,
                    )
                )
    except (tokenize.TokenError, SyntaxError):
        pass
    return found


def suppress(
    findings: Iterable[Finding], texts: Mapping[str, str], unused_in: Collection[str] = ()
) -> tuple[list[Finding], int]:
    """What the comments in ``texts`` (file name to text) leave of the findings, and how many they took.

    A comment that suppresses nothing is a finding itself, in the files ``unused_in``.
    """
    comments = {file: suppressions(text) for file, text in texts.items()}
    used: set[tuple[str, Suppression]] = set()
    kept: list[Finding] = []
    taken = 0
    for finding in findings:
        file = finding.span.file if finding.span else ""
        covering = [each for each in comments.get(file, ()) if each.covers(finding)]
        # A failure is never hidden: a suppressed error would read as "all fine".
        if covering and not finding.rule.startswith("HL3"):
            used.update((file, each) for each in covering)
            taken += 1
        else:
            kept.append(finding)
    kept.extend(
        Finding(
            "HL203",
            "information",
            "unused suppression: nothing here to ignore",
            None,
            Span(file, comment.line, comment.column, comment.line, comment.end_column),
        )
        for file in unused_in
        for comment in comments.get(file, ())
        if (file, comment) not in used
    )
    return kept, taken
