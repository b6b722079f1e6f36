"""Text of the user's files in what clients show."""

from __future__ import annotations

from handlens.rendering.view import clean_lines


def inert(text: str) -> str:
    """Text for a message or a title, where VS Code makes links, also to commands, of ``[text](link)``."""
    return clean_lines(text).replace("](", "] (")
