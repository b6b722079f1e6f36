"""``python scripts/bundle.py FOLDER`` puts the server and all that it imports into ``FOLDER``, and the pages of docs.

``python FOLDER`` then serves, with any Python from 3.10 on and nothing else installed: every package in
it is pure Python. It has to run in an environment with pip.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / "core" / "handlens", ROOT / "server" / "handlens_server")

# What the packages below ask for on Python 3.10 alone; pip would leave it out on the one that runs it.
_FOR_OLDER_PYTHONS = ("exceptiongroup", "tomli")

# Compiled for one platform (their packages work without), for type checkers, or never imported.
_NOT_NEEDED = ("*.so", "*.pyd", "*.c", "*.pyi", "py.typed", "bin", "__pycache__", "tests", "test")

_LICENCE = re.compile(r"(licen[cs]e|copying|notice|authors)", re.IGNORECASE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    _install(folder)
    _check_pins(folder)
    notice = "\n".join(_notices(folder))
    for pattern in (*_NOT_NEEDED, "*.dist-info"):
        for path in sorted(folder.rglob(pattern), reverse=True):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for source in SOURCES:
        shutil.copytree(
            source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", "py.typed")
        )
    shutil.copy(SOURCES[1] / "__main__.py", folder / "__main__.py")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=_only_pages)
    (folder / "THIRD-PARTY.txt").write_text(notice, "utf-8")


def _only_pages(folder: str, names: list[str]) -> list[str]:
    """The names in a folder of the documentation that are no pages, nor folders of pages."""
    return [name for name in names if not name.endswith(".md") and name != "rules"]


def _install(folder: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [each for each in project["dependencies"] if "python_version" not in each]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-compile", "--only-binary=:all:", "--constraint", ROOT / "constraints.txt"]
    subprocess.run([*pip, *options, "--target", folder, *wanted, *_FOR_OLDER_PYTHONS], check=True)


def _check_pins(folder: Path) -> None:
    """Only what has been tested is shipped: leave if constraints.txt does not pin all of it."""
    pins = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    pinned = {_canonical(name) for name in pins}
    for info in folder.glob("*.dist-info"):
        if _canonical(info.name.split("-")[0]) not in pinned:
            sys.exit(f"{info.name} would be shipped, and constraints.txt does not pin it.")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _notices(folder: Path) -> Iterator[str]:
    """Each package, its licence as it states it, and the texts of its licence."""
    yield "Handlens is shipped with the packages below. Each is under its own licence.\n"
    for info in sorted(folder.glob("*.dist-info")):
        metadata = (info / "METADATA").read_text("utf-8").split("\n\n")[0]
        field = dict(line.split(": ", 1) for line in metadata.splitlines() if ": " in line)
        classifiers = re.findall(r"^Classifier: License :: .*:: (.+)$", metadata, re.MULTILINE)
        licence = field.get("License-Expression") or field.get("License") or ", ".join(classifiers)
        yield f"{'=' * 100}\n{field['Name']} {field['Version']} · {licence or 'see below'}\n{'=' * 100}\n"
        texts = [
            path for path in sorted(info.rglob("*")) if path.is_file() and _LICENCE.match(path.name)
        ]
        if not texts:
            sys.exit(
                f"{info.name} has no text of its licence; find out what has to be shipped with it."
            )
        yield from (path.read_text("utf-8") for path in texts)


if __name__ == "__main__":
    main()
