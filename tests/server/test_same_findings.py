"""The editor and the command line show the same findings, at the same ranges."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from lsprotocol import types

import handlens
from tests.server.conftest import Serving

EXAMPLES = Path(handlens.__file__).parents[2] / "examples"
SEVERITIES = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "information": types.DiagnosticSeverity.Information,
    "hint": types.DiagnosticSeverity.Hint,
}


async def checked(file: Path) -> list[tuple[object, ...]]:
    """The findings that ``handlens check`` prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "handlens", "check", str(file), "--format", "json"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(handlens.__file__).parents[1])},
    )
    output, _ = await process.communicate()
    [report] = json.loads(output)["reports"]
    assert report["status"] == "ok"
    return sorted(
        (
            finding["rule"],
            SEVERITIES[finding["severity"]],
            "\n".join(filter(None, (finding["message"], finding["cause"]))),
            (finding["span"]["line"] - 1, finding["span"]["column"]),
            (finding["span"]["end_line"] - 1, finding["span"]["end_column"]),
        )
        for finding in report["findings"]
    )


@pytest.mark.parametrize("name", ["tiny_cnn.py", "transformer_block.py", "efficientnet_lite.py"])
async def test_an_example_opened_in_an_editor_shows_what_the_command_line_prints(
    serving: Serving, tmp_path: Path, name: str
) -> None:
    text = (EXAMPLES / name).read_text("utf-8")
    async with serving(tmp_path, thresholds=None) as client:
        document = client.open(name, text)
        shown = await client.diagnostics(document)
    found = sorted(
        (
            each.code,
            each.severity,
            each.message,
            (each.range.start.line, each.range.start.character),
            (each.range.end.line, each.range.end.character),
        )
        for each in shown
    )
    expected = await checked(document.file)
    assert found == expected
    assert bool(expected) == (name != "transformer_block.py")


async def test_a_projects_settings_hold_in_both(serving: Serving, tmp_path: Path) -> None:
    text = (EXAMPLES / "tiny_cnn.py").read_text("utf-8")
    (tmp_path / "pyproject.toml").write_text(
        "[tool.handlens]\nignore = ['HL102']\nrecipe = 'xnnpack'\nwarning-db = 11\nerror-db = 2\n"
    )
    async with serving(tmp_path, thresholds=None) as client:
        document = client.open("tiny_cnn.py", text)
        shown = await client.diagnostics(document)
    expected = await checked(document.file)
    assert sorted(each.message for each in shown) == sorted(str(each[2]) for each in expected)
    assert {each.severity for each in shown} == {each[1] for each in expected}
    assert {each.code for each in shown} == {each[0] for each in expected} != set()
    assert "HL102" not in {each.code for each in shown}
