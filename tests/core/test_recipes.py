"""Recipes: what they quantize, and what is said where they do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torchao.quantization.pt2e import quantize_pt2e

from handle_models import TwoLinears
from handlens import recipes
from handlens.capture import Captured, capture
from handlens.handles import generate_numeric_debug_handle, is_dequantize
from handlens.loading import Subject
from handlens.recipes import CalibrationFailed, Quantized

from .conftest import RunText


def captured(model: nn.Module, *args: Tensor, strict: bool = False) -> Captured:
    result = capture(model.eval(), args, strict=strict)
    generate_numeric_debug_handle(result.program)
    return result


def quantize(
    model: nn.Module, *args: Tensor, recipe: Any = "x86", strict: bool = False, **subject: Any
) -> Quantized:
    """Calibrated with the example inputs."""
    program = captured(model, *args, strict=strict)
    batches = [(args, {})]
    return recipes.resolve(recipe).quantize(
        program, Subject(model, args, calibration=batches, **subject)
    )


def dequantize_nodes(result: Quantized) -> int:
    return sum(is_dequantize(node) for node in result.actual.graph.nodes)


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
def test_x86_quantizes_as_much_after_either_export(strict: bool) -> None:
    model = EfficientNet.from_name("efficientnet-lite0")
    image = torch.randn(1, 3, 224, 224)
    result = quantize(model, image, strict=strict)
    assert dequantize_nodes(result) == 111
    assert result.unquantized == ()


def test_a_recipe_is_a_name_a_reference_or_a_callable() -> None:
    x = torch.randn(2, 6)
    wanted = ["x86", "handlens.recipes.x86:_make_quantizer", recipes.x86._make_quantizer]
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
    with pytest.raises(CalibrationFailed) as caught:
        recipes.resolve("x86").quantize(
            captured(Lookup(), *good), Subject(Lookup(), good, calibration=[bad])
        )
    assert caught.value.node is not None
    assert str(caught.value.node.target) == "aten.index.Tensor"
    assert "out of bounds" in str(caught.value.error)


def test_the_program_is_left_as_it_is() -> None:
    x = torch.randn(1, 3, 32, 32)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    program = captured(model, x)
    before = str(program.program)
    recipes.resolve("x86").quantize(program, Subject(model, (x,), calibration=[(x,)]))
    assert str(program.program) == before


def test_conversion_does_not_search_for_what_only_training_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def search(model: object) -> object:
        raise AssertionError("this takes over ten seconds")

    # It fails here if torchao renames it, and the search would be back unnoticed.
    monkeypatch.setattr(quantize_pt2e, "_fold_conv_bn_qat", search)
    x = torch.randn(1, 3, 8, 8)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    result = quantize(model, x)
    assert "aten.batch_norm.default" in {str(node.target) for node in result.actual.graph.nodes}
    assert quantize_pt2e._fold_conv_bn_qat is search


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
