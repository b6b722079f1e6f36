"""``python docs/settings.py`` writes docs/settings.md from the definitions of the settings."""

from __future__ import annotations

import json
from pathlib import Path

from handlens_server.settings import DEFINITIONS, SECTION, Definition

_HEAD = """\
# Settings

The server reads the section `handlens` of the editor's settings: from the initialization options, and for
each workspace folder from `workspace/configuration` where the client answers that. What is not set there
is taken from `[tool.handlens]` of the nearest pyproject.toml, and else has its default. A value that is
not accepted is named in a message, and counts as not set. A new value holds at once: thresholds take no
run, another recipe takes no new export, and only another interpreter runs everything again.

"""


def page() -> str:
    """The whole page."""
    return _HEAD + "\n".join(map(_section, DEFINITIONS))


def _section(definition: Definition) -> str:
    lines = [f"## `{SECTION}.{definition.key}`", "", definition.description, ""]
    lines.append(f"- Accepted: {definition.accepted}")
    lines.append(f"- Default: `{json.dumps(definition.schema['default'])}`")
    if definition.project:
        lines.append(f"- In `[tool.handlens]`: `{definition.project}`")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), "utf-8")
