"""The programs that are compared with each other, each a function of the same prepared graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torchao.quantization.pt2e import (
    compare_results,
    extract_results_from_loggers,
    prepare_for_propagation_comparison,
)

from benchmarks.preparing import Prepared
from handlens.comparison import Comparison, merge


def run_float(prepared: Prepared) -> None:
    """Run the reference once."""
    with torch.no_grad():
        prepared.reference(*prepared.args, **prepared.kwargs)


def run_quantized(prepared: Prepared) -> None:
    """Run the converted graph once, with its quantize and dequantize operations."""
    with torch.no_grad():
        prepared.actual(*prepared.args, **prepared.kwargs)


def merged(prepared: Prepared, introduced: bool) -> Comparison:
    """Handlens' comparison graph, with or without the introduced error."""
    return merge(prepared.reference, prepared.actual, introduced=introduced)


def handlens_accumulated(prepared: Prepared, batches: int = 1) -> Sequence[float | None]:
    """The ratio of every operation by Handlens: merge the graphs, run them, read the statistics."""
    return _ratios(prepared, batches, introduced=False)


def handlens_introduced(prepared: Prepared, batches: int = 1) -> Sequence[float | None]:
    """The same ratios, and those of the error that each operation introduces by itself."""
    return _ratios(prepared, batches, introduced=True)


def _ratios(prepared: Prepared, batches: int, introduced: bool) -> Sequence[float | None]:
    comparison = merged(prepared, introduced)
    for _ in range(batches):
        comparison.run(prepared.args, prepared.kwargs)
    return [each.measured.accumulated.sqnr_db for each in comparison.compared]


def torchao_debugger(prepared: Prepared, batches: int = 1) -> Sequence[object]:
    """The ratio of every operation by torchao's numeric debugger, in the steps that torchao documents."""
    reference = prepare_for_propagation_comparison(prepared.float)
    actual = prepare_for_propagation_comparison(prepared.actual)
    with torch.no_grad():
        for _ in range(batches):
            reference(*prepared.args, **prepared.kwargs)
            actual(*prepared.args, **prepared.kwargs)
    summaries = compare_results(
        extract_results_from_loggers(reference), extract_results_from_loggers(actual)
    )
    return [[result.sqnr for result in each.results] for each in summaries.values()]


PLAIN: dict[str, Callable[[Prepared], None]] = {"float": run_float, "quantized": run_quantized}
COMPARE: dict[str, Callable[..., Sequence[object]]] = {
    "accumulated": handlens_accumulated,
    "introduced": handlens_introduced,
    "torchao": torchao_debugger,
}
