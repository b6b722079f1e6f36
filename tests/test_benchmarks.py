"""The benchmark: that it measures what it says, says so where it cannot, and is quoted as measured."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import advice_page, breadth, models_page, orders, rows, sharding, tables
from benchmarks.advice_subjects import SUBJECTS, own
from benchmarks.breadth import Cell
from benchmarks.figures import COMPARISONS, CONTENDERS
from benchmarks.measuring import QUICK, Effort, peak_above, rounds
from benchmarks.readme import BEGIN, END, replaced, section
from benchmarks.rows import Row, Task
from benchmarks.workloads import MEASURES, WORKLOADS
from handlens.recipes import UnknownRecipe

ROOT = Path(__file__).parents[1]
MEGABYTE = 1 << 20


def row(
    measure: str, contender: str = "", workload: str = "bert", **figures: Any
) -> dict[str, Any]:
    error = figures.pop("error", None)
    return {
        "workload": workload,
        "measure": measure,
        "contender": contender,
        "figures": figures,
        "error": error,
    }


DOCUMENT: dict[str, Any] = {
    "date": "2026-11-24T00:15:00+00:00",
    "quick": False,
    "machine": {
        "cpu": "Some CPU",
        "cores": 2,
        "memory": 25_000_000_000,
        "load": 0.25,
        "versions": {"torch": "2.13.0", "torchao": "0.18.0"},
    },
    "blocks": [
        {
            "environment": "default",
            "variables": {},
            "rows": [
                row("alone", "float", times=[0.020, 0.022], peak=10_000_000),
                row("alone", "quantized", times=[0.1], peak=40_000_000),
                row("alone", "accumulated", times=[0.2], peak=60_000_000),
                row("alone", "introduced", times=[0.3], peak=80_000_000),
                row("alone", "torchao", times=[0.9], peak=800_000_000),
                row(
                    "together",
                    torchao_error=None,
                    compare_by_torchao={"accumulated": 0.25, "introduced": 0.5},
                    run_by_plain={"accumulated": 1.125, "introduced": 1.75},
                    run_by_float={"accumulated": 5.0, "introduced": 8.0},
                ),
                row("batches", "introduced", "efficientnet-4", batches=1, peak=1_000_000),
                row("batches", "introduced", "efficientnet-4", batches=16, peak=2_000_000),
                row("batches", "torchao", "efficientnet-4", error="n/a: not today"),
            ],
        }
    ],
}


def test_one_command_measures_and_prints_and_keeps_the_figures(tmp_path: Path) -> None:
    output = tmp_path / "results" / "quick.json"
    command = [
        "run",
        "--quick",
        "--only",
        "tiny-cnn",
        "--measure",
        "alone",
        "--measure",
        "together",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *command, "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text("utf-8"))
    assert document["quick"]
    (block,) = document["blocks"]
    measured = {each["contender"]: each for each in block["rows"]}
    assert list(measured) == [*CONTENDERS, ""]
    for contender in CONTENDERS:
        assert measured[contender]["error"] is None
        assert min(measured[contender]["figures"]["times"]) > 0
        assert measured[contender]["figures"]["peak"] > 0
    # Both debuggers were at work on the same model.
    compared = [measured[name]["figures"]["compared"] for name in (*COMPARISONS, "torchao")]
    assert compared == [10, 10, 10]
    assert measured[""]["figures"]["run_by_plain"]["introduced"] > 0
    assert "tiny-cnn" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= tables.WIDTH


def test_every_workload_has_a_target_and_known_measures() -> None:
    for workload in WORKLOADS.values():
        assert workload.find().name == workload.target
        assert set(workload.measures) <= set(MEASURES)
        assert list(rows.tasks(workload))


def test_what_cannot_be_measured_is_a_row_that_says_why() -> None:
    def fails(error: Exception) -> Row:
        def measure(effort: Effort) -> dict[str, Any]:
            raise error

        return rows.make(Task(Row("bert", "alone", "torchao"), measure), QUICK)

    assert fails(UnknownRecipe("no recipe 'x'")).error == "n/a: no recipe 'x'"
    error = ValueError("graph_id=140101067022544 is bad\nand more")
    error.__cause__ = TypeError("got None")
    assert fails(error).error == "ValueError: graph_id=… is bad (from: got None)"


def test_peak_memory_counts_what_is_held_for_a_moment_only() -> None:
    kept = bytearray(32 * MEGABYTE)
    peak = peak_above(lambda: len(bytearray(64 * MEGABYTE)))
    assert len(kept) < peak < 96 * MEGABYTE
    assert peak == pytest.approx(64 * MEGABYTE, rel=0.1)


def test_rounds_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = rounds(functions, Effort(least=2, most=2, budget=0.0))
    assert "".join(calls) == "ababab"
    assert [len(each) for each in times.values()] == [2, 2]


def test_tables_show_pairs_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show(DOCUMENT)
    shown = capsys.readouterr().out
    assert "20.0/21.0 ms" in shown
    assert "0.25×/0.50×" in shown
    assert "n/a [1]" in shown
    assert "[1] n/a: not today" in shown


def test_readme_quotes_the_figures_with_date_and_machine() -> None:
    text = section(DOCUMENT)
    assert "2026-11-24: Some CPU, 2 cores, 25.0 GB, torch 2.13.0, torchao 0.18.0" in text
    assert "| BERT | 0.25×/0.50× | 0.07×/0.10× | 1.12×/1.75× | 1.50×/2.00× |" in text
    assert "over 1, 16 batches of EfficientNet-Lite0 ×4: 1.00 MB, 2.00 MB" in text
    assert "not today" not in text


def test_readme_says_where_torchao_raises() -> None:
    document = copy.deepcopy(DOCUMENT)
    together = next(each for each in document["blocks"][0]["rows"] if each["measure"] == "together")
    together["figures"] |= {"torchao_error": "ValueError", "compare_by_torchao": {}}
    assert "| BERT | torchao raises | torchao raises | 1.12×/1.75× |" in section(document)


def test_readme_is_replaced_between_its_markers_only() -> None:
    before = f"# Title\n\n{BEGIN}\nold\n{END}\n\nMore.\n"
    after = replaced(before, section(DOCUMENT))
    assert after.startswith(f"# Title\n\n{BEGIN}\n")
    assert after.endswith(f"{END}\n\nMore.\n")
    assert "old" not in after
    assert replaced(after, section(DOCUMENT)) == after
    with pytest.raises(ValueError, match="nothing to replace"):
        replaced("# No markers\n", "")


def test_readme_of_the_repository_quotes_the_kept_results() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    results = json.loads((ROOT / "benchmarks/results/latest.json").read_text("utf-8"))
    assert replaced(readme, section(results)) == readme


CELLS = [
    Cell("timm", "a", "x86", 1.5, verdict="ok", sqnr_db=30.04, ops=9, compared=8),
    Cell("timm", "a", "bf16", 0.5, verdict="exact", ops=9, compared=9),
    Cell("timm", "b", "x86", 3.0, error="Exporting B failed: no"),
    Cell(
        *("timm", "b", "bf16", 3.0),
        verdict="ok",
        sqnr_db=40.0,
        ops=4,
        compared=1,
        unexpected=(("aten.mm.default", "it is not there", 3),),
        differs="mm differs from the model",
    ),
]


def models(cells: list[Cell]) -> str:
    # As they are read from a file.
    written = json.loads(json.dumps([dataclasses.asdict(each) for each in cells]))
    return models_page.section(DOCUMENT | {"cells": written})


def test_the_page_of_models_has_a_cell_a_run_and_says_what_is_wrong() -> None:
    text = models(CELLS)
    assert "2 architectures, 4 runs: 2 have a result that accounts for every op, 1 failed." in text
    assert "| a | 30.0 dB · 8/9 | exact · 9/9 | 2 s |" in text
    assert "| b | **failed** | 40.0 dB · 1/4*≠ | 6 s |" in text
    assert "- `x86`: Exporting B failed: no (b)" in text
    assert "- `bf16`: aten.mm.default not compared: it is not there (b)" in text
    assert "- `bf16`: mm differs from the model (b)" in text


def test_the_page_of_models_has_no_list_of_faults_without_any() -> None:
    assert "What is not as it should be" not in models(CELLS[:2])


def test_the_page_of_models_quotes_the_kept_results() -> None:
    page = (ROOT / "docs/models.md").read_text("utf-8")
    results = json.loads((ROOT / "benchmarks/results/architectures.json").read_text("utf-8"))
    assert replaced(page, models_page.section(results)) == page
    assert [
        (each["family"], each["architecture"], each["recipe"]) for each in results["cells"]
    ] == [(*row, recipe) for row in breadth.rows() for recipe in breadth.RECIPES]


UNITS = [frozenset({1}), frozenset({2}), frozenset({2, 3}), frozenset({4})]


@orders.Measure
def output(kept: frozenset[int]) -> float:
    """Ops 2 and 3 share a quantizer, which spoils the output alone; the others add a little each."""
    noise = (0.0 if {2, 3} <= kept else 100.0) + (4.0 if 1 not in kept else 0.0)
    return -noise - (1.0 if 4 not in kept else 0.0)


def test_exhaustive_greedy_takes_the_best_beside_those_before_it() -> None:
    assert orders.greedy(UNITS, output, 1) == {2, 3}
    assert orders.greedy(UNITS, output, 2) == {1, 2, 3}
    assert orders.greedy(UNITS, output, 8) == {1, 2, 3, 4}


def test_exhaustive_greedy_ends_when_nothing_wins() -> None:
    assert orders.greedy(UNITS, orders.Measure(lambda kept: 5.0), 8) == set()
    assert orders.greedy(UNITS, orders.Measure(lambda kept: math.inf), 8) == set()


def test_a_unit_that_is_part_of_another_is_no_change_after_it() -> None:
    assert orders.ablation(UNITS, output, 1) == {2, 3}
    assert orders.ablation(UNITS, output, 3) == {1, 2, 3, 4}


def test_ablation_ranks_in_the_quantized_model_and_injection_in_the_float_one() -> None:
    # Ops 1 and 2 repair the output together; alone neither does, and op 4 does a little.
    @orders.Measure
    def together(kept: frozenset[int]) -> float:
        return (10.0 if {1, 2} <= kept else 0.0) + (1.0 if 4 in kept else 0.0)

    units = [frozenset({1}), frozenset({2}), frozenset({4})]
    assert orders.ablation(units, together, 2) == {4, 1}
    assert orders.injection(units, together, 2) == {1, 2}


def test_a_set_of_ops_is_measured_once() -> None:
    measured: list[frozenset[int]] = []

    def measure(kept: frozenset[int]) -> float:
        measured.append(kept)
        return output(kept)

    counted = orders.Measure(measure)
    orders.greedy(UNITS, counted, 3)
    orders.greedy(UNITS, counted, 3)
    assert counted.count == len(measured) == len(set(measured))


def test_every_subject_of_advice_has_a_target() -> None:
    for subject in SUBJECTS.values():
        assert subject.find().name == subject.target
    tiny = own("examples/tiny_cnn.py::handlens_tiny@xnnpack")
    assert (tiny.find().name, tiny.recipe) == ("handlens_tiny", "xnnpack")


def advised(**changes: Any) -> dict[str, Any]:
    def method(*outputs: float | None, measurements: int) -> dict[str, Any]:
        return {
            "outputs_db": outputs,
            "predicted_db": outputs,
            "unseen_db": outputs,
            "measurements": measurements,
        }

    accused = {"wins_db": [5.0, 0.1, 0.1], "in_set": [True, True, False], "first_is_best": True}
    return {
        "subject": "a-x86",
        "title": "A",
        "recipe": "x86",
        "units": 9,
        "before_db": 9.16,
        "unseen_before_db": 8.0,
        "compare_s": 0.2,
        "real_run_s": 0.6,
        "methods": {
            "advice": method(20.0, 30.0, 40.0, None, measurements=12),
            "greedy": method(20.0, 30.5, 40.0, None, measurements=60),
            "ablation": method(20.0, 25.0, 26.0, 27.0, measurements=9),
            "injection": method(18.0, 25.0, 26.0, 27.0, measurements=9),
        },
        "first_s": 0.1,
        "advice_s": 1.0,
        "accused": accused,
        "accused_advised": accused | {"wins_db": [5.0, 0.1], "in_set": [True, True]},
        "metric": None,
        **changes,
    }


def test_the_page_of_advice_has_outputs_costs_and_accusations() -> None:
    by_metric = advised(metric={"name": "top1", "reference": 0.96, "quantized": [0.3, 0.9]})
    text = advice_page.section(DOCUMENT | {"rows": [advised(), by_metric]})
    assert (
        "| A | `x86` | 9 | 9.2 | 20.0 · 30.0 · 40.0 · exact | 20.0 · 30.5 · 40.0 · exact |" in text
    )
    assert "Beside exhaustive greedy, advice is lower in 1 of 4 places, by 0.5 dB at most" in text
    assert "| A | `x86` | 9 | 8.0 | 20.0 · 30.0 · 40.0 · exact | 20.0" in text
    assert "differ from real runs by 0.0000 dB at most" in text
    assert "| A | `x86` | 200 ms | 0.5× | 5.0× | 3.0× | 12 | 20% of 60 |" in text
    assert "| A | `x86` | top1 | 0.960 | 0.300 → 0.900 |" in text
    assert "| before advice | 6 | 2 | 4 | in 2 of 2" in text
    assert "| with advice | 4 | 2 | 4 | in 2 of 2" in text


def test_the_page_of_advice_quotes_the_kept_results() -> None:
    page = (ROOT / "docs/advice.md").read_text("utf-8")
    results = json.loads((ROOT / "benchmarks/results/advice.json").read_text("utf-8"))
    assert replaced(page, advice_page.section(results)) == page
    kept = [each["subject"] for each in results["rows"]]
    assert kept == [subject for subject in SUBJECTS if subject in kept]


def test_the_page_of_sharding_quotes_the_kept_results() -> None:
    page = (ROOT / "docs/sharding.md").read_text("utf-8")
    results = json.loads((ROOT / "benchmarks/results/sharding.json").read_text("utf-8"))
    assert replaced(page, sharding.section(results)) == page
    assert all(row["identical"] for row in results["rows"])


def test_efficiency_is_of_the_best_rounds() -> None:
    row = {
        "title": "A",
        "identical": False,
        "seconds": {"compare": {"1": [90.0, 80.0], "2": [50.0, 60.0]}},
    }
    text = sharding.section(DOCUMENT | {"rows": [row]})
    assert "| A | compare | 80.0 s | 50.0 s | 0.80 | **differs** |" in text
