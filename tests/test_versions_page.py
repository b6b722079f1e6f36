"""`make test-versions`: which environments it runs, and how what becomes of the tests is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import versions, versions_page
from benchmarks.versions import CannotTest, Outcome

TESTS = """
import pytest

def test_passes(): pass

def test_fails(): assert 1 == 2, "one is | not two"

@pytest.mark.skipif(True, reason="torch 9.9 has no `ops`")
@pytest.mark.parametrize("of", [1, 2])
def test_skipped(of): pass

@pytest.fixture
def broken(): raise OSError("no disk")

def test_errs(broken): pass
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("tests")
    (folder / "test_all.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\n")
    results = folder / "results.xml"
    command = [sys.executable, "-m", "pytest", "--quiet", "--junitxml", str(results), str(folder)]
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    passed, failed, skipped = versions.read_results(results)
    return Outcome("3.10", "2.10.0", "0.16.0", "2026-11-27T12:00:00", 1, passed, failed, skipped)


@pytest.mark.slow
def test_every_test_is_counted_with_its_reason(outcome: Outcome) -> None:
    assert outcome.passed == 1
    assert [(each.test, each.reason) for each in outcome.failed] == [
        ("test_all::test_fails", "AssertionError: one is | not two"),
        ("test_all::test_errs", 'failed on setup with "OSError: no disk"'),
    ]
    assert [each.reason for each in outcome.skipped] == ["torch 9.9 has no `ops`"] * 2


@pytest.mark.slow
def test_the_page_has_the_matrix_and_the_reasons(outcome: Outcome) -> None:
    page = versions_page.section([outcome]).splitlines()
    assert "| 3.10 | 2.10.0 | 0.16.0 | 1 | 2 | 2 | 2026-11-27 |" in page
    assert r"- `test_all::test_fails`: AssertionError: one is \| not two" in page
    assert r"| 3.10 | 2.10.0 | 2 | torch 9.9 has no \`ops\` |" in page


@pytest.mark.parametrize(("only", "count"), [("2.1", 0), ("2.10", 1), ("3.10", 1), ("2.14.1", 1)])
def test_environments_are_chosen_by_whole_numbers(only: str, count: int) -> None:
    assert sum(each.matches(only) for each in versions.environments()) == count


def test_a_missing_interpreter_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHON_3_10", str(tmp_path / "none"))
    with pytest.raises(CannotTest, match=r"none does not start .* set PYTHON_3_10"):
        versions.find_python("3.10")
    monkeypatch.setenv("PYTHON_9_9", sys.executable)
    with pytest.raises(CannotTest, match=r"is no Python 9\.9; set PYTHON_9_9"):
        versions.find_python("9.9")
