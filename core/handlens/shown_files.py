"""Tells files that may show findings from those of installed packages."""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Callable

from handlens.request import RunRequest

STANDARD_LIBRARY = os.path.join(sysconfig.get_path("stdlib"), "")
PACKAGE_FOLDERS = re.compile(r"[/\\](site|dist)-packages[/\\]")


def is_installed(file: str) -> bool:
    """True if a file belongs to an installed package rather than to somebody's workspace."""
    return file.startswith(STANDARD_LIBRARY) or PACKAGE_FOLDERS.search(file) is not None


def shown_by(request: RunRequest) -> Callable[[str], bool]:
    """A predicate: True for the files that may show findings of a run."""
    target = os.path.abspath(request.target.file)
    folders = tuple(os.path.join(os.path.abspath(each), "") for each in request.workspace)
    return lambda file: file == target or (file.startswith(folders) and not is_installed(file))
