"""The targets of a document, or why they cannot be found."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from handlens import syntax, targets
from handlens.diagnosis.rules.invalid_target import InvalidTarget
from handlens.diagnosis.rules.target_failed import does_not_parse
from handlens.project import ProjectSettings, project_settings
from handlens.report import Failure, Span
from handlens.targets import InvalidConfiguration, Target


@dataclass(frozen=True)
class Discovery:
    """The targets of a text, and the settings of its project; or why there are none."""

    targets: tuple[Target, ...] = ()
    failure: Failure | None = None
    project: ProjectSettings = field(default_factory=ProjectSettings)

    @property
    def found(self) -> bool:
        return bool(self.targets) or self.failure is not None


def name_span(target: Target) -> Span:
    """Where the name of a target stands in its declaration."""
    return Span(target.file, target.line, target.column, target.line, target.end_column)


def discover(text: str, file: str) -> Discovery:
    """The targets of a file with this text."""
    if len(text) > syntax.LONGEST:
        return _too_long(text, file)
    try:
        found = tuple(targets.discover(text, file))
        return Discovery(found, project=project_settings(file) if found else ProjectSettings())
    except InvalidConfiguration as error:
        return Discovery(failure=Failure(InvalidTarget.code, str(error), None, ""))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # Files often do not parse while somebody types, and most files have no targets: say nothing then.
        return (
            Discovery(failure=does_not_parse(error, file)) if _declares(text, file) else Discovery()
        )


def _too_long(text: str, file: str) -> Discovery:
    if not _declares(text, file):
        return Discovery()
    message = (
        f"{os.path.basename(file)} is not searched for targets: it has more than "
        f"{syntax.LONGEST:,} characters"
    )
    return Discovery(failure=Failure(InvalidTarget.code, message, None, ""))


def _declares(text: str, file: str) -> bool:
    """True if a text that does not parse seems to have a target."""
    if f"def {targets.PREFIX}" in text or "def example_inputs" in text:
        return True
    try:
        return bool(targets.discover("", file))
    except InvalidConfiguration:
        return False
