"""What is kept from one start for the next, by real starts of Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import SOURCES

pytestmark = pytest.mark.slow

# How many methods of the protocol's types attrs compiled, and whether the types work.
START = """
import builtins
compiled = []
real = builtins.compile
def counting(source, filename, *arguments, **options):
    if str(filename).startswith("<attrs generated") and "lsprotocol" in filename:
        compiled.append(filename)
    return real(source, filename, *arguments, **options)
builtins.compile = counting
import handlens_server.__main__
from lsprotocol.types import Position
assert Position(1, 2) == Position(1, 2) < Position(2, 0)
try:
    Position(-1, 0)
except ValueError:
    print(len(compiled))
"""


Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def start(**environment: str) -> int:
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environment = {"PYTHONPATH": SOURCES, "PYTHONPYCACHEPREFIX": str(tmp_path)} | environment
        done = subprocess.run(
            [sys.executable, "-c", START],
            env=inherited | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    return start


def kept(folder: Path) -> Path:
    [file] = folder.rglob("*.methods")
    return file


def test_what_was_compiled_once_is_not_compiled_again(start: Start, tmp_path: Path) -> None:
    assert start() > 100
    assert start() == 0


@pytest.mark.parametrize("damage", ["cut off", "of another Python", "another byte", "no file"])
def test_what_cannot_be_read_is_made_again(start: Start, tmp_path: Path, damage: str) -> None:
    first = start()
    file = kept(tmp_path)
    data = file.read_bytes()
    if damage == "no file":
        file.unlink()
        file.mkdir()
        assert start() == first, "where nothing can be kept, it starts all the same"
        return
    file.write_bytes(
        {
            "cut off": data[: len(data) // 2],
            "of another Python": b"\0\0\0\0" + data[4:],
            "another byte": data[:9000] + bytes([data[9000] ^ 1]) + data[9001:],
        }[damage]
    )
    assert start() == first
    assert start() == 0


def test_nothing_is_written_where_python_is_to_write_nothing(start: Start, tmp_path: Path) -> None:
    start(PYTHONDONTWRITEBYTECODE="1")
    assert not list(tmp_path.rglob("*.methods"))


def test_nothing_is_read_or_written_where_that_is_switched_off(
    start: Start, tmp_path: Path
) -> None:
    first = start()
    before = kept(tmp_path).stat().st_mtime_ns
    assert start(HANDLENS_NO_COMPILE_CACHE="1") == first
    assert kept(tmp_path).stat().st_mtime_ns == before
