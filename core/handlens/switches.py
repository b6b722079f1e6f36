"""Switches for people who work on Handlens: environment variables, which workers inherit.

CONTRIBUTING.md tells what each is good for.
"""

from __future__ import annotations

import os
import typing
from typing import Literal

Workers = Literal["auto", "fork", "standby"]
"""How runs get a process: forked from one that has imported torch, or one that stands by for each; auto is
what is safe on the system."""


def log_level(default: str) -> str:
    """The least severe level that is logged, by its name in ``logging``: ``HANDLENS_LOG_LEVEL``."""
    return (os.environ.get("HANDLENS_LOG_LEVEL") or default).upper()


def may_hold_exports() -> bool:
    """False if every run exports the model anew: ``HANDLENS_NO_HELD_EXPORT``."""
    return not os.environ.get("HANDLENS_NO_HELD_EXPORT")


def workers() -> Workers:
    """How runs get a process, unless that is set elsewhere: ``HANDLENS_WORKERS``."""
    wanted = os.environ.get("HANDLENS_WORKERS")
    return next((each for each in typing.get_args(Workers) if each == wanted), "auto")


def may_cache_methods() -> bool:
    """False if the server compiles attrs' methods at every start: ``HANDLENS_NO_COMPILE_CACHE``."""
    return not os.environ.get("HANDLENS_NO_COMPILE_CACHE")


def dump_folder() -> str | None:
    """The folder that the code of every comparison graph is written to: ``HANDLENS_DUMP_GRAPH``."""
    return os.environ.get("HANDLENS_DUMP_GRAPH") or None
