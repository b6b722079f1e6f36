"""Handlens: which line of a PyTorch model loses accuracy when the model is quantized."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# The names that need torch, and where they are: torch takes seconds to import, and neither the language
# server nor `handlens targets` may wait for it.
_NEEDS_TORCH = {
    "CUSTOM_KEY": "capture.handles",
    "NUMERIC_DEBUG_HANDLE_KEY": "capture.handles",
    "bfs_trace_with_node_process": "capture.handles",
    "convert_pt2e": "numeric_debugger.pt2e",
    "generate_numeric_debug_handle": "capture.handles",
    "prepare_pt2e": "numeric_debugger.pt2e",
    "NodeAccuracySummary": "numeric_debugger.loggers",
    "OutputLogger": "numeric_debugger.loggers",
    "QuantizationComparisonResult": "numeric_debugger.loggers",
    "compare_results": "numeric_debugger.loggers",
    "extract_results_from_loggers": "numeric_debugger.loggers",
    "prepare_for_propagation_comparison": "numeric_debugger.loggers",
}

__all__ = ["__version__", *_NEEDS_TORCH]


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TORCH:
        return getattr(importlib.import_module(f"handlens.{_NEEDS_TORCH[name]}"), name)
    raise AttributeError(f"module 'handlens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
