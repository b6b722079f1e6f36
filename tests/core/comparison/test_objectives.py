"""The target's own metric, and all that is measured of outputs."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from handlens.capture.export import capture
from handlens.comparison.compared import Outputs
from handlens.comparison.objectives import (
    MetricFailed,
    Objectives,
    OutputAgreement,
    OutputScores,
)
from handlens.loading.subject import Batch, InvalidTarget, Subject
from handlens.report import Metric

X = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0])


class Classifier(nn.Module):
    """Gives logits, and a list of what else it knows."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> dict[str, Any]:
        return {"logits": self.head(x), "more": [x.sum(), None]}


def objectives(metric: Callable[[Any, Any], Any] | None) -> Objectives:
    model = Classifier().eval()
    return Objectives(capture(model, (X,)), Subject(model, (X,), metric=metric))


def outputs(reference: Tensor, actual: Tensor) -> Outputs:
    return Outputs([reference, X.sum(), None], [actual, X.sum(), None])


def batch(number: int = 1) -> Batch:
    return Batch(number, ((X,), {}), (X, LABELS))


def accuracy(outputs: Any, batch: Any) -> Tensor:
    _, labels = batch
    return (outputs["logits"].argmax(-1) == labels).float().mean()


RIGHT = 9 * torch.eye(3)[LABELS]
HALF_RIGHT = 9 * torch.eye(3)[torch.tensor([0, 1, 0, 1])]


def test_a_metric_gets_the_outputs_as_the_model_returns_them_and_the_batch_as_it_was_given() -> (
    None
):
    given: list[Any] = []

    def metric(*arguments: Any) -> float:
        given.append(arguments)
        return 1.0

    OutputScores(objectives(metric)).add(outputs(RIGHT, HALF_RIGHT), batch())
    [(result, (x, labels))] = given
    assert list(result) == ["logits", "more"]
    assert torch.equal(result["logits"], HALF_RIGHT)
    assert result["more"][1] is None
    assert torch.equal(x, X)
    assert torch.equal(labels, LABELS)


def test_the_metric_of_both_models_is_the_mean_over_the_batches() -> None:
    agreement = OutputAgreement(objectives(accuracy))
    agreement.add(outputs(RIGHT, HALF_RIGHT), batch(1))
    agreement.add(outputs(RIGHT, RIGHT), batch(2))
    assert agreement.metric == Metric("accuracy", 1.0, 0.75)
    assert agreement.logits is not None
    assert (agreement.logits.top1, agreement.logits.rows) == (0.75, 8)


def test_scores_have_what_a_comparison_has() -> None:
    scores = OutputScores(objectives(accuracy))
    agreement = OutputAgreement(objectives(accuracy))
    for number in (1, 2):
        scores.add(outputs(RIGHT, HALF_RIGHT), batch(number))
        agreement.add(outputs(RIGHT, HALF_RIGHT), batch(number))
    assert scores.result.metric == 0.5
    assert scores.result.logits == agreement.logits
    assert scores.result.sqnr_db is not None
    assert not scores.result.exact
    same = OutputScores(objectives(None))
    same.add(outputs(RIGHT, RIGHT), batch())
    assert same.result.exact
    assert same.result.metric is None


def test_outputs_in_half_precision_get_the_type_of_the_models_own() -> None:
    types: list[torch.dtype] = []

    def metric(outputs: Any, batch: Any) -> float:
        types.append(outputs["logits"].dtype)
        return 0.0

    agreement = OutputAgreement(objectives(metric))
    agreement.add(outputs(RIGHT, RIGHT.bfloat16()), batch())
    assert types == [torch.float32, torch.float32]


def test_what_a_metric_does_to_its_arguments_and_to_random_numbers_stays_with_it() -> None:
    def metric(outputs: Any, batch: Any) -> float:
        outputs["logits"].zero_()
        outputs.clear()
        batch[0].zero_()
        torch.rand(1)
        return random.random()

    agreement = OutputAgreement(objectives(metric))
    measured = outputs(RIGHT.clone(), RIGHT.clone())
    now = Batch(1, ((X,), {}), (X.clone(), LABELS))
    before = torch.get_rng_state(), random.getstate()
    agreement.add(measured, now)
    assert torch.equal(measured.actual[0], RIGHT)
    assert torch.equal(now.given[0], X)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (True, 1.0),
        (torch.tensor([[0.5]]), 0.5),
        (torch.tensor(3), 3.0),
        (X.numpy().sum() * 0 + 0.25, 0.25),
        (float("nan"), None),
        (float("-inf"), None),
    ],
)
def test_a_metric_may_return_a_number_of_any_type(value: Any, expected: float | None) -> None:
    scores = OutputScores(objectives(lambda outputs, batch: value))
    scores.add(outputs(RIGHT, RIGHT), batch())
    assert scores.result.metric == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "None"),
        ("0.9", "a str"),
        (X, "a Tensor"),
        ((1.0, 2.0), "a tuple of 2"),
        (1j, "a comp"),
    ],
)
def test_a_metric_that_returns_no_number_is_refused(value: Any, kind: str) -> None:
    scores = OutputScores(objectives(lambda outputs, batch: value))
    with pytest.raises(InvalidTarget, match=f"metric returned {kind}"):
        scores.add(outputs(RIGHT, RIGHT), batch())


def test_a_metric_that_raises_says_for_which_outputs() -> None:
    def top5(outputs: Any, batch: Any) -> float:
        if not bool(outputs["logits"].isfinite().all()):
            raise ValueError("NaN")
        return 1.0

    agreement = OutputAgreement(objectives(top5))
    with pytest.raises(MetricFailed) as raised:
        agreement.add(outputs(RIGHT, RIGHT * float("nan")), batch(3))
    assert raised.value.what == (
        "top5 failed on the outputs of the quantized model for evaluation batch 3"
    )
    assert isinstance(raised.value.error, ValueError)
