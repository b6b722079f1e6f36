"""What a rule is, and what it has to go by."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from handlens.advised import refuted
from handlens.diagnosis.losses import Losses
from handlens.report import Coverage, Finding, Report, Span, Thresholds


@dataclass(frozen=True)
class Measured:
    """A report of a run that did not fail, for rules to find something in."""

    report: Report
    coverage: Coverage
    thresholds: Thresholds
    declaration: Span
    """Where the target is declared: a finding about the target as a whole is shown there."""

    @cached_property
    def losses(self) -> Losses:
        advice = self.report.advice
        return Losses(self.report.ops, self.thresholds, refuted(advice) if advice else frozenset())


class Rule:
    """One kind of finding. The docstring of a rule is its page in docs/rules, in Markdown."""

    code: ClassVar[str]
    name: ClassVar[str]

    can_be_suppressed: ClassVar[bool] = True
    """False if no comment hides its findings: a failure that is hidden would read as "all fine"."""
    is_helped_by_keep_float: ClassVar[bool] = False
    """True if an op that it names is as it should be once the op stays in float."""
    marks_unnecessary_text: ClassVar[bool] = False
    """True if an editor may fade the text that its findings stand on."""
    is_in_order_of_ops: ClassVar[bool] = False
    """True if its findings are put among those of the rules before and after it by the order of the ops."""

    def find(self, measured: Measured) -> Iterator[Finding]:
        """What the rule finds in what was measured; a rule about runs that fail finds nothing there."""
        yield from ()

    @property
    def page(self) -> str:
        """The whole page in docs/rules."""
        return f"# {self.code} {self.name}\n\n{inspect.cleandoc(self.__doc__ or '')}\n"
