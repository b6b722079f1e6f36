"""The command line of the benchmarks: ``python -m benchmarks COMMAND``.

``run`` measures comparisons, ``show`` prints the figures, and ``readme`` copies them into the README.
``verify`` measures the cost of checking a result, ``latency`` how long an editor waits, ``soak`` what a
long session leaves behind, ``architectures`` which models Handlens works on, ``advice`` how much advice
wins, ``sharding`` what several processes save, and ``versions`` whether the tests pass with other versions
of Python, torch and torchao.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import typing
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from benchmarks import (
    advice_page,
    breadth,
    latency,
    machine,
    models_page,
    readme,
    sharding,
    soak,
    tables,
    verifying,
    versions,
    versions_page,
)
from benchmarks.advice_subjects import SUBJECTS
from benchmarks.versions import Outcome
from benchmarks.workloads import MEASURES, ROOT, WORKLOADS
from handlens.dataclass_json import from_json
from handlens.switches import Workers

RESULTS = ROOT / "benchmarks/results/latest.json"
LATENCIES = ROOT / "benchmarks/results/latency.json"
ARCHITECTURES = ROOT / "benchmarks/results/architectures.json"
ADVICE = ROOT / "benchmarks/results/advice.json"
SHARDING = ROOT / "benchmarks/results/sharding.json"
VERSIONS = ROOT / "benchmarks/results/versions.json"
SOAK = ROOT / "benchmarks/results/soak.json"
README = ROOT / "README.md"
PROTOCOL = ROOT / "docs/lsp.md"
MODELS = ROOT / "docs/models.md"
ADVICE_PAGE = ROOT / "docs/advice.md"
SHARDING_PAGE = ROOT / "docs/sharding.md"
VERSIONS_PAGE = ROOT / "docs/versions.md"

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
ENVIRONMENTS: dict[str, dict[str, str]] = {"default": {}, "huge pages": {HUGE_PAGES: "1"}}

_file = click.Path(dir_okay=False, path_type=Path)


@click.group()
def main() -> None:
    """Compare Handlens with torchao's numeric debugger and with plain runs of the models."""


@main.command()
@click.option(
    "--only", multiple=True, type=click.Choice(list(WORKLOADS)), help="A workload; repeatable."
)
@click.option("--measure", "measures", multiple=True, type=click.Choice(MEASURES))
@click.option("--quick", is_flag=True, help="Each thing once, in the default environment only.")
@click.option("--output", type=_file, default=RESULTS, show_default=True)
def run(only: tuple[str, ...], measures: tuple[str, ...], quick: bool, output: Path) -> None:
    """Measure, print the tables, and write all figures as JSON."""
    settings = {"only": only, "measures": measures, "quick": quick}
    document: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "quick": quick,
        "blocks": [],
    }
    for name in list(ENVIRONMENTS)[: 1 if quick else None]:
        rows = list(_rows(name, settings))
        document["blocks"].append(
            {"environment": name, "variables": ENVIRONMENTS[name], "rows": rows}
        )
        # A run takes long; what it has measured is kept should it end early.
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    tables.show(document)


def _rows(environment: str, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    variables = {name: value for name, value in os.environ.items() if name != HUGE_PAGES}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        with subprocess.Popen(
            [sys.executable, "-m", "benchmarks.block", json.dumps(settings)],
            cwd=ROOT,
            env={**variables, **ENVIRONMENTS[environment]},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as block:
            assert block.stdout is not None
            for line in block.stdout:
                row = json.loads(line)
                what = (environment, row["workload"], row["measure"], row["contender"])
                click.echo(f"{' · '.join(filter(None, what))}: {row['error'] or 'ok'}", err=True)
                yield row
        if block.returncode:
            log.seek(0)
            sys.exit(
                f"{log.read()[-4000:]}\nThe measurements ended with status {block.returncode}."
            )


@main.command()
@click.argument("results", type=_file, default=RESULTS)
def show(results: Path) -> None:
    """Print the tables of a file of results."""
    tables.show(json.loads(results.read_text("utf-8")))


@main.command("readme")
@click.argument("results", type=_file, default=RESULTS)
@click.option("--file", type=_file, default=README, show_default=True)
def write_readme(results: Path, file: Path) -> None:
    """Write the figures from the files of results into the README and docs/lsp.md."""
    _quote(file, readme.section(json.loads(results.read_text("utf-8"))))
    if LATENCIES.exists():
        _quote(PROTOCOL, readme.latencies(json.loads(LATENCIES.read_text("utf-8"))))


def _quote(file: Path, content: str) -> None:
    file.write_text(readme.replaced(file.read_text("utf-8"), content), "utf-8")


@main.command("verify")
@click.option("--only", multiple=True, type=click.Choice(list(WORKLOADS)))
def measure_verification(only: tuple[str, ...]) -> None:
    """Measure the cost of checking a result against separate runs of the model and of both graphs."""
    for each in verifying.measure(only or tuple(WORKLOADS)):
        click.echo(
            f"{each.workload}: model {each.model_s * 1e3:.1f} ms, "
            f"quantized {each.quantized_s * 1e3:.1f} ms, "
            f"comparison {each.comparison_s * 1e3:.1f} ms, with checks {each.verified_s * 1e3:.1f} ms: "
            f"{each.ratio:.2f} of a forward of each"
        )


@main.command("latency")
@click.option("--only", multiple=True, type=click.Choice(list(latency.SCENARIOS)))
@click.option("--quick", is_flag=True, help="Each thing a few times only.")
@click.option("--output", type=_file, default=LATENCIES, show_default=True)
def measure_latency(only: tuple[str, ...], quick: bool, output: Path) -> None:
    """Measure how long an editor waits for the server, and write all figures as JSON."""
    document: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "quick": quick,
        "latencies": [],
    }

    async def measure() -> None:
        async for each in latency.measure(only, latency.QUICK if quick else latency.THOROUGH):
            tables.show_latency(each)
            document["latencies"].append(dataclasses.asdict(each))
            output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")

    asyncio.run(measure())


@main.command("soak")
@click.option("--minutes", type=click.FloatRange(min=0), default=60, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--workers", type=click.Choice(typing.get_args(Workers)), default="auto")
@click.option("--output", type=_file, default=SOAK, show_default=True)
def measure_soak(minutes: float, seed: int, workers: Workers, output: Path) -> None:
    """Edit for a long time, and measure whether memory, open files and hover times stay the same."""
    found = asyncio.run(soak.measure(minutes * 60, seed, workers, tables.show_sample))
    document = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "minutes": minutes,
        "workers": workers,
        **dataclasses.asdict(found),
    }
    output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    for line in tables.soak(document):
        click.echo(line)
    if document["different"]:
        sys.exit("What is shown in the end is not what a fresh server shows.")


@main.command("architectures")
@click.option("--family", "families", multiple=True, type=click.Choice(list(breadth.FAMILIES)))
@click.option("--recipe", "recipes", multiple=True, type=click.Choice(breadth.RECIPES))
@click.option("--only", multiple=True, help="The name of an architecture; repeatable.")
@click.option("--output", type=_file, default=ARCHITECTURES, show_default=True)
@click.option("--file", type=_file, default=MODELS, show_default=True)
def measure_architectures(
    families: tuple[str, ...],
    recipes: tuple[str, ...],
    only: tuple[str, ...],
    output: Path,
    file: Path,
) -> None:
    """Run many architectures under a few recipes, and write the results into docs/models.md.

    If only some are asked for, the results of the others stay in the file as they are.
    """
    cells: dict[tuple[str, str, str], dict[str, Any]] = {}
    if families or recipes or only:
        for each in json.loads(output.read_text("utf-8"))["cells"]:
            cells[each["family"], each["architecture"], each["recipe"]] = each
    order = [(*row, recipe) for row in breadth.rows() for recipe in breadth.RECIPES]
    document: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
    }

    async def measure() -> None:
        asked = families or tuple(breadth.FAMILIES), recipes or breadth.RECIPES
        async for each in breadth.measure(*asked, only):
            click.echo(tables.cell(each))
            cells[each.family, each.architecture, each.recipe] = dataclasses.asdict(each)
            document["cells"] = [cells[cell] for cell in order if cell in cells]
            output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")

    asyncio.run(measure())
    _quote(file, models_page.section(document))


@main.command("advice")
@click.argument("own", nargs=-1)
@click.option("--only", multiple=True, type=click.Choice(list(SUBJECTS)))
@click.option("--output", type=_file, default=ADVICE, show_default=True)
@click.option("--file", type=_file, default=ADVICE_PAGE, show_default=True)
def measure_advice(own: tuple[str, ...], only: tuple[str, ...], output: Path, file: Path) -> None:
    """Hold advice against other methods, and write the results into docs/advice.md.

    An argument FILE::TARGET@RECIPE is measured and printed only. If only some are asked for, the results of
    the others stay in the file as they are.
    """
    for argument in own:
        click.echo("\n".join(tables.advice(_advised(argument))))
    if own and not only:
        return
    rows: dict[str, dict[str, Any]] = {}
    if only and output.exists():
        rows = {each["subject"]: each for each in json.loads(output.read_text("utf-8"))["rows"]}
    for name in only or SUBJECTS:
        rows[name] = _advised(name)
        click.echo("\n".join(tables.advice(rows[name])))
        document = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": machine.describe(),
            "rows": [rows[each] for each in SUBJECTS if each in rows],
        }
        output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
        _quote(file, advice_page.section(document))


@main.command("sharding")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--output", type=_file, default=SHARDING, show_default=True)
@click.option("--file", type=_file, default=SHARDING_PAGE, show_default=True)
def measure_sharding(rounds: int, output: Path, file: Path) -> None:
    """Measure what two processes save, and write the results into docs/sharding.md."""
    document: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "rows": [dataclasses.asdict(each) for each in sharding.measure(rounds)],
    }
    output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    _quote(file, sharding.section(document))


def _advised(subject: str) -> dict[str, Any]:
    """The row of a subject, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.advising", subject],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{done.stderr[-4000:]}\nMeasuring {subject} ended with status {done.returncode}.")
    row: dict[str, Any] = json.loads(done.stdout)
    return row


@main.command("versions")
@click.option("--only", help="A Python or a torch: 3.10 or 2.15.")
@click.option("--processes", type=click.IntRange(min=1), default=2, show_default=True)
@click.option(
    "--keep", is_flag=True, help="Keep the environments, gigabytes each, for the next time."
)
@click.option("--output", type=_file, default=VERSIONS, show_default=True)
@click.option("--file", type=_file, default=VERSIONS_PAGE, show_default=True)
def test_versions(only: str | None, processes: int, keep: bool, output: Path, file: Path) -> None:
    """Run tests/core with the versions of tests/versions.toml, and write docs/versions.md.

    The results of environments that are not run, or cannot be set up, stay in the file as they are.
    """
    known = json.loads(output.read_text("utf-8"))["outcomes"] if output.exists() else []
    outcomes = {(each["python"], each["torch"], each["torchao"]): each for each in known}
    everything = versions.environments()
    chosen = [each for each in everything if only is None or each.matches(only)]
    if not chosen:
        sys.exit(f"No environment of {versions.TABLE} has the version {only}.")
    problems: list[str] = []
    for each in versions.measure(chosen, processes, keep):
        if isinstance(each, str):
            problems.append(each)
            continue
        outcomes[each.python, each.torch, each.torchao] = dataclasses.asdict(each)
        if each.failed:
            problems.append(f"Python {each.python}, torch {each.torch}: {len(each.failed)} failed")
        order = [(every.python, every.torch, every.torchao) for every in everything]
        rows = [outcomes[row] for row in order if row in outcomes]
        output.write_text(json.dumps({"outcomes": rows}, indent=1) + "\n", "utf-8")
        _quote(file, versions_page.section(from_json(Outcome, row) for row in rows))
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
