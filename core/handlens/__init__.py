"""Handlens: which line of a PyTorch model loses accuracy when the model is quantized."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handlens.capture.handles import (
        CUSTOM_KEY,
        NUMERIC_DEBUG_HANDLE_KEY,
        bfs_trace_with_node_process,
        generate_numeric_debug_handle,
    )
    from handlens.numeric_debugger.loggers import (
        NodeAccuracySummary,
        OutputLogger,
        QuantizationComparisonResult,
        compare_results,
        extract_results_from_loggers,
        prepare_for_propagation_comparison,
    )
    from handlens.numeric_debugger.pt2e import convert_pt2e, prepare_pt2e

__version__ = "0.1.0"

__all__ = [
    "CUSTOM_KEY",
    "NUMERIC_DEBUG_HANDLE_KEY",
    "NodeAccuracySummary",
    "OutputLogger",
    "QuantizationComparisonResult",
    "__version__",
    "bfs_trace_with_node_process",
    "compare_results",
    "convert_pt2e",
    "extract_results_from_loggers",
    "generate_numeric_debug_handle",
    "prepare_for_propagation_comparison",
    "prepare_pt2e",
]

# A type checker that saw this function would take any misspelled name for one that exists.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used.

        All of them need torch, which takes seconds to import, and neither the language server nor
        `handlens targets` may wait for it.
        """
        if name in __all__:
            for module in ("capture.handles", "numeric_debugger.loggers", "numeric_debugger.pt2e"):
                found = importlib.import_module(f"handlens.{module}")
                if hasattr(found, name):
                    return getattr(found, name)
        raise AttributeError(f"module 'handlens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
