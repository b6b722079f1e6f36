"""An editor that is none of ours: Neovim shows what the server's test client shows."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.server.conftest import GUARD_S, SETTINGS, SOURCES, serving_client

SCRIPT = Path(__file__).with_name("attach.lua")

# Neovim counts in bytes, the protocol in UTF-16 units: what is before the ops makes that a difference.
MODEL = '''\
import torch
from torch import nn


class Tiny(nn.Module):
    """Ops behind text that is no ASCII."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        größe = "𝄞"; x = self.conv(x).mean((2, 3))
        return self.linear(x)


def handlens_tiny():
    torch.manual_seed(1)
    return Tiny(), (torch.randn(2, 3, 8, 8),)
'''


@pytest.fixture
def nvim() -> str:
    found = shutil.which("nvim")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("nvim is not installed, and nothing is left out in CI")
        pytest.skip("nvim is not installed")
    return found


async def test_neovim_shows_the_same_diagnostics(tmp_path: Path, nvim: str) -> None:
    async with serving_client(tmp_path) as client:
        document = client.open("model.py", MODEL)
        published = await client.diagnostics(document, bool)

    assert await _shown_by(nvim, document.file, tmp_path) == sorted(
        _as_neovim_has_it(each, MODEL.splitlines()) for each in published
    )


async def _shown_by(nvim: str, file: Path, folder: Path) -> list[tuple[Any, ...]]:
    """What Neovim shows in a file."""
    answer = folder / "shown.json"
    options = {
        "python": sys.executable,
        "initialization": SETTINGS,
    }
    process = await asyncio.create_subprocess_exec(
        *(nvim, "--headless", "--clean", "-n", "-S", str(SCRIPT)),
        env={
            **os.environ,
            "PYTHONPATH": SOURCES,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_STATE_HOME": str(folder / "state"),
            "HANDLENS_FILE": str(file),
            "HANDLENS_ANSWER": str(answer),
            "HANDLENS_OPTIONS": json.dumps(options),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), GUARD_S)
    except asyncio.TimeoutError:
        process.kill()
        said, _ = await process.communicate()
        pytest.fail(f"nothing was shown; Neovim said:\n{said.decode()}")
    assert answer.exists(), said.decode()
    return sorted(
        (
            each["lnum"],
            each["col"],
            each["end_lnum"],
            each["end_col"],
            each["severity"],
            each["message"],
            each["source"],
            each["code"],
        )
        for each in json.loads(answer.read_text("utf-8"))
    )


def _as_neovim_has_it(diagnostic: types.Diagnostic, lines: list[str]) -> tuple[Any, ...]:
    def column(position: types.Position) -> int:
        units = lines[position.line].encode("utf-16-le")[: 2 * position.character]
        return len(units.decode("utf-16-le").encode())

    start, end = diagnostic.range.start, diagnostic.range.end
    return (
        start.line,
        column(start),
        end.line,
        column(end),
        diagnostic.severity,
        diagnostic.message,
        diagnostic.source,
        diagnostic.code,
    )
