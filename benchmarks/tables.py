"""Print the results of a benchmark run as tables of a hundred columns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from statistics import median

import click
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.breadth import Cell
from benchmarks.figures import (
    COMPARISONS,
    CONTENDERS,
    Block,
    Document,
    best_and_median,
    blocks,
    duration,
    p95,
    ratios,
    size,
)
from benchmarks.latency import Latency
from benchmarks.soak import Sample

STAGES = ("start", "load", "export", "quantize", "compare", "total")
WIDTH = 100

METHOD = (
    "float, quantized: one pass of a model as it stands; nothing is compared. Handlens: merge, run, "
    "read the ratio of every op (accumulated error); + introduced: the error of every op by itself as "
    "well. torchao: its numeric debugger as documented: prepare, run both models, extract, compare, "
    "read every ratio. Each figure is from a process of its own, after a warm-up. Peak memory is above "
    "what was resident just before, the models among it."
)
RATIOS = (
    "Pairs: without / with introduced error. Times are from one process in which all take turns, the "
    "median over the rounds. run: one batch through a comparison that is merged. all: from the graphs "
    "to the ratios. both: float and quantized, one after the other. Peaks are those of the table above."
)
OVERHEAD = "Own cost: (merge + run − both models) / nodes."
STAGES_NOTE = (
    "cold: the worker is started for the run and imports torch (start). warm: it is up. total: what "
    "the client waits for. A worker may set the environment of its runs by itself."
)


def show(document: Document) -> None:
    """Print the table of every kind of row that was measured."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    console.print(
        f"{document['date']} · {machine['cpu']}, {machine['cores']} cores, {size(machine['memory'])} · "
        f"load {machine['load']:.1f} at the start · {versions}"
    )
    if document["quick"]:
        console.print("Quick: each thing was measured once.", style="bold")
    for block in blocks(document):
        variables = " ".join(f"{name}={value}" for name, value in block.variables.items())
        console.rule(f"Environment: {block.environment} ({variables or 'nothing set'})")
        _Printer(block, console).show()


class _Printer:
    def __init__(self, block: Block, console: Console) -> None:
        self._block = block
        self._console = console
        self._errors: dict[str, int] = {}

    def show(self) -> None:
        self._alone()
        self._together()
        self._overhead()
        self._stages()
        self._quantize()
        self._batches()
        self._whole()
        for error, number in self._errors.items():
            self._console.print(f"[{number}] {error}", markup=False)

    def _print(self, table: Table, note: str = "") -> None:
        if table.row_count:
            self._console.print(table)
            if note:
                self._console.print(note, style="dim")
            self._console.print()

    def _failed(self, error: str) -> str:
        number = self._errors.setdefault(error, len(self._errors) + 1)
        return f"{'n/a' if error.startswith('n/a') else 'raises'} \\[{number}]"

    def _alone(self) -> None:
        table = _table("One batch: best/median time, peak memory", *CONTENDERS.values())
        for workload in self._block.workloads("alone"):
            cells = []
            for contender in CONTENDERS:
                row = self._block.row("alone", workload, contender)
                figures = row["figures"]
                cells.append(
                    self._failed(row["error"])
                    if row["error"]
                    else f"{best_and_median(figures['times'])}\n{size(figures['peak'])}"
                )
            table.add_row(workload, *cells)
        self._print(table, METHOD)

    def _together(self) -> None:
        heads = ("run ÷ both", "run ÷ float", "all ÷ torchao", "peak ÷ both", "peak ÷ torchao")
        table = _table("Ratios of time and memory", *heads)
        block = self._block
        for workload in block.workloads("together"):
            row = block.row("together", workload)
            if row["error"]:
                table.add_row(workload, self._failed(row["error"]))
                continue
            kinds = ("run_by_plain", "run_by_float", "compare_by_torchao")
            cells = [
                ratios(block.time_ratio(row, kind, each) for each in COMPARISONS) for kind in kinds
            ]
            for below in (("float", "quantized"), ("torchao",)):
                peaks = (block.memory_ratio(workload, each, *below) for each in COMPARISONS)
                cells.append(ratios(peaks))
            table.add_row(workload, *cells)
        self._print(table, RATIOS)

    def _overhead(self) -> None:
        heads = ("nodes", "both models", "merge", "run", "own cost a node", "all ÷ torchao")
        table = _table("What a node costs, whatever its data", *heads)
        for row in self._block.rows("overhead"):
            if row["error"]:
                table.add_row(row["workload"], self._failed(row["error"]))
                continue
            figures = row["figures"]
            run = {name: median(times) for name, times in figures["run"].items()}
            for name, merge in figures["merge"].items():
                table.add_row(
                    CONTENDERS[name],
                    str(figures["nodes"]),
                    duration(run["float"] + run["quantized"]),
                    duration(merge),
                    duration(run[name]),
                    f"{figures['overhead_per_node'][name] * 1000:.3f} ms",
                    ratios([self._block.time_ratio(row, "compare_by_torchao", name)]),
                )
        self._print(table, OVERHEAD)

    def _stages(self) -> None:
        table = _table("Stages of a run in a worker", *STAGES)
        for row in self._block.rows("stages"):
            if row["error"]:
                table.add_row(row["workload"], self._failed(row["error"]))
                continue
            for state, stages in row["figures"].items():
                cells = (duration(stages[each]) if each in stages else "" for each in STAGES)
                table.add_row(f"{row['workload']}, {state}", *cells)
        self._print(table, STAGES_NOTE)

    def _quantize(self) -> None:
        table = _table("Quantize stage", "export", "Handlens", "torchao's three calls")
        for row in self._block.rows("quantize"):
            if row["error"]:
                table.add_row(row["workload"], self._failed(row["error"]))
                continue
            figures = row["figures"]
            ours, theirs = (best_and_median(figures[name]) for name in ("handlens", "torchao"))
            table.add_row(row["workload"], duration(figures["export"]), ours, theirs)
        self._print(table)

    def _batches(self) -> None:
        found = self._block.batches()
        numbers = sorted({number for peaks, _ in found.values() for number in peaks})
        heads = [f"{number} batch{'es' if number > 1 else ''}" for number in numbers]
        table = _table("Peak memory over the number of batches", *heads)
        for (workload, contender), (peaks, error) in found.items():
            cells = [size(peaks[number]) if number in peaks else "–" for number in numbers]
            if error:
                cells = [self._failed(error)]
            table.add_row(f"{workload}, {CONTENDERS[contender]}", *cells)
        self._print(table)

    def _whole(self) -> None:
        table = _table("Peak memory of a whole run, torch included", "peak", "peak ÷ float model")
        for row in self._block.rows("whole"):
            if row["error"]:
                table.add_row(row["workload"], self._failed(row["error"]))
                continue
            figures = row["figures"]
            share = f"{figures['peak'] / figures['model']:.2f}"
            table.add_row(row["workload"], size(figures["peak"]), share)
        self._print(table)


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def show_latency(latency: Latency) -> None:
    """Print one line about a latency."""
    samples = latency.samples
    goal = f", should be under {duration(latency.goal)}" if latency.goal is not None else ""
    click.echo(
        f"{latency.name:60} p50 {duration(median(samples)):>8}  p95 {duration(p95(samples)):>8}{goal}"
    )


def show_sample(sample: Sample) -> None:
    """Print one line about a sample of a long session."""
    click.echo(
        f"{sample.seconds / 60:5.1f} min  {sample.steps:5} steps  server {size(sample.server_bytes)} "
        f"{sample.server_descriptors} fds  worker {size(sample.worker_bytes)} "
        f"{sample.worker_descriptors} fds  {sample.processes} processes  "
        f"hover p95 {duration(sample.hover_p95)}"
    )


def soak(document: Document) -> Iterator[str]:
    """Compare the end of a long session with its second fifth, when everything is warm."""
    samples = document["samples"]
    part = max(1, len(samples) // 5)
    warm, last = samples[part : 2 * part], samples[-part:]
    yield f"{document['minutes']:g} min: " + ", ".join(
        f"{count} {name}" for name, count in sorted(document["steps"].items())
    )
    for name, key in (("server", "server_bytes"), ("worker", "worker_bytes")):
        before, after = (median(each[key] for each in part) for part in (warm, last))
        yield f"{name}: {size(before)} → {size(after)} ({after / before - 1:+.1%})"
    for name, key in (("server", "server_descriptors"), ("worker", "worker_descriptors")):
        found = [sorted({each[key] for each in part}) for part in (warm, last)]
        yield f"{name}: descriptors {found[0]} → {found[1]}"
    before, after = (median(each["hover_p95"] for each in part) for part in (warm, last))
    yield f"hover: p95 {duration(before)} → {duration(after)}"
    yield f"different from a fresh server in the end: {', '.join(document['different']) or 'nothing'}"


def cell(cell: Cell) -> str:
    """Print one line about an architecture under a recipe."""
    result = cell.error or (
        f"{cell.verdict if cell.sqnr_db is None else f'{cell.sqnr_db:.1f} dB'}, "
        f"{cell.compared} of {cell.ops} ops compared"
    )
    faults = [f"{count} × {op}: {reason}" for op, reason, count in cell.unexpected]
    return "; ".join(
        filter(
            None,
            [
                f"{cell.architecture} {cell.recipe} {duration(cell.seconds)}: {result}",
                *faults,
                cell.differs,
            ],
        )
    )


def advice(row: Document) -> Iterator[str]:
    """Print lines about a model with advice: the outputs by method, and what the search took."""
    yield (
        f"{row['subject']}: {row['units']} units, {row['before_db']:.2f} dB, comparison "
        f"{duration(row['compare_s'])}, advice {duration(row['advice_s'])}"
    )
    for name, method in row["methods"].items():
        outputs = " ".join(
            "exact" if each is None else f"{each:.2f}" for each in method["outputs_db"]
        )
        yield f"  {name:10} {method['measurements']:5} measurements: {outputs}"
