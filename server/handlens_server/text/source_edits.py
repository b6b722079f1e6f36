"""Edits of the suppressions in the user's source. An edit that would change any code is refused."""

from __future__ import annotations

from handlens.diagnosis.suppressions import Suppression, suppressions
from handlens.report import Span
from handlens.source_text import split_lines
from handlens.syntax import line_starts, parsed
from handlens.target_edits import Edit, NoEdit


def suppress(text: str, span: Span, code: str) -> Edit:
    """Suppress ``code`` in the lines of ``span``, by a new comment or in the one that is there.

    Raises NoEdit where no line has room for a comment.
    """
    lines, starts = split_lines(text), line_starts(text)
    for comment in suppressions(text):
        if span.line <= comment.line <= span.end_line:
            if not comment.codes or code in comment.codes:
                raise NoEdit(f"line {comment.line} suppresses {code} already")
            codes = ", ".join(sorted({*comment.codes, code}))
            start = starts[comment.line - 1]
            return Edit(
                start + comment.column, start + comment.end_column, f"# handlens: ignore[{codes}]"
            )
    # A comment inside of a string or of a continued line would become part of it.
    for line in range(span.end_line, span.line - 1, -1):
        content = lines[line - 1].rstrip("\r\n")
        width = len(content.rstrip())
        start = starts[line - 1]
        edit = Edit(start + width, start + len(content), f"  # handlens: ignore[{code}]")
        changed = edit.apply(text)
        if _code(changed) == _code(text) and any(
            each.line == line and code in each.codes for each in suppressions(changed)
        ):
            return edit
    raise NoEdit("no line of this expression has room for a comment")


def remove_suppression(text: str, line: int) -> Edit:
    """Remove the suppression of a line, and the line if nothing else is on it. Raises NoEdit."""
    lines, starts = split_lines(text), line_starts(text)
    comment = next((each for each in suppressions(text) if each.line == line), None)
    if comment is None:
        raise NoEdit(f"line {line} has no suppression")
    whole, start = lines[line - 1], starts[line - 1]
    before, after = _around(whole, comment)
    if not before and not after:
        return Edit(start, start + len(whole), "")
    if after:
        return Edit(start + comment.column, start + len(whole.rstrip("\r\n")), after)
    return Edit(start + len(before), start + len(whole.rstrip("\r\n")), "")


def _around(line: str, comment: Suppression) -> tuple[str, str]:
    """The text of a line before and after a suppression; the text after it is a comment."""
    return line[: comment.column].rstrip(), line[comment.end_column :].strip()


def _code(text: str) -> str | None:
    found = parsed(text)
    return found[1] if found else None
