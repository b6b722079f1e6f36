"""``python docs/settings.py`` writes docs/settings.md, and the section of vscode-client/package.json that
VS Code's settings editor shows, from the definitions of the settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from handlens_server.settings import DEFINITIONS, SECTION, Definition

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "vscode-client" / "package.json"

_HEAD = """\
# Settings

The server reads the section `handlens` of the editor's settings: from the initialization options, and for
each workspace folder from `workspace/configuration` where the client answers that. What is not set there
is taken from `[tool.handlens]` of the nearest pyproject.toml, and else has its default. A value that is
not accepted is named in a message, and counts as not set. A new value holds at once: thresholds take no
run, another recipe takes no new export, and only another interpreter runs everything again.

"""

# What VS Code adds to a setting, or says otherwise.
_IN_VSCODE: dict[str, dict[str, object]] = {
    "interpreter": {
        "description": "The Python that runs the models, with torch and torchao: a path (a relative "
        "one starts at the workspace folder; ${workspaceFolder}, ${userHome} and ${env:NAME} are "
        "replaced) or the name of a command. If not set: the interpreter that is selected in the "
        "Python extension; without that extension the active virtual environment, the workspace "
        "folder's .venv, the server's own Python.",
        "scope": "machine-overridable",
    },
    "run": {
        "enumDescriptions": [
            "While you type, a moment after you stop, and when a file is opened or saved.",
            "When a file is opened or saved.",
            "Only when asked to, by a command or a code lens.",
        ]
    },
    "workers": {
        "scope": "machine-overridable",
        "enumDescriptions": [
            "As forks on Linux, in interpreters that stand by elsewhere.",
            "As forks of a process that has imported torch.",
            "In an interpreter each, which has imported torch while it stood by.",
        ],
    },
    "advise": {
        "enumDescriptions": [
            "Behind each comparison that has findings, whenever nothing is compared.",
            "Only when asked to, by the command Handlens: Find what helps.",
            "Never.",
        ]
    },
}

# What the server has no use for.
_OF_THE_CLIENT: dict[str, dict[str, object]] = {
    "serverInterpreter": {
        "type": "string",
        "default": "",
        "scope": "machine-overridable",
        "description": "The Python that runs the language server: any from 3.10 on, it needs no packages "
        "and no torch. If not set: the interpreter that is selected in the Python extension, and "
        "else python3 or python on the PATH, whichever is recent enough.",
    },
    "trace.server": {
        "type": "string",
        "enum": ["off", "messages", "verbose"],
        "default": "messages",
        "scope": "window",
        "description": "What of the messages between editor and server is written to the output channel "
        "Handlens when its log level is Trace.",
    },
}


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


def configuration() -> dict[str, Any]:
    """``contributes.configuration`` of the VS Code extension."""
    properties = {each.key: _property(each) for each in DEFINITIONS} | _OF_THE_CLIENT
    return {
        "title": "Handlens",
        "properties": {
            f"{SECTION}.{key}": {**each, "order": order}
            for order, (key, each) in enumerate(properties.items())
        },
    }


def _property(definition: Definition) -> dict[str, object]:
    schema = dict(definition.schema)
    if isinstance(default := schema["default"], float) and default.is_integer():
        # As JavaScript writes it, and whatever formats package.json.
        schema["default"] = int(default)
    if schema["type"] == ["string", "null"]:
        # The settings editor has a field for texts, and none for texts or null. Empty counts as not set.
        schema |= {"type": "string", "default": ""}
    if definition.key == "recipe":
        schema["examples"] = recipes()
    described: dict[str, object] = {"scope": "resource", "description": definition.description}
    return schema | described | _IN_VSCODE.get(definition.key, {})


def recipes() -> list[str]:
    """The names in docs/recipes.md: asking the recipes themselves would import torch."""
    text = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    return re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)


def manifest() -> str:
    """vscode-client/package.json with our section as it should be."""
    content = json.loads(MANIFEST.read_text("utf-8"))
    content["contributes"]["configuration"] = configuration()
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(page(), "utf-8")
    MANIFEST.write_text(manifest(), "utf-8")
