"""Which ops a quantizer leaves in float, and why, in words that follow "stays in float"."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from torch.fx import GraphModule, Node

from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    HALF,
    dtype,
    dtype_name,
    graph_modules,
    is_dequantize,
    is_quantize,
    op_name,
)
from handlens.recipes.regions import with_regions
from handlens.report import QuantizedBy

KEPT = "keep_float asks for it"

QUANTIZED = (torch.float32, *HALF)
"""The types of values that torchao's observers and quantize ops accept."""

# The ops that hold most of a model's weights. A recipe that quantizes one kind of a family is expected to
# quantize the others.
_CONVOLUTIONS = frozenset(
    f"conv{transposed}{dims}d" for transposed in ("", "_transpose") for dims in (1, 2, 3)
)
RECURRENT = frozenset(
    f"{kind}{cell}" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu") for cell in ("", "_cell")
)
_FAMILIES = (_CONVOLUTIONS, frozenset(("linear",)) | RECURRENT, frozenset(("embedding",)))


def relatives(kinds: Iterable[str]) -> frozenset[str]:
    """The kinds of op that a recipe which quantizes ``kinds`` is expected to quantize."""
    wanted = set(kinds)
    return frozenset().union(*(each for each in _FAMILIES if each & wanted))


@dataclass(frozen=True)
class Annotated:
    """The ops that a quantizer has annotated, by handle."""

    ops: Set[int | None]
    """The ops with a quantizer for an input or the output."""
    fused: Set[int | None]
    """The ops without a quantizer that are computed together with one of ``ops``."""
    name: str
    """The quantizer's class."""


def left_by(
    annotated: Annotated,
    recipe: str,
    claims: Iterable[str],
    kept: Set[int],
    reference: GraphModule,
    actual: GraphModule,
) -> tuple[dict[int, str], frozenset[int]]:
    """Find the ops that a quantizer has left in float.

    Args:
        claims: the kinds of op that the recipe is known for.
        kept: the ops that ``keep_float`` names.

    Returns why each was left, by handle, and the ops among them that one would expect to be quantized.
    """
    nodes = [node for each in graph_modules(actual) for node in each.graph.nodes]
    quantized = {
        handle_of(node)
        for node in nodes
        if handle_of(node) in annotated.ops
        and (any(map(is_dequantize, node.all_input_nodes)) or any(map(is_quantize, node.users)))
    }
    # An op that computes in float counts as quantized if its output is quantized for its readers.
    rounded = {handle_of(node) for node in nodes if any(map(is_quantize, node.users))}
    ops = [
        (handle, node, region)
        for node, region in with_regions(reference)
        if (handle := handle_of(node)) is not None and handle not in quantized
    ]
    done = {op_name(node) for node in nodes if handle_of(node) in quantized}
    reached = {region for node, region in with_regions(reference) if handle_of(node) in quantized}
    wanted = relatives({*claims, *done})
    in_float: dict[int, str] = {}
    expected: set[int] = set()
    for handle, node, region in ops:
        if handle in kept:
            in_float[handle] = KEPT
        elif op_name(node) in wanted:
            expected.add(handle)
            in_float[handle] = _why(node, "" if region in reached else region, annotated.name)
        elif handle in rounded:
            continue
        elif handle in annotated.fused and handle_of(node.all_input_nodes[0]) in quantized:
            in_float[handle] = "it is computed in one kernel with the quantized op before it"
        else:
            in_float[handle] = f"recipe {recipe} does not quantize it"
    return in_float, frozenset(expected)


def _why(node: Node, region: str, quantizer: str) -> str:
    """Why a quantizer has left an op in float although it quantizes ops of that kind."""
    if region:
        return f"it is inside {region}, where torchao quantizes nothing"
    if op_name(node) in RECURRENT:
        return f"{quantizer} quantizes no recurrent layers"
    kind = dtype(node)
    if kind is not None and kind not in QUANTIZED:
        return f"it computes in {dtype_name(kind)}, which torchao does not quantize"
    if "transpose" in op_name(node):
        return f"{quantizer} did not take this transposed convolution"
    weight = node.args[1] if len(node.args) > 1 else None
    if isinstance(weight, Node) and weight.op != "get_attr":
        return "its weight is computed, not a parameter"
    return f"{quantizer} did not take it"


def quantized_by(maker: Any) -> QuantizedBy:
    """The class of a quantizer or a configuration, and its package with the version."""
    kind = maker if isinstance(maker, type) else type(maker)
    package = kind.__module__.partition(".")[0]
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        version = ""
    return QuantizedBy(kind.__qualname__, package, version)
