"""Which findings somebody wants to see, by their codes."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from handlens.diagnosis.rules import RULES
from handlens.report import Finding


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
