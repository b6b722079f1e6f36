"""From an argument ``FILE[::TARGET]`` to the runs that it asks for."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlens import targets
from handlens.cli.ending import Refused
from handlens.diagnosis.rules.target_failed import does_not_parse
from handlens.project import ProjectSettings, project_settings
from handlens.rendering.view import shown_path
from handlens.report import Report, failed
from handlens.request import RunRequest
from handlens.source_text import read
from handlens.targets import InvalidConfiguration, Target


@dataclass(frozen=True)
class Plan:
    """A run, and the settings that hold for it."""

    settings: ProjectSettings
    run: RunRequest | Report
    """What to ask a worker for; where there is nothing to ask for, the report that says why."""


def plans_of(
    argument: str, recipe: str | None = None, options: Mapping[str, Any] | None = None
) -> list[Plan]:
    """The runs that an argument asks for; none if the file has no target.

    Args:
        argument: ``FILE``, or ``FILE::TARGET`` for one of its targets.
        recipe: The recipe to quantize with, instead of that of the target or the project.
        options: Fields of ``ProjectSettings`` that take the place of the project's own.

    Raises:
        Refused: The file cannot be read, its project is configured wrongly, or it has no such target.
    """
    name, _, wanted = argument.partition("::")
    file = os.path.abspath(name)
    text = _text(name)
    try:
        settings = dataclasses.replace(project_settings(file), **options or {})
        found = targets.discover(text, file)
    except InvalidConfiguration as error:
        raise Refused(str(error)) from error
    except (SyntaxError, ValueError, RecursionError) as error:
        report = failed(wanted, file, recipe or "", does_not_parse(error, file))
        return [Plan(settings, report)]
    if wanted:
        found = [_named(wanted, found, name)]
    workspace = (str(_workspace(file)),)
    return [
        Plan(settings, RunRequest(target, text, recipe, settings.recipe, workspace))
        for target in found
    ]


def shown(file: str) -> str:
    """The name of a file in messages: relative to the working directory if it is below that."""
    return shown_path(os.path.abspath(file), os.getcwd())


def _text(file: str) -> str:
    if os.path.isdir(file):
        raise Refused(f"{file} is a folder; name a Python file")
    try:
        return read(file)
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from error
    except (SyntaxError, ValueError) as error:
        raise Refused(f"cannot read {file}: {error}") from error


def _named(wanted: str, found: Sequence[Target], file: str) -> Target:
    for target in found:
        if target.name == wanted:
            return target
    names = [target.name for target in found]
    close = difflib.get_close_matches(wanted, names, n=1)
    if close:
        hint = f"did you mean {close[0]}?"
    else:
        hint = f"it has {', '.join(names)}" if names else targets.HOW_TO_DECLARE
    raise Refused(f"no target {wanted} in {file}: {hint}")


def _workspace(file: str) -> Path:
    """The project's folder; the file's own folder if nothing marks a project."""
    parents = Path(file).parents
    for folder in parents:
        if (folder / "pyproject.toml").is_file() or (folder / ".git").exists():
            return folder
    return parents[0]
