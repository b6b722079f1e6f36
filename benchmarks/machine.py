"""The machine and the versions that figures were measured with."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from handlens import __version__

_PACKAGES = ("torch", "torchao", "transformers")


def describe() -> dict[str, object]:
    """CPU, usable cores, memory in bytes, system, versions, and the current load."""
    huge_pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "cpu": _find("/proc/cpuinfo", r"model name\s*:\s*(.+)"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": int(_find("/proc/meminfo", r"MemTotal:\s*(\d+) kB")) * 1024,
        "system": platform.platform(),
        "huge_pages": huge_pages.read_text().strip() if huge_pages.exists() else "",
        "load": os.getloadavg()[0],
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "versions": {
            "python": platform.python_version(),
            "handlens": __version__,
            **{package: _version(package) for package in _PACKAGES},
        },
    }


def _find(file: str, pattern: str) -> str:
    found = re.search(pattern, Path(file).read_text())
    assert found is not None
    return found[1].strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
