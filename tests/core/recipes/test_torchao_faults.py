"""Where torchao raises, a recipe gives what torchao gives for the same model written another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._higher_order_ops import while_loop
from torch.fx import GraphModule
from torchao.quantization.pt2e import HistogramObserver
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)
from torchao.testing.pt2e._xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)

from handlens.capture.nodes import is_quantize, is_quantize_or_dequantize
from handlens.comparison import merge
from tests.needs import needs_columns, needs_loops

from ..conftest import RunText
from ..quantizing import named, quantize

IMAGE = torch.randn(2, 4, 9, 8, generator=torch.Generator().manual_seed(3))
STACK = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(4))


def x86() -> Quantizer:
    return X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())


def copied() -> Quantizer:
    """The XNNPACK quantizer that torchao has for its own tests."""
    return XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))


RECIPES = pytest.mark.parametrize("recipe", ["x86", "arm", "xnnpack", x86, "x86+embedding"])
STRICTNESS = pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])


class Written(nn.Module):
    """Layers, and how forward is written; two with the same layers have the same parameters."""

    def __init__(self, layers: Callable[[], list[nn.Module]], forward: Callable[..., Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(layers())
        self.calls = forward

    def forward(self, *inputs: Tensor) -> Any:
        return self.calls(*self.layers, *inputs)


def parameters(model: GraphModule) -> list[Any]:
    """What all quantize and dequantize nodes are given, but for what they quantize."""
    return [
        (str(node.target), *node.args[1:])
        for node in model.graph.nodes
        if is_quantize_or_dequantize(node) and not any(map(is_constant, node.args[1:]))
    ]


def is_constant(value: Any) -> bool:
    return getattr(value, "op", "") == "get_attr"


def assert_same(one: nn.Module, other: nn.Module, *inputs: Tensor, **recipe: Any) -> GraphModule:
    """Two ways to write a model are quantized alike: the same quantizers, and the same bits."""
    quantized, expected = (quantize(each, *inputs, **recipe) for each in (one, other))
    assert parameters(quantized.actual) == parameters(expected.actual) != []
    result = quantized.actual(*inputs)
    assert torch.equal(result, expected.actual(*inputs))
    assert not torch.equal(result, one(*inputs))
    assert torch.equal(quantized.reference(*inputs), expected.reference(*inputs))
    # It is compared op by op.
    outputs = merge(quantized.reference, quantized.actual).run(inputs, {})
    assert torch.equal(outputs.actual[0], result)
    return quantized.actual


def convolutions() -> list[nn.Module]:
    return [nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)]


def linears() -> list[nn.Module]:
    return [nn.Linear(16, 16), nn.Linear(16, 16)]


# -- what nothing reads ----------------------------------------------------------------------------


@STRICTNESS
@RECIPES
def test_what_nothing_reads_is_left_out(recipe: Any, strict: bool) -> None:
    def unread(a: nn.Module, b: nn.Module, x: Tensor) -> Tensor:
        hidden = a(x).relu()
        b(hidden[:, 0]).tanh()
        return b(hidden)

    model = Written(linears, unread)
    plain = Written(linears, lambda a, b, x: b(a(x).relu()))
    assert_same(model, plain, STACK, recipe=recipe, strict=strict)


@RECIPES
def test_a_convolution_whose_other_reader_nobody_reads(recipe: Any) -> None:
    def unread(a: nn.Module, b: nn.Module, x: Tensor) -> Tensor:
        y = a(x)
        b(y) + y
        return b(y + x)

    plain = Written(convolutions, lambda a, b, x: b(a(x) + x))
    assert_same(Written(convolutions, unread), plain, IMAGE, recipe=recipe)


def test_what_nothing_reads_in_a_body_is_left_out() -> None:
    def layers() -> list[nn.Module]:
        return [nn.Linear(16, 16)]

    def loop(body: Callable[[nn.Module, Tensor], Tensor]) -> nn.Module:
        def forward(layer: nn.Module, x: Tensor) -> Any:
            start = torch.tensor(0), x
            return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, body(layer, x)), start)[1]

        return Written(layers, forward)

    def unread(layer: nn.Module, x: Tensor) -> Tensor:
        layer(x.exp()).tanh()
        return layer(x)

    one, other = (
        quantize(loop(each), STACK).actual(STACK) for each in (unread, lambda layer, x: layer(x))
    )
    assert torch.equal(one, other)


# -- what is not in floating point -----------------------------------------------------------------


@STRICTNESS
@RECIPES
def test_integers_are_not_quantized(recipe: Any, strict: bool) -> None:
    def layers() -> list[nn.Module]:
        return [nn.Linear(16, 16), nn.Embedding(99, 16)]

    def positions(layer: nn.Module, table: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
        counted = torch.cumsum(mask, dim=1)
        counted = torch.cat([counted * mask, mask + mask], 1)[:, : x.shape[1]]
        counted = F.max_pool2d(counted[None], 1)[0].flatten(1)
        return layer(x + table(counted))

    def looked_up(layer: nn.Module, table: nn.Module, x: Tensor, mask: Tensor) -> Tensor:
        return layer(x + table(mask))

    mask = torch.ones(2, 5, dtype=torch.long)
    quantized = quantize(Written(layers, positions), STACK, mask, recipe=recipe, strict=strict)
    whole = mask.cumsum(1)
    plain = quantize(Written(layers, looked_up), STACK, whole, recipe=recipe)
    assert torch.equal(quantized.actual(STACK, mask), plain.actual(STACK, whole))
    assert sorted(map(repr, parameters(quantized.actual))) == sorted(
        map(repr, parameters(plain.actual))
    )


MASKED = {
    "float and integers": lambda a, b, x: b(a(x) * (x > 0).long()),
    "float and truth values": lambda a, b, x: b(a(x) * (x > 0)),
}


@pytest.mark.parametrize("forward", MASKED.values(), ids=list(MASKED))
@RECIPES
def test_an_op_on_floats_and_integers_stays_in_float(recipe: Any, forward: Any) -> None:
    selected = Written(convolutions, lambda a, b, x: b(torch.where(x > 0, a(x), 0.0)))
    assert_same(Written(convolutions, forward), selected, IMAGE, recipe=recipe)


@pytest.mark.parametrize(
    "forward",
    [
        lambda a, b, x: b(a(x) + (x > 0).long()),
        lambda a, b, x: b(torch.cat([a(x), (x > 0).long()])),
        lambda a, b, x: b((a(x).double() * x.double()).float()),
        lambda a, b, x: b((a(x) * 1j).imag),
        lambda a, b, x: b((a(x) * torch.complex(x, x)).real),
    ],
    ids=["add", "cat", "float64", "complex number", "complex"],
)
@RECIPES
def test_other_types_beside_float_are_compared(recipe: Any, forward: Any) -> None:
    model = Written(convolutions, forward)
    result = quantize(model, IMAGE, recipe=recipe)
    assert torch.equal(result.reference(IMAGE), model(IMAGE))
    noise = result.actual(IMAGE) - model(IMAGE)
    assert 0 < float(noise.square().mean() / model(IMAGE).square().mean()) < 1e-2
    first, second = named(result.actual, "conv2d")
    for each in (first, second):
        assert all(is_quantize(source.all_input_nodes[0]) for source in each.all_input_nodes[:1])


class Sharing(Quantizer):
    """Has the inputs of every sum share what is found for the first, whatever they are."""

    def annotate(self, model: GraphModule) -> GraphModule:
        spec = QuantizationSpec(
            torch.int8, HistogramObserver, -128, 127, torch.per_tensor_affine, is_dynamic=False
        )
        for node in model.graph.nodes:
            if node.target is torch.ops.aten.add.Tensor:
                first, second = node.args
                shared = SharedQuantizationSpec((first, node))
                node.meta["quantization_annotation"] = QuantizationAnnotation(
                    {first: spec, second: shared}, SharedQuantizationSpec((first, node)), True
                )
            elif node.target is torch.ops.aten.relu.default:
                node.meta["quantization_annotation"] = QuantizationAnnotation(
                    {node.args[0]: SharedQuantizationSpec(node.args[0])}, None, True
                )
        return model

    def validate(self, model: GraphModule) -> None:
        return None


def test_what_shares_the_quantizer_of_integers_is_not_quantized() -> None:
    def forward(x: Tensor, i: Tensor) -> Tensor:
        whole = i + i * 2
        return (whole + x).relu() + (x + x.exp()).relu()

    i = torch.arange(16)
    result = quantize(Written(list, forward), STACK, i, recipe=Sharing)
    assert sum(map(is_quantize, result.actual.graph.nodes)) > 0
    assert result.actual(STACK, i).shape == STACK.shape


# -- paddings that are words -----------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("word", ["same", "valid"])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("recipe", ["x86", "xnnpack"])
def test_padding_given_as_a_word(recipe: str, dims: int, word: str, kernel: int) -> None:
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
    dilation: Any = (2, 1, 3)[:dims]
    totals = [each * (kernel - 1) if word == "same" else 0 for each in dilation]
    odd = [pad for total in reversed(totals) for pad in (0, total % 2)]

    def layers(padding: Any) -> Callable[[], list[nn.Module]]:
        return lambda: [
            nn.Conv2d(4, 4, 1),
            layer(4, 4, kernel, padding=padding, dilation=dilation, groups=2),
            norm(4),
        ]

    def forward(*given: Any, pad: bool = False) -> Tensor:
        first, conv, norm, x = given
        y = first(x).relu().flatten(2)[:, :, :60]
        y = y.unflatten(2, ((60,), (12, 5), (5, 6, 2))[dims - 1])
        y = F.pad(y, (4, 4) * dims, "replicate")
        return norm(conv(F.pad(y, odd) if pad else y)).relu()

    by_hand = Written(
        layers(tuple(each // 2 for each in totals)),
        lambda *given: forward(*given, pad=any(odd)),
    )
    actual = assert_same(Written(layers(word), forward), by_hand, IMAGE, recipe=recipe)
    assert all("padding" not in str(node.target) for node in actual.graph.nodes)


@needs_columns
def test_padding_given_as_a_word_is_compared_at_its_line(run_text: RunText) -> None:
    report = run_text(
        """
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed = nn.Conv2d(3, 8, 4, padding="same")
                self.out = nn.Conv2d(8, 8, 1)

            def forward(self, x):
                return self.out(torch.relu(self.embed(x)))

        def handlens_main():
            torch.manual_seed(0)
            return Model().eval(), (torch.randn(2, 3, 16, 16),)
        """
    )
    assert report.status == "ok"
    assert report.coverage is not None
    assert report.coverage.matched == report.coverage.ops == 4
    pad, conv, _, _ = report.ops
    assert [each.name for each in report.ops] == ["pad", "conv2d", "relu", "conv2d"]
    assert pad.spans == conv.spans
    assert pad.module == conv.module == "embed"
    assert conv.span is not None
    assert (conv.span.line, conv.span.column) == (12, 35)
    assert [each.role for each in conv.quantizers] == ["weight"]
    # It reads the padded input, and nothing else.
    assert conv.inputs == (pad.handle,)


def test_a_convolution_that_pads_in_another_mode() -> None:
    def layers() -> list[nn.Module]:
        return [nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), nn.Conv2d(4, 4, 1)]

    def by_hand(a: nn.Conv2d, b: nn.Module, x: Tensor) -> Tensor:
        return b(F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), a.weight, a.bias))

    model = Written(layers, lambda a, b, x: b(a(x)))
    assert_same(model, Written(layers, by_hand), IMAGE, recipe="x86")


# -- numbers beside layers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "add",
    [
        lambda y: y + 1.5,
        lambda y: 1.5 + y,
        lambda y: torch.add(y, 0.75, alpha=2),
        lambda y: y.clone().add_(1.5),
    ],
    ids=["sum", "turned", "alpha", "in place"],
)
@pytest.mark.parametrize("layers", [convolutions, linears])
@pytest.mark.parametrize("recipe", ["x86", "arm", x86])
def test_a_number_added_to_a_layer_is_left_alone(recipe: Any, layers: Any, add: Any) -> None:
    x = IMAGE if layers is convolutions else STACK
    model = Written(layers, lambda a, b, x: b(add(a(x)).relu()))
    # No quantizer for Inductor takes a difference.
    differing = Written(layers, lambda a, b, x: b((a(x) - -1.5).relu()))
    for strict in (False, True):
        assert_same(model, differing, x, recipe=recipe, strict=strict)


def test_a_size_added_to_a_layer_is_left_alone() -> None:
    model = Written(convolutions, lambda a, b, x: b((a(x) + x.shape[0]).relu()))
    x = torch.randn(3, 4, 9, 8)
    actual = quantize(model, x, dynamic_shapes=None).actual
    assert len(named(actual, "conv2d")) == 2


# -- batch norms -----------------------------------------------------------------------------------


class Transposed(nn.Module):
    def __init__(self, dims: int, groups: int, affine: bool, bias: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
        norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dims - 1]
        self.first, self.last = nn.Linear(4, 4), nn.Linear(8, 4)
        self.up = layer(4, 8, 3, 2, 1, output_padding=1, groups=groups, bias=bias)
        self.norm: Any = norm(8, affine=affine)
        self.norm.running_mean = torch.randn(8)
        self.norm.running_var = torch.rand(8) + 0.1
        if affine:
            self.norm.weight, self.norm.bias = (nn.Parameter(torch.randn(8)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.up(self.first(x).relu())).relu())


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("recipe", ["x86", "xnnpack"])
def test_a_grouped_transposed_convolution_is_folded(recipe: str, dims: int, groups: int) -> None:
    x = torch.randn(2, 4, *(3, 5)[: dims - 1], 4)
    for affine, bias in ((True, False), (False, True)):
        model = Transposed(dims, groups, affine, bias).eval()
        norm = model.norm
        gain = (1.0 if norm.weight is None else norm.weight) * torch.rsqrt(
            norm.running_var + norm.eps
        )
        folded = Transposed(dims, groups, affine, True).eval()
        folded.load_state_dict(model.state_dict(), strict=False)
        folded.norm = nn.Identity()
        with torch.no_grad():
            offset = (
                -norm.running_mean if model.up.bias is None else model.up.bias - norm.running_mean
            )
            shift = 0.0 if norm.bias is None else norm.bias
            folded.up.bias.copy_(
                offset
                * torch.rsqrt(norm.running_var + norm.eps)
                * (1.0 if norm.weight is None else norm.weight)
                + shift
            )
            for index, inputs in enumerate(folded.up.weight.chunk(groups)):
                outputs = 8 // groups
                mine = gain[index * outputs : (index + 1) * outputs]
                inputs.mul_(mine.view(1, -1, *[1] * dims))
        quantized = quantize(model, x, recipe=recipe)
        assert named(quantized.actual, "batch_norm") == []
        torch.testing.assert_close(quantized.reference(x), model(x), rtol=1e-4, atol=1e-4)
        expected = quantize(folded, x, recipe=recipe)
        assert parameters(quantized.actual) == parameters(expected.actual)
        assert torch.equal(quantized.actual(x), expected.actual(x))


UNFOLDABLE = {
    "computed weight": lambda a, n, x: n(F.conv2d(x, a.weight.abs(), a.bias)),
    "computed gain": lambda a, n, x: F.batch_norm(
        a(x), n.running_mean, n.running_var, n.weight.abs(), n.bias
    ),
    "no statistics": lambda a, n, x: F.batch_norm(a(x), None, None, n.weight, n.bias, True),
}


@pytest.mark.parametrize("forward", UNFOLDABLE.values(), ids=list(UNFOLDABLE))
@pytest.mark.parametrize("recipe", ["x86", "xnnpack"])
def test_a_batch_norm_that_cannot_be_folded_stays(recipe: str, forward: Any) -> None:
    model = Written(lambda: [nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)], forward).eval()
    result = quantize(model, IMAGE, recipe=recipe)
    assert len(named(result.actual, "batch_norm")) == 1
    assert torch.equal(result.reference(IMAGE), model(IMAGE))


@needs_loops
def test_a_batch_norm_in_a_loop_stays() -> None:
    def forward(conv: nn.Module, norm: nn.Module, x: Tensor) -> Any:
        start = torch.tensor(0), x
        return while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, norm(conv(x))), start)[1]

    model = Written(lambda: [nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)], forward).eval()
    result = quantize(model, IMAGE)
    assert torch.equal(result.reference(IMAGE), model(IMAGE))
    assert not torch.equal(result.actual(IMAGE), model(IMAGE))


def test_a_shared_grouped_transposed_convolution_is_not_folded() -> None:
    def layers() -> list[nn.Module]:
        return [nn.ConvTranspose2d(4, 4, 2, groups=2), nn.BatchNorm2d(4), nn.BatchNorm2d(4)]

    model = Written(layers, lambda up, a, b, x: a(up(x)) + b(up(x.relu()))).eval()
    result = quantize(model, IMAGE, recipe="xnnpack")
    assert torch.equal(result.reference(IMAGE), model(IMAGE))


# -- recurrent layers ------------------------------------------------------------------------------


class Gru(nn.GRU):
    """A GRU that no quantizer knows by its class."""


@pytest.mark.parametrize("recipe", ["xnnpack", copied, "x86"])
@pytest.mark.parametrize(
    ("strict", "options", "given", "read"),
    [
        (False, {}, False, "output"),
        (True, {}, False, "output"),
        (False, {}, True, "both"),
        (False, {"bidirectional": True, "num_layers": 2}, False, "both"),
        (False, {"num_layers": 2, "bias": False}, True, "state"),
    ],
    ids=["plain", "strict", "state", "bidirectional", "layers"],
)
def test_a_gru_stays_in_float(
    recipe: Any, strict: bool, options: Any, given: bool, read: str
) -> None:
    directions = 2 if "bidirectional" in options else 1

    def layers(kind: Any) -> Callable[[], list[nn.Module]]:
        return lambda: [
            nn.Linear(16, 16),
            kind(16, 12, batch_first=True, **options),
            nn.Linear(12 * directions, 12 * directions),
        ]

    def forward(a: nn.Module, gru: nn.Module, b: nn.Module, x: Tensor) -> Tensor:
        x = a(x)
        state = x.new_ones(options.get("num_layers", 1), 2, 12) if given else None
        output, last = gru(x, state)
        if read == "state":
            return b(last)
        output = b(output)
        return output + last.sum() if read == "both" else output

    one, other = (Written(layers(kind), forward) for kind in (nn.GRU, Gru))
    assert_same(one, other, STACK, recipe=recipe, strict=strict)


def test_a_gru_cell_stays_in_float(run_text: RunText) -> None:
    report = run_text(
        """
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell, self.head = nn.GRUCell(8, 8), nn.Linear(8, 8)

            def forward(self, x):
                return self.head(self.cell(x))

        def handlens_main():
            torch.manual_seed(0)
            return {"model": Model(), "example_inputs": (torch.randn(2, 8),), "recipe": "xnnpack"}
        """
    )
    [finding] = [each for each in report.findings if each.rule == "HL205"]
    assert finding.span is not None
    assert finding.span.line == 11
    assert [each.name for each in report.ops if not each.in_float] == ["linear"]
