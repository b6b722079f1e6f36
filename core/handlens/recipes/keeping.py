"""``keep_float``: the ops that a target wants left in float, and a quantizer that leaves them there.

A kept op computes in float from float weights. No op that reads its output gets a quantizer for it, nor do
ops that select from it (a view, a slice). Its neighbours stay quantized: a kept op may read the dequantized
output of one, and an op that reads the kept op's output has a quantized weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, Quantizer
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from handlens.capture.export import Captured
from handlens.capture.handles import handle_of
from handlens.capture.nodes import example, graph_modules
from handlens.recipes.annotations import Annotated, strip
from handlens.recipes.folding import hidden
from handlens.recipes.leftovers import QUANTIZED

Adjust = Callable[[Graph, Callable[[int], int | None]], None]
"""Changes the annotations of a graph; the second argument is ``Keeping.survivor``."""

_SCALARS_TO_FLOAT = (torch.ops.aten.add.Tensor, torch.ops.aten.mul.Tensor)


class Keeping(Quantizer):  # type: ignore[misc]
    """Wraps a quantizer so that integer tensors and the ops to keep in float are left alone."""

    def __init__(
        self, quantizer: Quantizer, captured: Captured, kept: frozenset[int], adjust: Adjust
    ) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.annotated: set[int | None] = set()
        """The handles of the ops with a quantizer for an input or the output, filled by ``annotate``."""
        self.fused: set[int | None] = set()
        """The handles of the ops without one that are computed together with an annotated op."""
        self.result: Annotated
        """What ``annotate`` has annotated."""
        self._kept = kept
        self._adjust = adjust
        self._there: set[int | None] = set()
        self._sources = {
            handle: handle_of(node.all_input_nodes[0])
            for graph_module in graph_modules(captured.program)
            for node in graph_module.graph.nodes
            if (handle := handle_of(node)) is not None and node.all_input_nodes
        }

    def transform_for_annotation(self, model: GraphModule) -> GraphModule:
        # XNNPACKQuantizer turns scalars into float constants, also where integers make an index.
        others = [
            node
            for node in model.graph.nodes
            if node.target in _SCALARS_TO_FLOAT and not _can_be_quantized(node)
        ]
        with hidden(others):
            model = self.quantizer.transform_for_annotation(model)
        model.recompile()
        return model

    def annotate(self, model: GraphModule) -> GraphModule:
        model = self.quantizer.annotate(model)
        self._there = {handle_of(node) for node in model.graph.nodes}
        self._adjust(model.graph, self.survivor)
        kept = set(map(self.survivor, self._kept)) - {None}
        nodes = list(model.graph.nodes)
        stay = [node for node in nodes if handle_of(node) in kept]
        others = [
            node for node in nodes if not all(map(_can_be_quantized, _annotated_values(node)))
        ]
        if stay or others:
            strip(model.graph, stay, others)
        for graph_module in graph_modules(model):
            for node in graph_module.graph.nodes:
                annotation = node.meta.get(Q_ANNOTATION_KEY)
                if annotation is None:
                    continue
                has_own = annotation.input_qspec_map or annotation.output_qspec is not None
                (self.annotated if has_own else self.fused).add(handle_of(node))
        self.result = Annotated(model)
        return model

    def survivor(self, handle: int | None) -> int | None:
        """The handle of an op, or that of the op which it read and was folded into."""
        while handle is not None and handle not in self._there:
            handle = self._sources.get(handle)
        return handle

    def validate(self, model: GraphModule) -> None:
        self.quantizer.validate(model)

    def prepare_obs_or_fq_callback(
        self, model: GraphModule, edge_or_node_to_obs_or_fq: Any
    ) -> None:
        self.quantizer.prepare_obs_or_fq_callback(model, edge_or_node_to_obs_or_fq)


def _annotated_values(node: Node) -> Iterator[Node]:
    """The nodes whose values the annotation of a node asks to quantize."""
    annotation = node.meta.get(Q_ANNOTATION_KEY) or QuantizationAnnotation()
    for source, spec in annotation.input_qspec_map.items():
        if spec is not None:
            yield source
    if annotation.output_qspec is not None:
        yield node


def _can_be_quantized(node: Node) -> bool:
    """True if observers and quantize ops accept the values of a node, or if its type is not known."""
    value = example(node)
    return not isinstance(value, torch.Tensor) or value.dtype in QUANTIZED
