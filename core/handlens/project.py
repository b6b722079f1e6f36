"""The settings of a project, from ``[tool.handlens]`` in its pyproject.toml.

Options of the command line and settings of an editor take precedence over them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from handlens import targets
from handlens.diagnosis import selection
from handlens.diagnosis.thresholds import ChosenThresholds
from handlens.report import Report
from handlens.targets import InvalidConfiguration


@dataclass(frozen=True)
class ProjectSettings:
    """The settings of a project, with defaults for those that it does not have."""

    recipe: str | None = None
    """The recipe of targets that name none themselves."""
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fail_under: float | None = None
    thresholds: ChosenThresholds = field(default_factory=ChosenThresholds)

    def selected(self, report: Report) -> Report:
        """The report with the findings that are selected, and the accuracy that is asked for.

        A failed run stays as it is: no selection hides why there is no result.
        """
        if report.status == "failed":
            return report
        findings = tuple(selection.select(report.findings, self.select, self.ignore))
        return dataclasses.replace(
            report,
            findings=findings,
            unselected=len(report.findings) - len(findings),
            fail_under=self.fail_under,
        )


_THRESHOLDS = {
    each.name.replace("_", "-"): each.name for each in dataclasses.fields(ChosenThresholds)
}
_KEYS = ("recipe", "select", "ignore", "fail-under", *_THRESHOLDS, "targets")


def project_settings(file: str) -> ProjectSettings:
    """The settings of the project that a file belongs to. Raises InvalidConfiguration."""
    project = targets.find_project(file)
    table = targets.configuration(project) if project else {}
    try:
        return _settings(table)
    except ValueError as error:
        raise InvalidConfiguration(f"{project}: [tool.handlens] {error}") from error


def _settings(table: dict[str, Any]) -> ProjectSettings:
    for key in table:
        if key not in _KEYS:
            raise ValueError(f"has no setting {key!r}; there are {', '.join(_KEYS)}")
    recipe = table.get("recipe")
    if recipe is not None and not isinstance(recipe, str):
        raise ValueError(f"recipe is not a string: {recipe!r}")
    given = {name: _number(table, key) for key, name in _THRESHOLDS.items()}
    thresholds = ChosenThresholds(**given)
    if not thresholds.in_order:
        found = ", ".join(f"{key} = {table[key]:g}" for key in _THRESHOLDS if key in table)
        raise ValueError(f"needs error-db ≤ warning-db ≤ information-db, and has {found}")
    return ProjectSettings(
        recipe,
        _code_list(table, "select"),
        _code_list(table, "ignore"),
        _number(table, "fail-under"),
        thresholds,
    )


def _number(table: dict[str, Any], key: str) -> float | None:
    value = table.get(key)
    # The comparison is false for infinity and NaN, too.
    if value is None or (type(value) in (int, float) and abs(value) <= 1000):
        return value
    raise ValueError(f"{key} is not a number from -1000 to 1000: {value!r}")


def _code_list(table: dict[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{key} is not a list of rule codes: {value!r}")
    try:
        return selection.parse_codes(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
