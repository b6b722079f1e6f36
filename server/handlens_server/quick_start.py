"""Halves the time to start: methods that attrs compiles for the protocol's types are cached on disk.

The types are 550 classes. attrs writes their methods as text and compiles them at every import. Python
caches compiled modules, but not such methods; this module caches them beside the compiled modules.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import importlib.util
import marshal
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import attr._make

from handlens import switches

FILE = Path(importlib.util.cache_from_source(__file__)).with_suffix(".methods")


@contextlib.contextmanager
def methods_cached() -> Iterator[None]:
    """While this is entered, attrs compiles no method that was compiled at an earlier start."""
    if not switches.may_cache_methods():
        yield
        return
    cached = _read()
    used: dict[bytes, CodeType] = {}

    def compiled(source: str, filename: str, mode: str) -> CodeType:
        key = hashlib.sha256(f"{filename}\0{mode}\0{source}".encode()).digest()
        code = cached.get(key)
        used[key] = code if code is not None else builtins.compile(source, filename, mode)
        return used[key]

    # attrs calls the builtin compile(); a global of its module with that name takes precedence.
    attr._make.compile = compiled  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del attr._make.compile  # type: ignore[attr-defined]
    if used.keys() != cached.keys() and not sys.dont_write_bytecode:
        _write(used)


def _read() -> dict[bytes, CodeType]:
    with contextlib.suppress(OSError):
        content = FILE.read_bytes()
        data = content[_HEAD:]
        # Damaged data could crash Python, or be a different program.
        if content[:_HEAD] == _head(data):
            found: dict[bytes, CodeType] = marshal.loads(data)
            return found
    return {}


def _write(methods: dict[bytes, CodeType]) -> None:
    """Replace the file in one step, because several servers may start at the same time."""
    data = marshal.dumps(methods)
    with contextlib.suppress(OSError):
        FILE.parent.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=FILE.parent)
        with open(handle, "wb") as file:
            file.write(_head(data) + data)
        os.replace(path, FILE)


def _head(data: bytes) -> bytes:
    """The header of data that was written completely, and by this version of Python."""
    return importlib.util.MAGIC_NUMBER + hashlib.sha256(data).digest()


_HEAD = len(_head(b""))
