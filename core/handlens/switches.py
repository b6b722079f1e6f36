"""Switches for people who work on Handlens: environment variables, which workers inherit.

CONTRIBUTING.md tells what each is good for.
"""

from __future__ import annotations

import os


def log_level(default: str) -> str:
    """The least severe level that is logged, by its name in ``logging``: ``HANDLENS_LOG_LEVEL``."""
    return (os.environ.get("HANDLENS_LOG_LEVEL") or default).upper()


def may_hold_exports() -> bool:
    """False if every run exports the model anew: ``HANDLENS_NO_HELD_EXPORT``."""
    return not os.environ.get("HANDLENS_NO_HELD_EXPORT")


def may_cache_methods() -> bool:
    """False if the server compiles attrs' methods at every start: ``HANDLENS_NO_COMPILE_CACHE``."""
    return not os.environ.get("HANDLENS_NO_COMPILE_CACHE")


def dump_folder() -> str | None:
    """The folder that the code of every comparison graph is written to: ``HANDLENS_DUMP_GRAPH``."""
    return os.environ.get("HANDLENS_DUMP_GRAPH") or None
