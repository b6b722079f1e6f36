"""What is said of versions, and that it is what pyproject.toml promises and tests/versions.toml tests."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from handlens.versions import PYTHONS, TORCHAO, release, remarks

from .command_line import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parsed(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text("utf-8"))


def test_tested_versions_need_no_remark() -> None:
    assert remarks("3.11.7", "2.13.0+cpu", "0.18.0") == ()
    assert remarks("3.13.0", "2.15.1+cu130", "0.18.0+git1234") == ()


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        (
            ("3.14.0", "2.13.0", "0.18.0"),
            "Python 3.14.0 is untested: Handlens is tested with 3.10 ",
        ),
        (
            ("3.11.7", "2.9.1", "0.15.0"),
            "torch 2.9.1 is untested: Handlens is tested with 2.10 to ",
        ),
        (("3.11.7", "3.0.0a0+git1", "0.18.0"), "torch 3.0.0a0+git1 is untested: "),
        (("3.11.7", "2.10.0", "0.18.0"), "torchao 0.18.0 is untested with torch 2.10.0: "),
        (("3.10.13", "2.10.0", "0.16.0"), "Python 3.10.13 keeps no columns of expressions"),
    ],
)
def test_each_other_version_is_named(versions: tuple[str, str, str], said: str) -> None:
    (remark,) = remarks(*versions)
    assert remark.startswith(said)


def test_what_is_known_as_tested_is_tested() -> None:
    rows = parsed("tests/versions.toml")["environments"]
    assert {release(row["python"]) for row in rows} == set(PYTHONS)
    assert {release(row["torch"]): release(row["torchao"]) for row in rows} == TORCHAO


def test_the_package_asks_for_what_is_tested() -> None:
    project = parsed("pyproject.toml")["project"]
    assert project["requires-python"] == f">={_text(PYTHONS[0])}"
    prefix = "Programming Language :: Python :: "
    named = {
        each.removeprefix(prefix) for each in project["classifiers"] if re.search(r"\d\.\d", each)
    }
    assert named == set(map(_text, PYTHONS))
    torch, torchao = project["optional-dependencies"]["torch"]
    assert torch == f"torch{_range(set(TORCHAO))}"
    assert torchao == f"torchao{_range(set(TORCHAO.values()))}"


def _text(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))


def _range(releases: set[tuple[int, int]]) -> str:
    major, minor = max(releases)
    return f">={_text(min(releases))},<{major}.{minor + 1}"
