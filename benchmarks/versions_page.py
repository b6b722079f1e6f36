"""The tables of docs/versions.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from benchmarks.versions import Ended, Outcome


def section(outcomes: Iterable[Outcome]) -> str:
    """The matrix, and the reason for every test that did not pass."""
    outcomes = list(outcomes)
    lines = [*_matrix(outcomes), *_failures(outcomes), *_skips(outcomes)]
    return "\n" + "\n".join(lines) + "\n\n"


def _matrix(outcomes: list[Outcome]) -> Iterator[str]:
    yield "| Python | torch | torchao | passed | failed | skipped | on |"
    yield "| --- | --- | --- | --: | --: | --: | --- |"
    for each in outcomes:
        counts = f"{each.passed:,} | {len(each.failed)} | {len(each.skipped)}"
        yield f"| {each.python} | {each.torch} | {each.torchao} | {counts} | {each.date[:10]} |"


def _failures(outcomes: list[Outcome]) -> Iterator[str]:
    for each in outcomes:
        if each.failed:
            yield f"\n### Failed with Python {each.python}, torch {each.torch}, torchao {each.torchao}\n"
            yield from (f"- `{test.test}`: {_inert(test.reason)}" for test in each.failed)


def _skips(outcomes: list[Outcome]) -> Iterator[str]:
    yield "\n### Skipped\n"
    yield "| Python | torch | tests | why |"
    yield "| --- | --- | --: | --- |"
    for each in outcomes:
        for reason, count in _reasons(each.skipped):
            yield f"| {each.python} | {each.torch} | {count} | {_inert(reason)} |"


def _reasons(ended: Iterable[Ended]) -> list[tuple[str, int]]:
    return Counter(each.reason for each in ended).most_common()


def _inert(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table."""
    return text.translate({ord(each): f"\\{each}" for each in "\\`*_[]<>|"})
