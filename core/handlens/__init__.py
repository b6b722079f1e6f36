"""Handlens: which line of a PyTorch model loses accuracy when the model is quantized."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# The names that need torch, and where they are: torch takes seconds to import, and neither the language
# server nor `handlens targets` may wait for it.
_NEEDS_TORCH = {
    "CUSTOM_KEY": "handles",
    "NUMERIC_DEBUG_HANDLE_KEY": "handles",
    "bfs_trace_with_node_process": "handles",
    "convert_pt2e": "handles",
    "generate_numeric_debug_handle": "handles",
    "prepare_pt2e": "handles",
    "NodeAccuracySummary": "comparison.loggers",
    "OutputLogger": "comparison.loggers",
    "QuantizationComparisonResult": "comparison.loggers",
    "compare_results": "comparison.loggers",
    "extract_results_from_loggers": "comparison.loggers",
    "prepare_for_propagation_comparison": "comparison.loggers",
}

__all__ = ["__version__", *_NEEDS_TORCH]


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(importlib.import_module(f"handlens.{_NEEDS_TORCH[name]}"), name)
    raise AttributeError(f"module 'handlens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
