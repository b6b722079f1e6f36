"""torchao's ``prepare_pt2e`` and ``convert_pt2e``, wrapped so that debug handles survive both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import quantize_pt2e
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

from handlens.capture.handles import (
    CUSTOM_KEY,
    NUMERIC_DEBUG_HANDLE_KEY,
    handle_of,
    set_handle,
)
from handlens.capture.nodes import (
    graph_modules,
    is_dequantize,
    is_observer,
    is_quantize,
    is_quantize_or_dequantize,
)


def prepare_pt2e(model: GraphModule, quantizer: Any) -> GraphModule:
    """Call torchao's ``prepare_pt2e``, and give every observer the handle of the node that it observes.

    torchao may rewrite ``model`` in place: it folds batch norms into convolutions.
    """
    prepared: GraphModule = quantize_pt2e.prepare_pt2e(model, quantizer)
    for graph_module in graph_modules(prepared):
        for node in graph_module.graph.nodes:
            if is_observer(node):
                _inherit_handle(node, _through(node, is_observer))
    return prepared


def convert_pt2e(
    model: GraphModule, use_reference_representation: bool = False, fold_quantize: bool = True
) -> GraphModule:
    """Call torchao's ``convert_pt2e``, and give every dequantize node the handle of the dequantized node.

    Quantize nodes have no handle, because their output is in another unit.
    """
    with _without_qat_folding(model):
        converted: GraphModule = quantize_pt2e.convert_pt2e(
            model, use_reference_representation, fold_quantize
        )
    for graph_module in graph_modules(converted):
        for node in graph_module.graph.nodes:
            if is_quantize(node):
                node.meta[CUSTOM_KEY] = {
                    key: value
                    for key, value in node.meta.get(CUSTOM_KEY, {}).items()
                    if key != NUMERIC_DEBUG_HANDLE_KEY
                }
            elif is_dequantize(node):
                _inherit_handle(node, _through(node, is_quantize_or_dequantize))
    return converted


@contextmanager
def _without_qat_folding(model: GraphModule) -> Iterator[None]:
    """Skip the search for patterns that only quantization-aware training leaves, in a model without it.

    With a batch norm in the graph, that search takes over ten seconds and finds nothing.
    """
    name = "_fold_conv_bn_qat"
    trained = any(isinstance(each, FakeQuantizeBase) for each in model.modules())
    fold = getattr(quantize_pt2e, name, None)
    if trained or fold is None:
        yield
        return
    setattr(quantize_pt2e, name, lambda model: model)
    try:
        yield
    finally:
        setattr(quantize_pt2e, name, fold)


def _inherit_handle(node: Node, source: Node) -> None:
    handle = handle_of(source)
    if handle is not None:
        set_handle(node, handle)


def _through(node: Node, passes: Callable[[Node], bool]) -> Node:
    """Go from node to first argument until a node does not satisfy ``passes``, and return that node."""
    while passes(node):
        source = node.args[0]
        assert isinstance(source, Node)
        node = source
    return node
