"""The targets of a document, or why they cannot be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from handlens import targets
from handlens.report import Failure, Span
from handlens.targets import InvalidConfiguration, Target


@dataclass(frozen=True)
class Discovery:
    """What a text has to run."""

    targets: tuple[Target, ...] = ()
    failure: Failure | None = None

    @property
    def found(self) -> bool:
        return bool(self.targets) or self.failure is not None


def discover(text: str, file: str) -> Discovery:
    """The targets that a file with this text has."""
    try:
        return Discovery(tuple(targets.discover(text, file)))
    except InvalidConfiguration as error:
        return Discovery(failure=Failure("HL305", str(error), None, ""))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        # Half the files being typed do not parse, and most of them are none of our business.
        return Discovery(failure=_unparsable(error, file)) if _declares(text, file) else Discovery()


def _declares(text: str, file: str) -> bool:
    """Whether a text that does not parse seems to have a target."""
    if f"def {targets.PREFIX}" in text or "def example_inputs" in text:
        return True
    try:
        return bool(targets.discover("", file))
    except InvalidConfiguration:
        return False


def _unparsable(error: Exception, file: str) -> Failure:
    reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
    message = f"{Path(file).name} does not parse: {reason}"
    if not isinstance(error, SyntaxError) or error.lineno is None:
        return Failure("HL301", message, None, "")
    line, column = error.lineno, max((error.offset or 1) - 1, 0)
    end_line = error.end_lineno or line
    end_column = (error.end_offset or 0) - 1
    if (end_line, end_column) <= (line, column):
        end_line, end_column = line, column + 1
    return Failure("HL301", message, Span(file, line, column, end_line, end_column), "")
