"""What a recipe leaves in float, and why, in words that follow "stays in float"."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from torch.fx import GraphModule, Node

from handlens.capture.handles import handle_of
from handlens.capture.nodes import (
    HALF,
    bodies,
    dtype,
    dtype_name,
    graph_modules,
    is_dequantize,
    is_quantize,
    op_name,
    value_of,
)
from handlens.report import QuantizedBy

KEPT = "keep_float asks for it"

QUANTIZED = (torch.float32, *HALF)
"""What torchao's observers and quantize ops take."""

# Ops that bring most of a model's weights. What quantizes one kind is expected to quantize its relatives.
_CONVOLUTIONS = frozenset(
    f"conv{transposed}{dims}d" for transposed in ("", "_transpose") for dims in (1, 2, 3)
)
RECURRENT = frozenset(
    f"{kind}{cell}" for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu") for cell in ("", "_cell")
)
_FAMILIES = (_CONVOLUTIONS, frozenset(("linear",)) | RECURRENT, frozenset(("embedding",)))

_higher_order = torch.ops.higher_order
REGIONS = frozenset(
    (
        _higher_order.wrap_with_set_grad_enabled,
        _higher_order.wrap_with_autocast,
        _higher_order.tag_activation_checkpoint,
    )
)
"""What calls its body once, as it is."""

_KNOWN = {
    _higher_order.cond: "a branch of torch.cond",
    _higher_order.while_loop: "the body of a while_loop",
    _higher_order.map_impl: "the body of a map",
    _higher_order.scan: "the body of a scan",
    _higher_order.wrap_with_autocast: "torch.autocast",
    _higher_order.tag_activation_checkpoint: "a checkpointed region",
}


def relatives(kinds: Iterable[str]) -> frozenset[str]:
    """The kinds of op that are expected to be quantized where those of ``kinds`` are."""
    wanted = set(kinds)
    return frozenset().union(*(each for each in _FAMILIES if each & wanted))


def with_regions(model: GraphModule, region: str = "") -> Iterator[tuple[Node, str]]:
    """Every node of a graph and of the bodies it calls, and the innermost region that it is in."""
    for node in model.graph.nodes:
        yield node, region
        for body in bodies(node):
            yield from with_regions(value_of(body), _region(node))


def _region(node: Node) -> str:
    if node.target is _higher_order.wrap_with_set_grad_enabled:
        return "torch.enable_grad()" if node.args[0] else "torch.no_grad()"
    known: dict[Any, str] = _KNOWN
    return known.get(node.target, "another op")


@dataclass(frozen=True)
class Annotated:
    """What a quantizer has annotated, by handle."""

    ops: Set[int | None]
    """Those that it gives quantizers."""
    fused: Set[int | None]
    """Those that it computes together with one of them."""
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
    """Why a quantizer has left ops in float, by handle, and which of them one would not expect it to.

    ``claims`` are the kinds of op that the recipe is known for, ``kept`` the ops that were to be left.
    """
    nodes = [node for each in graph_modules(actual) for node in each.graph.nodes]
    quantized = {
        handle_of(node)
        for node in nodes
        if handle_of(node) in annotated.ops
        and (any(map(is_dequantize, node.all_input_nodes)) or any(map(is_quantize, node.users)))
    }
    # What is computed in float is quantized where an op that is not reads it.
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
    """Why a quantizer has left an op in float that is of a kind which it quantizes."""
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
    """The class of a quantizer or a configuration, and the package and version that it is of."""
    kind = maker if isinstance(maker, type) else type(maker)
    package = kind.__module__.partition(".")[0]
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        version = ""
    return QuantizedBy(kind.__qualname__, package, version)
