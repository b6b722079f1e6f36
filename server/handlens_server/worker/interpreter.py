"""Chooses the Python that runs the models of a workspace folder."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

_IN_ENVIRONMENT = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"


def choose(setting: str | None, root: str, environment: Mapping[str, str] = os.environ) -> str:
    """The path of the interpreter for the files under ``root``.

    The setting counts first: a path (relative ones start at ``root``) or the name of a command.
    Then come the active virtual environment, the ``.venv`` of ``root``, and the server's own
    interpreter.
    """
    if setting:
        return _configured(setting, root)
    active = environment.get("VIRTUAL_ENV")
    for folder in (active, f"{root}/.venv"):
        if folder and (python := Path(folder) / _IN_ENVIRONMENT).exists():
            return str(python)
    return sys.executable


def _configured(setting: str, root: str) -> str:
    path = os.path.expanduser(setting)
    if not os.path.dirname(path):
        return shutil.which(path) or path
    return os.path.join(root, path)
