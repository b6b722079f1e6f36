"""The comments that suppress findings, and the findings that remain."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from handlens.diagnosis.rules import RULES
from handlens.diagnosis.rules.unused_suppression import UnusedSuppression
from handlens.report import Finding, Span
from handlens.targets import BOM

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
    """The suppression comments in ``text``, up to where it cannot be tokenized."""
    found: list[Suppression] = []
    if "handlens:" not in text:
        return found
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
    """Apply the suppression comments in ``texts``, which has the text of each file by its name.

    Returns the findings that remain, and how many were suppressed. In the files ``unused_in``, a comment
    that suppresses nothing is a finding itself.
    """
    comments = {file: suppressions(text) for file, text in texts.items()}
    used: set[tuple[str, Suppression]] = set()
    remaining: list[Finding] = []
    suppressed = 0
    for finding in findings:
        file = finding.span.file if finding.span else ""
        covering = [each for each in comments.get(file, ()) if each.covers(finding)]
        # A failure is never hidden: a suppressed error would read as "all fine".
        if covering and RULES[finding.rule].can_be_suppressed:
            used.update((file, each) for each in covering)
            suppressed += 1
        else:
            remaining.append(finding)
    remaining.extend(
        Finding(
            UnusedSuppression.code,
            "information",
            "unused suppression: nothing here to ignore",
            None,
            Span(file, comment.line, comment.column, comment.line, comment.end_column),
        )
        for file in unused_in
        for comment in comments.get(file, ())
        if (file, comment) not in used
    )
    return remaining, suppressed
