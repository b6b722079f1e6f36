"""Text of the user's files in what clients show."""

from __future__ import annotations

import re
from collections.abc import Sequence

from handlens.rendering.view import clean

_LONGEST = 300


def short(text: str) -> str:
    """Text on one line, of a length that somebody reads, without characters that act on those around."""
    text = " ".join(clean(text).split())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a table too."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&])", r"\\\1", short(text))


def code(text: str) -> str:
    """Text as inline code, whatever backticks it has."""
    text = short(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


Rows = Sequence[tuple[str, str]]
"""Names, and values with their units; at least one."""


def table(rows: Rows) -> list[str]:
    """The lines of a Markdown table, its first value in bold."""
    (name, value), *others = rows
    lines = [f"| {name} | **{escaped(value)}** |", "|:--|:--|"]
    return [*lines, *(f"| {name} | {escaped(value)} |" for name, value in others)]


def columns(rows: Rows) -> list[str]:
    """The lines of a table in plain text."""
    width = max(len(name) for name, _ in rows)
    return [f"{name:{width}}  {short(value)}" for name, value in rows]
