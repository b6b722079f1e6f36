"""The ``x86`` recipe: torchao's X86InductorQuantizer, static 8 bit for CPUs with VNNI."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

from handlens.recipes.pt2e import Pt2eRecipe

_aten = torch.ops.aten

# What each op is called where the quantizer looks for patterns. It finds modules and functions alike,
# but post-ops after a linear by their module class only.
_SOURCES: dict[Any, Any] = {
    _aten.conv1d.default: torch.nn.functional.conv1d,
    _aten.conv2d.default: nn.Conv2d,
    _aten.linear.default: nn.Linear,
    _aten.batch_norm.default: nn.BatchNorm2d,
    _aten.relu.default: nn.ReLU,
    _aten.relu_.default: nn.ReLU,
    _aten.relu6.default: nn.ReLU6,
    _aten.leaky_relu.default: nn.LeakyReLU,
    _aten.leaky_relu_.default: nn.LeakyReLU,
    _aten.hardswish.default: nn.Hardswish,
    _aten.hardswish_.default: nn.Hardswish,
    _aten.silu.default: nn.SiLU,
    _aten.silu_.default: nn.SiLU,
    _aten.gelu.default: nn.GELU,
    _aten.tanh.default: nn.Tanh,
    _aten.add.Tensor: operator.add,
    _aten.add_.Tensor: operator.iadd,
}
_CLAMPS = (_aten.hardtanh.default, _aten.hardtanh_.default)
_RELU6_BOUNDS = (0.0, 6.0)


def _write_source_functions(model: GraphModule) -> None:
    """Write the ``source_fn_stack`` that the quantizer reads.

    Only strict export does so itself. Without it the quantizer finds next to nothing, and says nothing.
    What strict export wrote is replaced: its names would run into ours.
    """
    for node in model.graph.nodes:
        node.meta.pop("source_fn_stack", None)
        source = _source(node)
        if source is not None:
            node.meta["source_fn_stack"] = [(node.name, source)]


def _source(node: Node) -> Any:
    if node.target in _CLAMPS:
        return nn.ReLU6 if tuple(node.args[1:3]) == _RELU6_BOUNDS else nn.Hardtanh
    return _SOURCES.get(node.target)


def _make_quantizer() -> X86InductorQuantizer:
    return X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())


RECIPE = Pt2eRecipe("x86", _make_quantizer, ("conv1d", "conv2d", "linear"), _write_source_functions)
