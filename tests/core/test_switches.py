"""Switches for people who work on Handlens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handlens import switches


def test_nothing_is_switched_where_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOG_LEVEL", "NO_HELD_EXPORT", "NO_COMPILE_CACHE", "WORKERS"):
        monkeypatch.delenv(f"HANDLENS_{name}", raising=False)
    assert switches.log_level("INFO") == "INFO"
    assert switches.may_hold_exports()
    assert switches.may_cache_methods()
    assert switches.workers() == "auto"


def test_each_switch_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDLENS_LOG_LEVEL", "debug")
    monkeypatch.setenv("HANDLENS_NO_HELD_EXPORT", "1")
    monkeypatch.setenv("HANDLENS_NO_COMPILE_CACHE", "1")
    monkeypatch.setenv("HANDLENS_WORKERS", "standby")
    assert switches.log_level("INFO") == "DEBUG"
    assert not switches.may_hold_exports()
    assert not switches.may_cache_methods()
    assert switches.workers() == "standby"


@pytest.mark.parametrize(("level", "is_logged"), [("warning", True), ("error", False)])
def test_the_command_line_logs_from_a_level_on(tmp_path: Path, level: str, is_logged: bool) -> None:
    (tmp_path / "model.py").write_text("def handlens_x():\n    pass\n")
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\necho no event\n")
    interpreter.chmod(0o755)
    core = os.fspath(Path(switches.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "handlens", "check", "--python", interpreter, "model.py"],
        env={**os.environ, "PYTHONPATH": core, "HANDLENS_LOG_LEVEL": level},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ("no event" in done.stderr) == is_logged
