"""Make the section of the README with the figures from the JSON of a benchmark run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from statistics import median

from benchmarks.figures import COMPARISONS, Block, Document, blocks, duration, p95, ratios, size
from benchmarks.workloads import WORKLOADS

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"

_HEADS = ("", "time ÷ torchao", "memory ÷ torchao", "run ÷ both models", "memory ÷ both models")


def replaced(text: str, content: str) -> str:
    """``text`` with ``content`` between the two markers. Raises ValueError without them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"nothing to replace: no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{content}{END}{after}"


def section(document: Document) -> str:
    """Date and machine, a table of ratios for each environment, and a list of the other figures."""
    paragraphs = [taken(document)]
    for block in blocks(document):
        variables = " ".join(f"`{name}={value}`" for name, value in block.variables.items())
        title = f"With {variables}, for all alike" if variables else "With nothing set"
        paragraphs.append(f"{title}:\n\n{_table(block)}")
    paragraphs.append("\n".join(_facts(blocks(document)[0])))
    return "\n" + "\n\n".join(filter(None, paragraphs)) + "\n\n"


def latencies(document: Document) -> str:
    """Date and machine, and a table of how long an editor waits."""
    lines = [line(("", "p50", "p95", "should be under")), line(["---", "--:", "--:", "--:"])]
    for each in document["latencies"]:
        goal = "" if each["goal"] is None else duration(each["goal"])
        samples = each["samples"]
        lines.append(line([each["name"], duration(median(samples)), duration(p95(samples)), goal]))
    table = "\n".join(lines)
    return f"\n{taken(document)}\n\n{table}\n\n"


def taken(document: Document) -> str:
    """A sentence on when and on which machine the figures were measured."""
    machine = document["machine"]
    versions = machine["versions"]
    taken = datetime.fromisoformat(document["date"])
    return (
        f"Measured on {taken:%Y-%m-%d}: {machine['cpu']}, {machine['cores']} cores, "
        f"{size(machine['memory'])}, torch {versions['torch']}, torchao {versions['torchao']}."
    )


def _table(block: Block) -> str:
    lines = [line(_HEADS), line(["---"] + ["--:"] * (len(_HEADS) - 1))]
    for workload in block.workloads("together"):
        row = block.row("together", workload)
        if row["error"]:
            continue
        cells = [
            ratios(block.time_ratio(row, "compare_by_torchao", each) for each in COMPARISONS),
            ratios(block.memory_ratio(workload, each, "torchao") for each in COMPARISONS),
            ratios(block.time_ratio(row, "run_by_plain", each) for each in COMPARISONS),
            ratios(
                block.memory_ratio(workload, each, "float", "quantized") for each in COMPARISONS
            ),
        ]
        if row["figures"]["torchao_error"]:
            cells[:2] = ["torchao raises"] * 2
        lines.append(line([WORKLOADS[workload].title, *cells]))
    return "\n".join(lines)


def line(cells: Sequence[str]) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def _facts(block: Block) -> Iterator[str]:
    for row in block.rows("stages"):
        if row["workload"] == "efficientnet-1" and not row["error"]:
            cold, warm = row["figures"]["cold"], row["figures"]["warm"]
            stages = ", ".join(f"{name} {duration(warm[name])}" for name in warm if name != "total")
            yield (
                f"- A run of {_title(row)} in a worker that is up: {duration(warm['total'])} ({stages}); "
                f"in one that has to start: {duration(cold['total'])}."
            )
    for row in block.rows("quantize"):
        if row["workload"] == "late-norm" and not row["error"]:
            figures = row["figures"]
            yield (
                f"- Quantizing {_title(row)}: {duration(median(figures['handlens']))}; "
                f"torchao's prepare, calibrate and convert: {duration(median(figures['torchao']))}."
            )
    for row in block.rows("overhead"):
        for comparison, cost in row["figures"].get("overhead_per_node", {}).items():
            if comparison == "introduced":
                yield f"- {_title(row)}: {cost * 1000:.2f} ms of its own for each, merging included."
    for (workload, contender), (peaks, error) in block.batches().items():
        if contender != "accumulated" and not error:
            numbers, sizes = ", ".join(map(str, peaks)), ", ".join(map(size, peaks.values()))
            name = "torchao" if contender == "torchao" else "Handlens"
            title = WORKLOADS[workload].title
            yield f"- Peak memory of {name} over {numbers} batches of {title}: {sizes}."
    for row in block.rows("whole"):
        if not row["error"]:
            figures = row["figures"]
            yield (
                f"- Peak memory of a whole run of {_title(row)}, torch included: {size(figures['peak'])}, "
                f"{figures['peak'] / figures['model']:.2f} times the float model."
            )


def _title(row: Document) -> str:
    return WORKLOADS[row["workload"]].title
