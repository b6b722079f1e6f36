"""The codes of findings, their names, and which of them somebody wants to see."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from handlens.report import Finding

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
