"""What is said of data and models that make numbers mean less than they seem to, and no more than that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from handlens.caveats import caveats
from handlens.loading.subject import build
from handlens.targets import Target

from .conftest import RunText


def said(
    *evaluation: Tensor,
    calibration: list[Any] | None = None,
    example: Tensor | None = None,
    model: nn.Module | None = None,
    batches: int | None = None,
    is_calibrated: bool = True,
) -> list[str]:
    given: dict[str, Any] = {
        "model": nn.Identity() if model is None else model,
        "example_inputs": (picture() if example is None else example,),
    }
    if evaluation:
        given["evaluation"] = [(each,) for each in evaluation]
    if calibration is not None:
        given["calibration"] = [(each,) for each in calibration]
    module: Any = type("module", (), {"handlens_main": staticmethod(lambda: given)})
    subject = build(Target("handlens_main", "function", "/net.py"), module)
    count = len(list(subject.evaluation_batches())) if batches is None else batches
    return [each.what for each in caveats(subject, count, is_calibrated)]


def picture(samples: int = 32, seed: int = 0) -> Tensor:
    """Values that depend on their neighbours, normalized."""
    noise = torch.randn(samples, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    smooth = nn.functional.avg_pool2d(noise, 5, 1, 2)
    return (smooth - smooth.mean()) / smooth.std()


def random(kind: str, seed: int, samples: int = 32) -> Tensor:
    draw: Any = {"normal": torch.randn, "uniform": torch.rand}[kind]
    values: Tensor = draw(samples, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    return values


def test_data_that_are_real_enough_have_no_caveat() -> None:
    assert said(picture(), picture(seed=1), calibration=[picture(seed=2)]) == []


def test_the_example_inputs_alone_are_told_once() -> None:
    assert said() == ["calibrated and compared on the example inputs alone"]
    assert said(is_calibrated=False) == ["compared on the example inputs alone"]
    example = picture()
    assert said(example, example=example) == ["calibrated and compared on the example inputs alone"]


def test_calibration_on_the_example_inputs_is_told() -> None:
    assert said(picture(seed=1)) == ["calibrated on the example inputs alone"]
    assert said(picture(seed=1), is_calibrated=False) == []


def test_the_same_batches_for_both_are_told() -> None:
    both = [picture(seed=1), picture(seed=2)]
    assert said(*both, calibration=[each.clone() for each in both]) == [
        "calibrated and compared on the same batches"
    ]
    assert said(*both, calibration=both, is_calibrated=False) == []
    assert said(*both, calibration=[both[0]]) == []


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("seed", range(20))
def test_random_inputs_are_known(kind: str, seed: int) -> None:
    assert said(random(kind, seed), calibration=[picture(seed=9)]) == [
        "compared on evaluation batches, which are random numbers"
    ]
    assert said(example=random(kind, seed)) == [
        "calibrated and compared on the example inputs alone, which are random numbers"
    ]


@pytest.mark.parametrize(
    "values",
    [
        picture(),
        picture().sigmoid(),
        torch.zeros(32, 3, 32, 32),
        torch.ones(32, 4000),
        torch.full((32, 4000), float("nan")),
        torch.linspace(0, 1, 1 << 16).view(32, -1),
        random("normal", 0) * 0.2,
        random("normal", 0) + 0.1,
        random("normal", 0).relu(),
        random("uniform", 0) * 255,
        random("uniform", 0).round(),
        random("normal", 0).cumsum(0) / 4,
        torch.randn(32, 8),
        torch.randint(0, 9, (32, 3, 32, 32)),
    ],
)
def test_other_inputs_are_not_taken_for_random(values: Tensor) -> None:
    assert said(values, calibration=[picture(seed=9)]) == []


@pytest.mark.parametrize("samples", [1, 15])
def test_one_small_batch_is_told(samples: int) -> None:
    assert said(picture(samples), calibration=[picture(seed=9)]) == [
        f"compared on one batch, of {samples}"
    ]
    assert said(picture(16), calibration=[picture(seed=9)]) == []


def untrained() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.LayerNorm(32))


def mixed() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), nn.LayerNorm(64), nn.Linear(64, 32))


def seen() -> nn.Module:
    """The batch norm of a model that was folded into its convolution, and left in its place."""
    model = untrained()
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1000
    return model


def moved() -> nn.Module:
    model = untrained()
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    norm.running_mean[1] = 0.1
    return model


def scaled() -> nn.Module:
    model = mixed()
    assert isinstance(model[1], nn.LayerNorm)
    with torch.no_grad():
        model[1].weight[3] = 1.1
    return model


def rotated() -> nn.Module:
    """The scales of its norms are in the weights, as where these were rotated."""
    model = mixed()
    with torch.no_grad():
        for each in (model[0], model[2]):
            assert isinstance(each, nn.Linear)
            each.weight.copy_(torch.randn(each.weight.shape) / 8)
    return model


@pytest.mark.parametrize("model", [seen, moved, scaled, rotated])
def test_a_model_that_was_trained_is_not_called_untrained(model: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    assert said(picture(), calibration=[picture(seed=2)], model=model()) == []


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (untrained, "batch norms are"),
        (mixed, "normalizations and weights are"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 64, 3), nn.GroupNorm(1, 64)),
            "normalizations and weights are",
        ),
    ],
)
def test_a_model_that_is_as_it_was_made_is_not_trained(
    model: Callable[[], nn.Module], parts: str
) -> None:
    torch.manual_seed(0)
    assert said(picture(), calibration=[picture(seed=2)], model=model()) == [
        f"the model is not trained, its {parts} as they were made"
    ]


def test_a_model_without_norms_may_be_trained() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(32, elementwise_affine=False))
    assert said(picture(), calibration=[picture(seed=2)], model=model) == []


def test_a_run_tells_its_caveats(run_text: RunText) -> None:
    report = run_text(
        "import torch\n"
        "def handlens_main():\n"
        "    return torch.nn.Linear(64, 8), (torch.randn(32, 64),)\n"
    )
    assert [each.what for each in report.caveats] == [
        "calibrated and compared on the example inputs alone, which are random numbers"
    ]


def test_objects_that_cannot_be_looked_at_have_no_caveat(run_text: RunText) -> None:
    report = run_text(
        "import torch\n"
        "class Batch(tuple):\n"
        "    def __eq__(self, other):\n"
        "        raise RuntimeError\n"
        "    __hash__ = tuple.__hash__\n"
        "def handlens_main():\n"
        "    batches = [Batch((torch.ones(2, 4),))]\n"
        "    return dict(model=torch.nn.Linear(4, 4), example_inputs=(torch.ones(2, 4),),\n"
        "                calibration=batches, evaluation=batches)\n"
    )
    assert report.status == "ok"
