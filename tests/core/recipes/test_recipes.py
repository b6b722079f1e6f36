"""Recipes: what they quantize, and what is said where they do not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch._higher_order_ops import while_loop
from torch.fx import GraphModule
from torchao.quantization.pt2e import quantize_pt2e
from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

from handlens import recipes
from handlens.capture.handles import handle_of
from handlens.capture.nodes import graph_modules, is_dequantize, is_quantize
from handlens.failures.failing_ops import failing_ops
from handlens.loading.subject import Subject
from handlens.numeric_debugger.pt2e import convert_pt2e, prepare_pt2e
from handlens.recipes import CalibrationFailed, x86
from handlens.recipes.pt2e import compose
from handlens.recipes.source_functions import write_source_functions
from handlens.report import Thresholds
from tests.handle_models import TwoLinears
from tests.needs import needs_loops

from ..conftest import RunText
from ..quantizing import captured, dequantize_nodes, named, quantize


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
def test_x86_quantizes_as_much_after_either_export(strict: bool) -> None:
    model = EfficientNet.from_name("efficientnet-lite0")
    image = torch.randn(1, 3, 224, 224)
    result = quantize(model, image, strict=strict)
    assert dequantize_nodes(result) == 111
    assert result.unquantized == ()


def test_a_recipe_is_a_name_a_reference_or_a_callable() -> None:
    x = torch.randn(2, 6)
    wanted = ["x86", "handlens.recipes.x86:_make_quantizer", x86._make_quantizer]
    results = [quantize(TwoLinears(), x, recipe=each) for each in wanted]
    assert len({dequantize_nodes(each) for each in results}) == 1
    assert dequantize_nodes(results[0]) > 0


@pytest.mark.parametrize("wanted", ["x68", "math:no_such", "handlens.targets:PREFIX"])
def test_a_recipe_that_cannot_be_had_says_so(wanted: str) -> None:
    with pytest.raises(recipes.UnknownRecipe, match=wanted):
        recipes.resolve(wanted)


def test_calibration_that_fails_names_the_operation() -> None:
    class Lookup(nn.Module):
        def forward(self, table: Tensor, index: Tensor) -> Tensor:
            return torch.relu(table)[index]

    good, bad = (torch.randn(4), torch.tensor([1, 2])), (torch.randn(4), torch.tensor([1, 9]))
    program = captured(Lookup(), *good)
    with pytest.raises(CalibrationFailed) as caught:
        recipes.resolve("x86").quantize(program, Subject(Lookup(), good, calibration=[good, bad]))
    assert caught.value.batch == 2
    assert "out of bounds" in str(caught.value.error)
    [handle] = failing_ops(caught.value.error)
    assert [str(n.target) for n in program.program.graph.nodes if handle_of(n) == handle] == [
        "aten.index.Tensor"
    ]


def test_the_program_is_left_as_it_is() -> None:
    x = torch.randn(1, 3, 32, 32)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    program = captured(model, x)
    before = str(program.program)
    recipes.resolve("x86").quantize(program, Subject(model, (x,), calibration=[(x,)]))
    assert str(program.program) == before


class NormLast(nn.Module):
    """A batch norm that no convolution comes right before, so that it stays a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_conversion_does_not_search_for_what_only_training_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each pattern that torchao searches for is exported: about a hundred, over ten seconds.
    exports = []
    export = torch.export.export

    def counted(*args: Any, **kwargs: Any) -> Any:
        exports.append(args)
        return export(*args, **kwargs)

    program = captured(NormLast(), x := torch.randn(1, 3, 8, 8))
    monkeypatch.setattr(torch.export, "export", counted)
    result = recipes.resolve("x86").quantize(program, Subject(NormLast(), (x,), calibration=[(x,)]))
    assert "aten.batch_norm.default" in {str(node.target) for node in result.actual.graph.nodes}
    assert exports == []


@pytest.mark.parametrize("trained", [False, True])
def test_conversion_of_a_model_trained_quantized_does_search(
    monkeypatch: pytest.MonkeyPatch, trained: bool
) -> None:
    searched = []

    def search(model: GraphModule) -> GraphModule:
        searched.append(model)
        return model

    # torchao's own name for it: if it is renamed this fails, and what spares it does nothing.
    monkeypatch.setattr(quantize_pt2e, "_fold_conv_bn_qat", search)
    x = torch.randn(2, 6)
    config = get_default_x86_inductor_quantization_config(is_qat=trained)
    quantizer = X86InductorQuantizer().set_global(config)
    model = captured(TwoLinears(), x).program.module()
    write_source_functions(model)
    prepare = prepare_qat_pt2e if trained else prepare_pt2e
    prepared = prepare(model, quantizer)
    prepared(x)
    convert_pt2e(prepared)
    assert len(searched) == trained
    assert quantize_pt2e._fold_conv_bn_qat is search


def test_recipes_are_joined_with_a_plus() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(16, 8), nn.Linear(8, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embedding(tokens))

    tokens = torch.arange(8).view(2, 4)

    def with_weights(recipe: str) -> set[str]:
        actual = quantize(Tagger(), tokens, recipe=recipe).actual
        return {
            name
            for name, index in (("embedding", 0), ("linear", 1))
            for node in named(actual, name)
            if is_dequantize(node.args[index])  # type: ignore[arg-type]
        }

    assert with_weights("x86") == {"linear"}
    assert with_weights("embedding") == {"embedding"}
    for joined in ("x86+embedding", "embedding + xnnpack"):
        assert with_weights(joined) == {"embedding", "linear"}
        assert recipes.resolve(joined).name == joined.replace(" ", "")


@pytest.mark.parametrize(
    ("recipe", "warning_db"),
    [
        ("x86", 20.0),
        ("int8-weight-only", 20.0),
        ("torchao.quantization.pt2e.quantizer.embedding_quantizer:EmbeddingQuantizer", 20.0),
        ("x86+embedding", 20.0),
        ("int4-weight-only", 5.0),
        ("bf16", 35.0),
        ("fp16", 35.0),
    ],
)
def test_a_recipe_has_the_thresholds_of_its_number_format(recipe: str, warning_db: float) -> None:
    assert recipes.resolve(recipe).thresholds.warning_db == warning_db


def test_of_recipes_that_are_joined_the_coarsest_has_its_thresholds() -> None:
    [recipe] = x86.RECIPES
    coarse = replace(recipe, name="coarse", thresholds=Thresholds(0.0, 5.0, 10.0))
    assert compose([recipe, coarse]).thresholds == coarse.thresholds


@pytest.mark.parametrize("wanted", ["x86+bf16", "int8-dynamic+embedding"])
def test_what_is_no_quantizer_cannot_be_joined(wanted: str) -> None:
    with pytest.raises(recipes.UnknownRecipe, match="cannot be joined"):
        recipes.resolve(wanted)


def test_the_documentation_lists_the_recipes_that_there_are() -> None:
    page = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text()
    listed = re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)
    assert listed == list(recipes.RECIPES)
    with pytest.raises(recipes.UnknownRecipe) as caught:
        recipes.resolve("no-such")
    assert all(name in str(caught.value) for name in recipes.RECIPES)


def test_the_fused_activations_of_x86_are_found() -> None:
    # The output of a convolution that an activation follows is not quantized between the two.
    activations = [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(), nn.Hardswish(), nn.SiLU()]
    for activation in activations:
        model = nn.Sequential(nn.Conv2d(3, 4, 3), activation, nn.Conv2d(4, 4, 3))
        first, second = named(quantize(model, torch.randn(1, 3, 8, 8)).actual, "conv2d")
        assert not any(map(is_quantize, first.users)), activation
        assert is_dequantize(second.args[0]), activation  # type: ignore[arg-type]


@needs_loops
def test_x86_quantizes_the_body_of_a_loop() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Any:
            start = torch.tensor(0), x
            return while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, self.layer(x)), start)[1]

    result = quantize(Loop(), torch.randn(4, 8))
    (linear,) = [node for body in graph_modules(result.actual) for node in named(body, "linear")]
    assert all(is_dequantize(each) for each in linear.args[:2])  # type: ignore[arg-type]


NOTHING = """
    import torch

    class Model(torch.nn.Module):
        def forward(self, x):
            return torch.sin(x) + 1

    def handlens_main():
        return Model(), (torch.randn(4),)
"""


def test_a_recipe_that_quantizes_nothing_is_a_finding(run_text: RunText) -> None:
    report = run_text(NOTHING)
    assert report.status == "ok"
    assert [(f.rule, f.severity) for f in report.findings] == [("HL201", "warning")]
    assert "quantized nothing, of 2 ops" in report.findings[0].message
    assert report.findings[0].span is not None
    assert report.findings[0].span.line == 8


def test_a_kind_of_op_that_a_recipe_passes_over_is_a_finding(run_text: RunText) -> None:
    report = run_text(
        """
        import torch
        from torch import nn
        from torchao.quantization.pt2e.quantizer import Quantizer
        from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
            X86InductorQuantizer,
            get_default_x86_inductor_quantization_config,
        )

        def handlens_main():
            model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Flatten(), nn.Linear(24, 2))
            return model, (torch.randn(1, 3, 8),)
        """
    )
    rules = [finding.rule for finding in report.findings]
    quantized = {op.name for op in report.ops if op.quantizers}
    assert ("conv1d" in quantized) != ("HL201" in rules)
