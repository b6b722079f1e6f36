"""Make the tables of docs/models.md from the results of ``breadth``; they are never typed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.breadth import Cell
from benchmarks.figures import Document
from benchmarks.readme import line, taken


def section(document: Document) -> str:
    """Date and machine, how many architectures work, a table for each family, and all problems."""
    cells = [_read(each) for each in document["cells"]]
    sound = sum(each.sound for each in cells)
    architectures = {(each.family, each.architecture) for each in cells}
    paragraphs = [
        taken(document),
        f"{len(architectures)} architectures, {len(cells)} runs: {sound} have a result that accounts for "
        f"every op, {sum(bool(each.error) for each in cells)} failed.",
    ]
    for family in dict.fromkeys(each.family for each in cells):
        table = _table([each for each in cells if each.family == family])
        paragraphs.append(f"## {family}\n\n{table}")
    if faults := list(_faults(cells)):
        paragraphs.append("## What is not as it should be\n\n" + "\n".join(faults))
    return "\n" + "\n\n".join(paragraphs) + "\n\n"


def _read(cell: Document) -> Cell:
    unexpected = tuple((op, reason, count) for op, reason, count in cell["unexpected"])
    return Cell(**(cell | {"unexpected": unexpected}))


def _table(cells: Sequence[Cell]) -> str:
    recipes = list(dict.fromkeys(each.recipe for each in cells))
    lines = [
        line(["architecture", *recipes, "time"]),
        line(["---"] + ["--:"] * (len(recipes) + 1)),
    ]
    for name in dict.fromkeys(each.architecture for each in cells):
        row = {each.recipe: each for each in cells if each.architecture == name}
        seconds = sum(each.seconds for each in row.values())
        lines.append(line([name, *(_shown(row[each]) for each in recipes), f"{seconds:.0f} s"]))
    return "\n".join(lines)


def _shown(cell: Cell) -> str:
    if cell.error:
        return "**failed**"
    ratio = cell.verdict if cell.sqnr_db is None else f"{cell.sqnr_db:.1f} dB"
    marks = "*" * bool(cell.unexpected) + "≠" * bool(cell.differs)
    return f"{ratio} · {cell.compared}/{cell.ops}{marks}"


def _faults(cells: Iterable[Cell]) -> Iterator[str]:
    """A list of the problems, each with the architectures that have it."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        said = [cell.error, cell.differs]
        said += [f"{op} not compared: {reason}" for op, reason, _ in cell.unexpected]
        for each in filter(None, said):
            found.setdefault(f"`{cell.recipe}`: {each}", []).append(cell.architecture)
    for what, where in found.items():
        yield f"- {what} ({', '.join(where)})"
