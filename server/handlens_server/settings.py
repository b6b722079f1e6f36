"""The settings of the section ``handlens``. A wrong value is told to the user, and the default is used."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from handlens.diagnosis.thresholds import ChosenThresholds
from handlens.switches import Workers

SECTION = "handlens"

RunMode = Literal["onType", "onSave", "manual"]
AdviseMode = Literal["auto", "onDemand", "off"]


@dataclass(frozen=True)
class Settings:
    """The settings in force."""

    interpreter: str | None = None
    recipe: str | None = None
    thresholds: ChosenThresholds = field(default_factory=ChosenThresholds)
    run: RunMode = "onSave"
    advise: AdviseMode = "auto"
    deadline_s: float = 600.0
    memory_limit_mib: int | None = None
    workers: Workers = "auto"
    inlay_hints: bool = True


@dataclass(frozen=True)
class Definition:
    """One setting: its place, what it means, and which values it accepts."""

    key: str
    """The key in the section; a dot leads into an object."""
    attribute: str
    """The attribute of ``Settings``, or of its thresholds."""
    description: str
    accepted: str
    """The values that are accepted, in the words of a message."""
    accepts: Callable[[object], bool]
    schema: Mapping[str, object]
    """The values that are accepted as JSON Schema, and the default."""
    project: str = ""
    """The key in ``[tool.handlens]`` that the setting overrides."""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(low: float, high: float) -> Callable[[object], bool]:
    # A comparison with NaN is false.
    return lambda value: type(value) in (int, float) and low <= typing.cast(float, value) <= high


def _one_of(mode: object) -> str:
    return "one of " + ", ".join(f'"{each}"' for each in typing.get_args(mode))


def _threshold(severity: str) -> Definition:
    return Definition(
        f"thresholds.{severity}Db",
        f"{severity}_db",
        f"Accumulated SQNR in dB under which an op is shown as {severity}; what suits the recipe "
        "if not set.",
        "a number of decibels",
        _is_number(-1000, 1000),
        {"type": ["number", "null"], "default": None},
        f"{severity}-db",
    )


DEFINITIONS = (
    Definition(
        "interpreter",
        "interpreter",
        "The Python that runs the models, with torch and torchao: a path (a relative one starts at "
        "the workspace folder) or the name of a command. If not set: the active virtual "
        "environment, the workspace folder's .venv, the server's own Python.",
        "the path of a Python interpreter, or null",
        _is_text,
        {"type": ["string", "null"], "default": None},
    ),
    Definition(
        "recipe",
        "recipe",
        "The quantization recipe for all targets. If not set: the target's own, the project's, x86.",
        "the name of a recipe, or null",
        _is_text,
        {"type": ["string", "null"], "default": None},
        "recipe",
    ),
    *map(_threshold, ("error", "warning", "information")),
    Definition(
        "run",
        "run",
        "When to compare: while you type, when a file is opened and saved, or only when asked to.",
        _one_of(RunMode),
        lambda value: value in typing.get_args(RunMode),
        {"type": "string", "enum": list(typing.get_args(RunMode)), "default": Settings.run},
    ),
    Definition(
        "advise",
        "advise",
        "When to search for the changes that win accuracy back: behind each comparison that has "
        "findings, only when asked to, or never.",
        _one_of(AdviseMode),
        lambda value: value in typing.get_args(AdviseMode),
        {"type": "string", "enum": list(typing.get_args(AdviseMode)), "default": Settings.advise},
    ),
    Definition(
        "deadline",
        "deadline_s",
        "A run that takes more seconds than these is killed.",
        "a number of seconds, 1 or more",
        _is_number(1, 1e6),
        {"type": "number", "minimum": 1, "default": Settings.deadline_s},
    ),
    Definition(
        "memoryLimit",
        "memory_limit_mib",
        "What a run may take beyond the interpreter and torch, in MiB; on Linux. An allocation that "
        "exceeds it fails, and is shown at its line. No limit if not set.",
        "a whole number of MiB, 1 or more, or null",
        lambda value: type(value) is int and 1 <= value <= 1 << 30,
        {"type": ["integer", "null"], "minimum": 1, "default": None},
    ),
    Definition(
        "workers",
        "workers",
        "How runs get a process: forked from one that has imported torch, or an interpreter that stands "
        "by for each, and has imported torch before. Auto is fork on Linux and standby elsewhere, where "
        "a fork is not safe.",
        _one_of(Workers),
        lambda value: value in typing.get_args(Workers),
        {"type": "string", "enum": list(typing.get_args(Workers)), "default": Settings.workers},
    ),
    Definition(
        "inlayHints",
        "inlay_hints",
        "Whether the end of a line shows the lowest SQNR of its ops.",
        "true or false",
        lambda value: isinstance(value, bool),
        {"type": "boolean", "default": Settings.inlay_hints},
    ),
)

_THRESHOLDS = {each.attribute: each.key for each in DEFINITIONS if "thresholds." in each.key}


def parse(data: object) -> tuple[Settings, list[str]]:
    """The settings in what a client sent, and a sentence about each value that is not accepted.

    ``data`` is the section, or an object that has the section under its name. Keys that the server
    does not know are the client's own.
    """
    if isinstance(data, Mapping) and SECTION in data:
        data = data[SECTION]
    values: dict[str, Any] = {}
    problems: list[str] = []
    for each in DEFINITIONS:
        value, at = data, SECTION
        for part in each.key.split("."):
            if value is None:
                break
            if not isinstance(value, Mapping):
                problems.append(_refusal(at, value, "an object"))
                value = None
                break
            value, at = value.get(part), f"{at}.{part}"
        # An empty string is what VS Code's settings editor leaves behind.
        if value is None or value == "":
            continue
        if each.accepts(value):
            values[each.attribute] = value
        else:
            problems.append(_refusal(at, value, each.accepted))
    given = {name: values.pop(name) for name in _THRESHOLDS if name in values}
    thresholds = ChosenThresholds(**given)
    if not thresholds.in_order:
        found = ", ".join(f"{_THRESHOLDS[name]} {value:g}" for name, value in given.items())
        problems.append(
            f"Handlens: {SECTION}.thresholds is ignored: it needs errorDb ≤ warningDb ≤ "
            f"informationDb, and has {found}."
        )
        thresholds = ChosenThresholds()
    # A wrong object is a problem of each of its keys, and is to be told once.
    return Settings(thresholds=thresholds, **values), list(dict.fromkeys(problems))


def _refusal(name: str, value: object, accepted: str) -> str:
    return f"Handlens: {name} is ignored: {value!r} is not {accepted}."
