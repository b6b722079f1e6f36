"""ExecuTorch's XNNPACKQuantizer where ExecuTorch is not installed.

torchao has an older copy of it for its own tests. Where static quantization differs between the two, this
class does what ExecuTorch 1.5 does (``backends/xnnpack/quantizer`` in pytorch/executorch).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantizer import QuantizationAnnotation, SharedQuantizationSpec
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY
from torchao.quantization.pt2e.utils import _is_conv_node, _is_conv_transpose_node
from torchao.testing.pt2e import _xnnpack_quantizer
from torchao.testing.pt2e._xnnpack_quantizer_utils import OP_TO_ANNOTATOR

_aten = torch.ops.aten

_RELU = (_aten.relu.default, _aten.relu_.default)
# Ops whose output has the quantizer of their input.
_SHARES_QUANTIZER = frozenset(
    (
        _aten.relu.default,
        _aten.hardtanh.default,
        _aten.hardtanh_.default,
        _aten.max_pool2d.default,
        _aten.mean.default,
        _aten.mean.dim,
        _aten.permute.default,
        _aten.permute_copy.default,
        _aten.transpose.int,
        _aten.squeeze.dim,
        _aten.squeeze_copy.dim,
        _aten.adaptive_avg_pool2d.default,
        _aten.view_copy.default,
        _aten.view.default,
        _aten.reshape.default,
        _aten.slice.Tensor,
        _aten.slice_copy.Tensor,
        _aten.flatten.using_ints,
        _aten.dropout.default,
        _aten.dropout_.default,
    )
)


class XNNPACKQuantizer(_xnnpack_quantizer.XNNPACKQuantizer):  # type: ignore[misc]
    """Annotates with the global configuration, which must be a static one."""

    def annotate(self, model: GraphModule) -> GraphModule:
        config = self.global_config
        for name in ("linear_relu", "linear"):
            OP_TO_ANNOTATOR[name](model, config)
        for with_relu in (False, True):
            for is_kind in (_is_conv_node, _is_conv_transpose_node):
                for node in model.graph.nodes:
                    if is_kind(node) and (_relu_after(node) is not None) == with_relu:
                        _annotate_convolution(node, config)
        for name in ("adaptive_avg_pool2d", "add_relu", "add", "mul_relu", "mul"):
            OP_TO_ANNOTATOR[name](model, config)
        for node in model.graph.nodes:
            if node.target is _aten.cat.default:
                _annotate_cat(node, config)
        for node in model.graph.nodes:
            if node.target in _SHARES_QUANTIZER:
                _share_quantizer(node)
        return model


def _annotate_convolution(node: Node, config: Any) -> None:
    """Annotate a convolution and the relu after it. A grouped transposed convolution stays in float."""
    source, weight, *bias = (each for each in node.args[:3] if isinstance(each, Node))
    relu, weight_spec = _relu_after(node), config.weight
    output = node if relu is None else relu
    if any(map(_annotated, (node, output, weight, *bias))):
        return
    if _is_conv_transpose_node(node):
        if node.meta["val"].shape[1] != weight.meta["val"].shape[1]:
            return
        # The weight of a transposed convolution has the inputs first.
        weight_spec = replace(weight_spec, ch_axis=1)
    specs = {source: config.input_activation, weight: weight_spec, **dict.fromkeys(bias)}
    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(input_qspec_map=specs, _annotated=True)
    for each in (output, weight, *bias):
        _annotation(each)._annotated = True
    _annotation(output).output_qspec = config.output_activation


def _relu_after(node: Node) -> Node | None:
    """The relu that reads a convolution, if no other node does."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and readers[0].target in _RELU else None


def _annotate_cat(node: Node, config: Any) -> None:
    """Let all inputs and the output share the quantizer of the first input that has one already."""
    if _annotated(node):
        return
    inputs: Any = node.args[0]
    first = next((each for each in inputs if _has_quantizer(each)), inputs[0])
    shared = SharedQuantizationSpec((first, node))
    specs = {first: config.input_activation}
    specs |= {each: shared for each in inputs if each is not first}
    node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(specs, shared, _annotated=True)


def _has_quantizer(node: Node) -> bool:
    """True if the output of a node is annotated, or that of the op whose quantizer it shares."""
    while True:
        if _annotated(node) and _annotation(node).output_qspec is not None:
            return True
        source = node.args[0] if node.target in _SHARES_QUANTIZER else None
        if not isinstance(source, Node):
            return False
        node = source


def _share_quantizer(node: Node) -> None:
    """Let the output of an op share the quantizer of the op that it reads."""
    source = node.args[0]
    if _annotated(node) or not isinstance(source, Node) or Q_ANNOTATION_KEY not in source.meta:
        return
    if _annotation(source).output_qspec:
        shared = SharedQuantizationSpec(source)
        node.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(
            {source: shared}, shared, _annotated=True
        )


def _annotation(node: Node) -> QuantizationAnnotation:
    return node.meta.setdefault(Q_ANNOTATION_KEY, QuantizationAnnotation())


def _annotated(node: Node) -> bool:
    return Q_ANNOTATION_KEY in node.meta and bool(_annotation(node)._annotated)
