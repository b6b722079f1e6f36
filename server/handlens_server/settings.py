"""What the user can set, section ``handlens``; a wrong value is named and its default holds."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from handlens.rules import ChosenThresholds

SECTION = "handlens"

Run = Literal["onType", "onSave", "manual"]

_THRESHOLDS = {
    "errorDb": "error_db",
    "warningDb": "warning_db",
    "informationDb": "information_db",
}


@dataclass(frozen=True)
class Settings:
    """The settings in force."""

    interpreter: str | None = None
    """The Python that runs the models; None to choose one (see ``worker.interpreter``)."""
    recipe: str | None = None
    """The quantization recipe; None for the one that the target asks for."""
    thresholds: ChosenThresholds = field(default_factory=ChosenThresholds)
    """The thresholds; those that are not set are the project's, else what suits the recipe."""
    run: Run = "onSave"
    """When to run: while a file is typed in, when it is opened and saved, or only when asked to."""
    deadline_s: float = 600.0
    """A run that takes longer is killed."""
    memory_limit_mib: int | None = None
    """What a run may take beyond the interpreter and torch; None for no limit."""
    inlay_hints: bool = True
    """Whether lines show the worst ratio of their ops."""


def parse(data: object) -> tuple[Settings, list[str]]:
    """The settings in what a client sent, and a sentence about each value that is not accepted.

    ``data`` is the section, or an object that has the section under its name. Keys that the server
    does not know are the client's own.
    """
    if isinstance(data, Mapping) and SECTION in data:
        data = data[SECTION]
    if data is None:
        return Settings(), []
    if not isinstance(data, Mapping):
        return Settings(), [_refusal(SECTION, data, "an object")]
    problems: list[str] = []
    thresholds = _thresholds(data.get("thresholds"), problems)
    settings = Settings(
        _text(data, "interpreter", "the path of a Python interpreter, or null", problems),
        _text(data, "recipe", "the name of a recipe, or null", problems),
        thresholds,
        _choice(data, "run", typing.get_args(Run), "onSave", problems),
        _seconds(data, "deadline", 600.0, problems),
        _memory(data, "memoryLimit", problems),
        _flag(data, "inlayHints", True, problems),
    )
    return settings, problems


def _flag(data: Mapping[str, object], key: str, default: bool, problems: list[str]) -> bool:
    value = data.get(key)
    if value is None or isinstance(value, bool):
        return default if value is None else value
    problems.append(_refusal(f"{SECTION}.{key}", value, "true or false"))
    return default


def _seconds(data: Mapping[str, object], key: str, default: float, problems: list[str]) -> float:
    value = data.get(key)
    # A comparison with NaN is false.
    if value is None or (type(value) in (int, float) and 1 <= cast(float, value) <= 1e6):
        return default if value is None else cast(float, value)
    problems.append(_refusal(f"{SECTION}.{key}", value, "a number of seconds, 1 or more"))
    return default


def _memory(data: Mapping[str, object], key: str, problems: list[str]) -> int | None:
    value = data.get(key)
    if value is None or (type(value) is int and 1 <= value <= 1 << 30):
        return value
    problems.append(
        _refusal(f"{SECTION}.{key}", value, "a whole number of MiB, 1 or more, or null")
    )
    return None


def _choice(
    data: Mapping[str, object],
    key: str,
    accepted: Sequence[Any],
    default: Any,
    problems: list[str],
) -> Any:
    value = data.get(key)
    if value is None or value in accepted:
        return default if value is None else value
    names = ", ".join(json.dumps(each) for each in accepted)
    problems.append(_refusal(f"{SECTION}.{key}", value, f"one of {names}"))
    return default


def _text(data: Mapping[str, object], key: str, accepted: str, problems: list[str]) -> str | None:
    value = data.get(key)
    if value is None or isinstance(value, str):
        # An empty string is what VS Code's settings editor leaves behind.
        return value or None
    problems.append(_refusal(f"{SECTION}.{key}", value, accepted))
    return None


def _thresholds(data: object, problems: list[str]) -> ChosenThresholds:
    if data is None:
        return ChosenThresholds()
    name = f"{SECTION}.thresholds"
    if not isinstance(data, Mapping):
        problems.append(_refusal(name, data, f"an object with {', '.join(_THRESHOLDS)}"))
        return ChosenThresholds()
    values: dict[str, float] = {}
    for key, attribute in _THRESHOLDS.items():
        value = data.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1000:
            values[attribute] = float(value)
        elif value is not None:
            problems.append(_refusal(f"{name}.{key}", value, "a number of decibels"))
    chosen = ChosenThresholds(**values)
    if chosen.in_order:
        return chosen
    found = ", ".join(f"{key} {data[key]:g}" for key in _THRESHOLDS if _THRESHOLDS[key] in values)
    problems.append(
        f"Handlens: {name} is ignored: it needs errorDb ≤ warningDb ≤ informationDb, and has {found}."
    )
    return ChosenThresholds()


def _refusal(name: str, value: object, accepted: str) -> str:
    return f"Handlens: {name} is ignored: {value!r} is not {accepted}."
