"""The ``xnnpack`` recipe annotates as ExecuTorch's quantizer does, be ExecuTorch installed or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import Node
from torchao.quantization.pt2e.quantizer import Quantizer
from torchao.testing.pt2e._xnnpack_quantizer import get_symmetric_quantization_config

from handlens.capture.nodes import is_dequantize, is_quantize
from handlens.recipes import xnnpack
from handlens.recipes.xnnpack_quantizer import XNNPACKQuantizer

from ..quantizing import named, quantize

IMAGE = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
VOLUME = torch.randn(2, 4, 6, 6, 6, generator=torch.Generator().manual_seed(3))
STRICTNESS = pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])


def ours() -> Quantizer:
    return XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))


class Written(nn.Module):
    def __init__(self, forward: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.calls = forward

    def forward(self, x: Tensor) -> Any:
        return self.calls(*self.layers, x)


def quantizer_of(node: Node) -> Any:
    """The parameters of the one quantizer of an op's output."""
    (quantize,) = {each.args[1:] for each in node.users if is_quantize(each)}
    return quantize


def quantizers_of_inputs(node: Node) -> set[Any]:
    return {each.args[1:] for each in node.all_input_nodes if is_dequantize(each)}


@STRICTNESS
def test_the_inputs_and_the_output_of_cat_share_a_quantizer(strict: bool) -> None:
    def forward(conv: nn.Module, x: Tensor) -> Tensor:
        return torch.cat([x.sigmoid() * 640.0, conv(x), x.sigmoid()], 1)

    result = quantize(Written(forward, nn.Conv2d(4, 4, 1)), IMAGE, recipe=ours, strict=strict)
    (cat,) = named(result.actual, "cat")
    assert quantizers_of_inputs(cat) == {quantizer_of(cat)}
    assert len(cat.all_input_nodes) == 3
    assert all(map(is_dequantize, cat.all_input_nodes))


def test_the_weight_of_a_transposed_convolution_has_a_scale_for_each_output() -> None:
    for then in (lambda y: y, torch.relu):
        model = Written(lambda up, x, then=then: then(up(x)), nn.ConvTranspose2d(4, 6, 2))
        (up,) = named(quantize(model, IMAGE, recipe=ours).actual, "conv_transpose2d")
        weight = up.args[1]
        assert isinstance(weight, Node)
        assert is_dequantize(weight)
        scales, axis = weight.args[1], weight.args[3]
        assert axis == 1
        assert isinstance(scales, Node)
        assert scales.graph.owning_module.get_buffer(str(scales.target)).numel() == 6


def test_a_transposed_convolution_of_several_groups_stays_in_float() -> None:
    def forward(a: nn.Module, b: nn.Module, x: Tensor) -> Tensor:
        return b(a(x).relu())

    layers = (nn.ConvTranspose2d(4, 4, 2, groups=2), nn.ConvTranspose2d(4, 4, 2, groups=4))
    result = quantize(Written(forward, *layers), IMAGE, recipe=ours)
    assert not any(map(is_dequantize, result.actual.graph.nodes))


def test_a_three_dimensional_convolution_is_quantized() -> None:
    model = Written(lambda a, b, x: b(a(x).relu()), nn.Conv3d(4, 4, 3), nn.Conv3d(4, 4, 3))
    for conv in named(quantize(model, VOLUME, recipe=ours).actual, "conv3d"):
        assert all(map(is_dequantize, conv.args[:2]))  # type: ignore[arg-type]


def test_what_only_moves_values_keeps_their_quantizer() -> None:
    def forward(conv: nn.Module, x: Tensor) -> Tensor:
        y = F.dropout(conv(x), 0.5, False).transpose(2, 3)[:, :, 1:].reshape(2, 4, -1, 7)
        return y.permute(0, 1, 3, 2)

    actual = quantize(Written(forward, nn.Conv2d(4, 4, 1)), IMAGE, recipe=ours).actual
    (conv,) = named(actual, "conv2d")
    for name in ("dropout", "transpose", "slice", "reshape", "permute"):
        (node,) = named(actual, name)
        assert quantizers_of_inputs(node) == {quantizer_of(node)} == {quantizer_of(conv)}


def test_a_recurrent_layer_is_no_pattern_of_it() -> None:
    model = Written(lambda gru, head, x: head(gru(x)[0]), nn.GRU(8, 8), nn.Linear(8, 8))
    actual = quantize(model, torch.randn(4, 2, 8), recipe=ours).actual
    (gru,) = named(actual, "gru")
    assert not any(map(is_dequantize, gru.all_input_nodes))


EVERYTHING = {
    "words": Written(
        lambda a, b, x: b(a(x)).relu(), nn.Conv2d(4, 4, 2, padding="same"), nn.Conv2d(4, 4, 3)
    ),
    "transposed": Written(
        lambda a, n, b, c, x: c(b(n(a(x)).relu())),
        *(nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6)),
        *(nn.ConvTranspose2d(6, 4, 3, bias=False), nn.ConvTranspose2d(4, 4, 3, groups=4)),
    ),
    "shared": Written(
        lambda a, b, x: b(a(x).relu()) + a(a(x)), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
    ),
    "cat": Written(
        lambda a, x: torch.cat([x.sigmoid(), a(x).flatten(2).view(2, 4, 8, 8), x], 1).relu(),
        nn.Conv2d(4, 4, 1),
    ),
    "cat alone": Written(lambda x: torch.cat([x, x.sigmoid(), x], 1) * 2),
    "pool": Written(
        lambda a, p, x: p(F.silu(a(x))) + F.adaptive_avg_pool2d(F.silu(a(x)), 1),
        *(nn.Conv2d(4, 4, 1), nn.AdaptiveAvgPool2d(1)),
    ),
    "sums": Written(lambda a, x: ((a(x) + x).relu() * x).relu() * 3.0 + 1, nn.Conv2d(4, 4, 1)),
    "in place": Written(lambda a, x: a(x).add_(x).relu_().mul_(x).relu(), nn.Conv2d(4, 4, 1)),
    "linear": Written(
        lambda a, b, x: F.hardtanh(b(a(x).relu())) + F.relu6(a(x)), nn.Linear(8, 8), nn.Linear(8, 8)
    ),
}


@pytest.mark.parametrize("model", EVERYTHING.values(), ids=list(EVERYTHING))
def test_it_quantizes_as_executorch_does(model: nn.Module) -> None:
    pytest.importorskip("executorch")
    theirs = quantize(model, IMAGE, recipe="xnnpack")
    assert xnnpack._make_quantizer().__class__.__module__.startswith("executorch")
    mine = quantize(model, IMAGE, recipe=ours)
    assert str(mine.actual.graph) == str(theirs.actual.graph)
    assert torch.equal(mine.actual(IMAGE), theirs.actual(IMAGE))
