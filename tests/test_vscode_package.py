"""What the VS Code extension says of itself agrees with the rest of the repository."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import handlens

ROOT = Path(__file__).parents[1]
MANIFEST = json.loads((ROOT / "vscode-client" / "package.json").read_text("utf-8"))


def test_the_settings_of_the_extension_are_made_from_those_of_the_server() -> None:
    generated = runpy.run_path(str(ROOT / "docs" / "settings.py"))["manifest"]()
    written = (ROOT / "vscode-client" / "package.json").read_text("utf-8")
    assert written == generated, "run `python docs/settings.py`"


def test_every_setting_has_a_description_and_a_scope() -> None:
    for name, each in MANIFEST["contributes"]["configuration"]["properties"].items():
        assert each["description"].endswith("."), name
        assert each["scope"] in ("resource", "machine-overridable", "window"), name


def test_the_extension_has_the_version_of_the_package() -> None:
    lock = json.loads((ROOT / "vscode-client" / "package-lock.json").read_text("utf-8"))
    assert MANIFEST["version"] == lock["version"] == handlens.__version__


def test_what_names_an_interpreter_is_restricted_until_the_workspace_is_trusted() -> None:
    properties = MANIFEST["contributes"]["configuration"]["properties"]
    interpreters = [name for name in properties if name.lower().endswith("interpreter")]
    restricted = MANIFEST["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"]
    assert sorted(restricted) == sorted(interpreters)
    assert all(properties[name]["scope"] == "machine-overridable" for name in interpreters)


def test_what_is_locked_names_no_registry() -> None:
    assert '"resolved"' not in (ROOT / "vscode-client" / "package-lock.json").read_text("utf-8")
