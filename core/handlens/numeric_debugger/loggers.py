"""The logger API of PyTorch's numeric debugger, for scripts written for it.

Like the original, it holds every logged tensor; the comparison graph of ``comparison.merging`` holds none.
Unlike the original, the signal of the SQNR is the reference, a logged tensor is a copy that no later
operation in place can change, and a handle that cannot be compared is left out with a warning instead of
ending the comparison.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.utils._pytree import tree_map_only

from handlens.capture.handles import handle_of
from handlens.comparison.measuring import measure
from handlens.comparison.statistics import Statistics

log = logging.getLogger(__name__)

Logged = tuple[str | None, object, list[object]]
"""Node name, module stack, and the logged outputs in the order of the runs."""


class OutputLogger(torch.nn.Module):
    """Returns its input and appends a copy of it to ``stats``."""

    # Prevents graph passes from removing the logger as dead code.
    _is_impure = True

    def __init__(
        self,
        debug_handle: int,
        node_name: str | None = None,
        nn_module_stack: object | None = None,
    ) -> None:
        super().__init__()
        self.debug_handle = debug_handle
        self.node_name = node_name
        self.nn_module_stack = nn_module_stack
        self.stats: list[object] = []

    def forward(self, x: object) -> object:
        self.stats.append(tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), x))
        return x

    def extra_repr(self) -> str:
        return (
            f"debug_handle={self.debug_handle}, node_name={self.node_name}, "
            f"num_stats={len(self.stats)}"
        )


def prepare_for_propagation_comparison(model: GraphModule) -> GraphModule:
    """A copy of ``model`` that computes the same and logs the output of every op that has a handle.

    If several nodes share a handle (an op and the dequantize node of its output), the logger is at the last
    one, whose value the next ops read.
    """
    model = copy.deepcopy(model)
    last = {handle: node for node in model.graph.nodes if (handle := handle_of(node)) is not None}
    for handle, node in last.items():
        _insert_logger(model, node, handle)
    model.recompile()
    return model


def _insert_logger(model: GraphModule, node: Node, handle: int) -> None:
    name = f"{node.name}_logger"
    while hasattr(model, name):
        name += "_"
    model.add_module(name, OutputLogger(handle, node.name, node.meta.get("nn_module_stack")))
    with model.graph.inserting_after(node):
        logger = model.graph.call_module(name, (node,))
    node.replace_all_uses_with(logger, delete_user_cb=lambda user: user is not logger)


@dataclass(frozen=True)
class QuantizationComparisonResult:
    """One pair of outputs, tensors or (nested) lists, tuples and dicts of tensors.

    Raises ValueError where the two cannot be compared.
    """

    actual: Any
    ref: Any

    def __post_init__(self) -> None:
        for name, value in (("actual", self.actual), ("ref", self.ref)):
            if not isinstance(value, (Tensor, list, tuple, dict)):
                raise ValueError(f"{name} must be a tensor, list, tuple or dict, not {value!r}")
        _check(self.ref, self.actual)

    @property
    def mse_loss(self) -> Any:
        """Mean squared error, in the structure of the outputs; None in place of what is no tensor."""
        return self.loss(lambda actual, ref: _tensor(_statistics(actual, ref).mse))

    @property
    def sqnr(self) -> Any:
        """Signal-to-quantization-noise ratio in dB, in the structure of the outputs.

        Infinity if both are equal, negative infinity if only the reference is zero.
        """
        return self.loss(_sqnr)

    def loss(self, loss_function: Callable[[Tensor, Tensor], Any]) -> Any:
        """Apply ``loss_function(actual, ref)`` to every pair of tensors."""
        return _map(loss_function, self.actual, self.ref)

    def __repr__(self) -> str:
        return f"QuantizationComparisonResult(mse_loss={self.mse_loss}, sqnr={self.sqnr})"


@dataclass(frozen=True)
class NodeAccuracySummary:
    """The results of one debug handle, a result for each run."""

    handle: int
    actual_node_name: str
    actual_module_stack: str
    ref_node_name: str
    ref_module_stack: str
    results: Sequence[QuantizationComparisonResult]


def extract_results_from_loggers(model: GraphModule) -> dict[int, Logged]:
    """The outputs that the loggers of a model have logged, by debug handle."""
    return {
        module.debug_handle: (module.node_name, module.nn_module_stack, module.stats)
        for module in model.modules()
        if isinstance(module, OutputLogger) and module.stats
    }


def compare_results(
    ref_results: Mapping[int, Logged], actual_results: Mapping[int, Logged]
) -> dict[int, NodeAccuracySummary]:
    """A summary for every debug handle that both models have logged and that can be compared."""
    summaries: dict[int, NodeAccuracySummary] = {}
    for handle, (ref_name, ref_stack, ref_outputs) in ref_results.items():
        if handle not in actual_results:
            log.debug("debug handle %d (%s) is not in the actual model", handle, ref_name)
            continue
        actual_name, actual_stack, actual_outputs = actual_results[handle]
        try:
            if len(ref_outputs) != len(actual_outputs):
                raise ValueError(
                    f"cannot compare {len(ref_outputs)} runs (ref) and {len(actual_outputs)} (actual)"
                )
            results = [
                QuantizationComparisonResult(actual=actual, ref=ref)
                for actual, ref in zip(actual_outputs, ref_outputs)
            ]
        except ValueError as error:
            log.warning("debug handle %d (%s) is left out: %s", handle, ref_name, error)
            continue
        summaries[handle] = NodeAccuracySummary(
            handle,
            actual_name or "",
            _module_path(actual_stack),
            ref_name or "",
            _module_path(ref_stack),
            results,
        )
    return summaries


def _module_path(stack: object) -> str:
    if isinstance(stack, dict) and stack:
        return str(list(stack.values())[-1][0])
    return ""


def _check(ref: Any, actual: Any) -> None:
    if isinstance(ref, Tensor) and isinstance(actual, Tensor):
        if ref.shape != actual.shape:
            raise ValueError(
                f"cannot compare shapes {tuple(ref.shape)} (ref) and {tuple(actual.shape)} (actual)"
            )
    elif isinstance(ref, (list, tuple)) and isinstance(actual, (list, tuple)):
        if len(ref) != len(actual):
            raise ValueError(f"cannot compare {len(ref)} outputs (ref) and {len(actual)} (actual)")
        for each_ref, each_actual in zip(ref, actual):
            _check(each_ref, each_actual)
    elif isinstance(ref, dict) and isinstance(actual, dict):
        if ref.keys() != actual.keys():
            raise ValueError(f"cannot compare keys {list(ref)} (ref) and {list(actual)} (actual)")
        for key in ref:
            _check(ref[key], actual[key])
    elif isinstance(ref, Tensor) or isinstance(actual, Tensor):
        raise ValueError("cannot compare a tensor with something else")


def _map(function: Callable[[Tensor, Tensor], Any], actual: Any, ref: Any) -> Any:
    if isinstance(ref, Tensor):
        return function(actual, ref)
    if isinstance(ref, (list, tuple)):
        return [_map(function, a, r) for a, r in zip(actual, ref)]
    if isinstance(ref, dict):
        return {key: _map(function, actual[key], ref[key]) for key in ref}
    return None


def _statistics(actual: Tensor, ref: Tensor) -> Statistics:
    statistics = Statistics()
    statistics.add(measure(ref, actual))
    return statistics


def _sqnr(actual: Tensor, ref: Tensor) -> Tensor:
    statistics = _statistics(actual, ref)
    special = {"exact": torch.inf, "no-signal": -torch.inf, "non-finite": torch.nan}
    return _tensor(special.get(statistics.verdict, statistics.sqnr_db))


def _tensor(value: float | None) -> Tensor:
    return torch.tensor(torch.nan if value is None else value, dtype=torch.float64)
