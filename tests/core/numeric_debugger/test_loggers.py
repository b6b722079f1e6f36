"""The logger API that people know from PyTorch's numeric debugger."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchao.testing.pt2e._xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)

import handlens
from handlens.capture.handles import handle_of
from tests.handle_models import CASES, ConvSqueezeConv

STRICTNESS = pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
INPUTS = CASES["conv2d-squeeze-conv1d"][1]


def exported(
    strict: bool = False, model: type[nn.Module] = ConvSqueezeConv
) -> torch.fx.GraphModule:
    program = torch.export.export(model().eval(), INPUTS, strict=strict)
    handlens.generate_numeric_debug_handle(program)
    return program.module()


def loggers(model: nn.Module) -> list[handlens.OutputLogger]:
    return [each for each in model.modules() if isinstance(each, handlens.OutputLogger)]


@STRICTNESS
def test_every_op_with_a_handle_has_one_logger_and_the_model_computes_the_same(
    strict: bool,
) -> None:
    model = exported(strict)
    before = str(model.graph)
    logging = handlens.prepare_for_propagation_comparison(model)
    assert str(model.graph) == before
    assert loggers(model) == []
    assert torch.equal(logging(*INPUTS), model(*INPUTS))
    found = {each.debug_handle: each.node_name for each in loggers(logging)}
    assert len(loggers(logging)) == 3
    assert found == {handle_of(n): n.name for n in model.graph.nodes if handle_of(n)}


@STRICTNESS
def test_a_quantized_model_is_compared_by_handle(strict: bool) -> None:
    model = exported(strict)
    reference = handlens.prepare_for_propagation_comparison(model)
    reference(*INPUTS)
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config())
    prepared = handlens.prepare_pt2e(model, quantizer)
    prepared(*INPUTS)
    actual = handlens.prepare_for_propagation_comparison(handlens.convert_pt2e(prepared))
    actual(*INPUTS)
    results = handlens.compare_results(
        handlens.extract_results_from_loggers(reference),
        handlens.extract_results_from_loggers(actual),
    )
    assert list(results) == [1, 2, 3]
    for summary in results.values():
        (result,) = summary.results
        assert 20 < float(result.sqnr) < 80
        assert 0 < float(result.mse_loss) < 0.01
    assert results[1].ref_node_name == "conv2d"
    assert results[1].ref_module_stack == "conv2d"


def test_nothing_logged_changes_afterwards() -> None:
    class InPlace(ConvSqueezeConv):
        def forward(self, x: Tensor) -> Tensor:
            y = super().forward(x)
            logged = y + 0
            logged.zero_()
            return logged

    logging = handlens.prepare_for_propagation_comparison(exported(model=InPlace))
    logging(*INPUTS)
    stats: dict[str, Any] = {each.node_name: each.stats[0] for each in loggers(logging)}
    assert stats["add"].abs().sum() > 0
    assert stats["zero_"].abs().sum() == 0


def test_one_handle_that_cannot_be_compared_does_not_end_the_comparison() -> None:
    good: tuple[str, None, list[object]] = ("op", None, [torch.ones(2)])
    results = handlens.compare_results(
        {1: good, 2: ("op", None, [torch.ones(2)]), 3: ("op", None, [None]), 4: good},
        {1: good, 2: ("op", None, [torch.ones(3)]), 3: ("op", None, [None])},
    )
    assert list(results) == [1]


def test_models_that_ran_unequally_often_are_not_compared(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = exported()
    reference, actual = (handlens.prepare_for_propagation_comparison(model) for _ in range(2))
    reference(*INPUTS)
    reference(*INPUTS)
    actual(*INPUTS)
    logged = [handlens.extract_results_from_loggers(each) for each in (reference, actual)]
    assert handlens.compare_results(*logged) == {}
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [
        f"debug handle {handle} ({name}) is left out: cannot compare 2 runs (ref) and 1 (actual)"
        for handle, (name, *_) in logged[0].items()
    ]


def test_the_reference_is_the_signal_in_every_structure_of_outputs() -> None:
    result = handlens.QuantizationComparisonResult(
        actual=[torch.tensor([1000.0]), {"a": torch.tensor([1.0])}, None],
        ref=[torch.tensor([1.0]), {"a": torch.tensor([1.0])}, None],
    )
    assert float(result.sqnr[0]) == pytest.approx(-59.99, abs=0.01)
    assert float(result.sqnr[1]["a"]) == math.inf
    assert result.sqnr[2] is None
    assert float(result.mse_loss[0]) == 999.0**2


@pytest.mark.parametrize(
    ("ref", "actual"),
    [
        (torch.ones(2), torch.ones(3)),
        ([torch.ones(1)], [torch.ones(1)] * 2),
        ({"a": torch.ones(1)}, {"b": torch.ones(1)}),
        ([torch.ones(1)], [1]),
        (None, torch.ones(1)),
    ],
)
def test_what_cannot_be_compared_is_refused(ref: object, actual: object) -> None:
    with pytest.raises(ValueError, match=r"cannot compare|must be"):
        handlens.QuantizationComparisonResult(actual=actual, ref=ref)
