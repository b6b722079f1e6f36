"""Start in half the time: what attrs compiles of the protocol's types is kept for the next start.

Those are 550 classes, whose methods are written as text and compiled as they are imported. Python keeps
what it compiles of a module, and nothing of such methods; here they are kept in the same way and folder.
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
def methods_kept() -> Iterator[None]:
    """Have attrs compile nothing that was compiled at an earlier start."""
    if not switches.may_cache_methods():
        yield
        return
    kept = _read()
    used: dict[bytes, CodeType] = {}

    def compiled(source: str, filename: str, mode: str) -> CodeType:
        key = hashlib.sha256(f"{filename}\0{mode}\0{source}".encode()).digest()
        code = kept.get(key)
        used[key] = code if code is not None else builtins.compile(source, filename, mode)
        return used[key]

    # A global of the module goes before the builtin that it calls; where it calls another, nothing happens.
    attr._make.compile = compiled  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del attr._make.compile  # type: ignore[attr-defined]
    if used.keys() != kept.keys() and not sys.dont_write_bytecode:
        _write(used)


def _read() -> dict[bytes, CodeType]:
    with contextlib.suppress(OSError):
        content = FILE.read_bytes()
        data = content[_HEAD:]
        # What is damaged could crash Python, or be another program.
        if content[:_HEAD] == _head(data):
            found: dict[bytes, CodeType] = marshal.loads(data)
            return found
    return {}


def _write(methods: dict[bytes, CodeType]) -> None:
    """Exchange the file for another at once: servers start beside each other."""
    data = marshal.dumps(methods)
    with contextlib.suppress(OSError):
        FILE.parent.mkdir(parents=True, exist_ok=True)
        handle, path = tempfile.mkstemp(dir=FILE.parent)
        with open(handle, "wb") as file:
            file.write(_head(data) + data)
        os.replace(path, FILE)


def _head(data: bytes) -> bytes:
    """What stands before data that this Python has written, whole."""
    return importlib.util.MAGIC_NUMBER + hashlib.sha256(data).digest()


_HEAD = len(_head(b""))
