"""Make the tables of docs/advice.md from the results of ``advising``; they are never typed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.advice_subjects import COUNTS
from benchmarks.figures import Document, duration
from benchmarks.readme import line, taken

METHODS = {
    "advice": "advice",
    "greedy": "exhaustive greedy",
    "ablation": "one-op ablation (NNCF)",
    "injection": "one-op injection (AIMET)",
}
"""The methods of a row by name, and their names in the tables."""
WINS_DB = 0.2
"""What an op that HL101 names should win, kept in float alone."""
NEAR_DB = 0.5
"""The difference up to which an output is near another."""
SAME_DB = 0.01
"""The difference up to which two outputs count as equal."""
MOST_DB = 100.0
"""What an output counts as at most, where a difference is taken."""


def section(document: Document) -> str:
    """Date and machine, the outputs by method, what the search costs, and what accusations are worth."""
    rows: list[Document] = document["rows"]
    unseen = [row for row in rows if row["unseen_before_db"] is not None]
    heads = ["model", "recipe", "units", "before", *METHODS.values()]
    counts = f"{', '.join(map(str, COUNTS[:-1]))} and {COUNTS[-1]}"
    paragraphs = [
        taken(document),
        f"The SQNR of the output in dB, with {counts} changes:",
        _table(
            heads,
            (_outputs(row, "before_db", "outputs_db") for row in rows),
        ),
        "\n".join((*_comparisons(rows, "outputs_db"), _difference(rows))),
        "The same on the calibration batches, which no method looked at, where these are other batches:",
        _table(
            heads,
            (_outputs(row, "unseen_before_db", "unseen_db") for row in unseen),
        ),
        "\n".join(_comparisons(unseen, "unseen_db")),
        "What the target's own metric says, each number from a real run:",
        _table(
            ["model", "recipe", "metric", "float", "quantized, then with each change"],
            _metrics(rows),
        ),
        "What it costs, beside one comparison that measures both errors:",
        _table(
            [
                "model",
                "recipe",
                "comparison",
                "first advice",
                "whole search",
                "one more real run",
                "measurements",
                "of exhaustive greedy",
            ],
            (_costs(row) for row in rows),
        ),
        "Ops that [HL101](rules/HL101.md) names:",
        _table(
            [
                "",
                "named",
                f"win {WINS_DB} dB or more alone",
                "alone, or in the set of the advice",
                "the best of all is named first",
            ],
            (
                _accusations(name, [row[key] for row in rows])
                for key, name in (("accused", "before advice"), ("accused_advised", "with advice"))
            ),
        ),
    ]
    return "\n" + "\n\n".join(paragraphs) + "\n\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    left = [head in ("", "model", "recipe") for head in heads]
    rule = ["---" if each else "--:" for each in left]
    return "\n".join([line(heads), line(rule), *map(line, rows)])


def _outputs(row: Document, before: str, key: str) -> list[str]:
    """The output before any change, and those of each method."""
    cells = [row["title"], f"`{row['recipe']}`", str(row["units"]), _decibels(row[before])]
    outputs = (row["methods"][name][key] for name in METHODS)
    return [*cells, *(" · ".join(map(_decibels, each)) for each in outputs)]


def _comparisons(rows: Sequence[Document], key: str) -> Iterator[str]:
    """What the outputs of all models come to, beside each other method."""
    for name, title in METHODS.items():
        if name == "advice":
            continue
        # By a metric, advice seeks something else.
        gaps = [gap for row in rows if row["metric"] is None for gap in _gaps(row, name, key)]
        lower, higher = (sum(sign * gap > SAME_DB for gap in gaps) for sign in (1, -1))
        near = sum(gap <= NEAR_DB for gap in gaps)
        yield (
            f"- Beside {title}, advice is lower in {lower} of {len(gaps)} places, by {max(gaps):.1f} dB "
            f"at most, and higher in {higher}, by {-min(gaps):.1f} dB at most; in {near} it is no more "
            f"than {NEAR_DB} dB below."
        )


def _difference(rows: Sequence[Document]) -> str:
    difference = max(
        abs(_number(told) - _number(real))
        for row in rows
        for method in row["methods"].values()
        for told, real in zip(method["predicted_db"], method["outputs_db"])
    )
    return f"- Outputs predicted by switches differ from real runs by {difference:.4f} dB at most."


def _gaps(row: Document, method: str, key: str) -> Iterator[float]:
    """For each number of changes, how far the output of advice is below that of another method."""
    ours, theirs = (row["methods"][name][key] for name in ("advice", method))
    return (_number(their) - _number(our) for our, their in zip(ours, theirs))


def _metrics(rows: Sequence[Document]) -> Iterator[list[str]]:
    for row in rows:
        if metric := row["metric"]:
            numbers = (f"{each:.3f}" for each in metric["quantized"])
            yield [
                row["title"],
                f"`{row['recipe']}`",
                metric["name"],
                f"{metric['reference']:.3f}",
                " → ".join(numbers),
            ]


def _costs(row: Document) -> list[str]:
    comparison = row["compare_s"]
    ours, theirs = (row["methods"][name]["measurements"] for name in ("advice", "greedy"))
    times = (row["first_s"], row["advice_s"], row["real_run_s"])
    ratios = ("–" if each is None else f"{each / comparison:.1f}×" for each in times)
    share = f"{ours / theirs:.0%} of {theirs}"
    return [
        row["title"],
        f"`{row['recipe']}`",
        duration(comparison),
        *ratios,
        str(ours),
        share,
    ]


def _accusations(name: str, accused: Sequence[Document]) -> list[str]:
    wins = [_number(win) >= WINS_DB for each in accused for win in each["wins_db"]]
    in_set = [kept for each in accused for kept in each["in_set"]]
    naming = [each for each in accused if each["wins_db"]]
    first = sum(each["first_is_best"] for each in naming)
    return [
        name,
        str(len(wins)),
        str(sum(wins)),
        str(sum(map(any, zip(wins, in_set)))),
        f"in {first} of {len(naming)} models with such a finding",
    ]


def _number(ratio: float | None) -> float:
    return MOST_DB if ratio is None else min(ratio, MOST_DB)


def _decibels(ratio: float | None) -> str:
    return "exact" if ratio is None else f"{ratio:.1f}"
