"""Inputs are taken as the signature of forward takes them, in whichever usual way they are given."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from handlens.loading.inputs import Inputs, Unreadable, arranged, cloned
from handlens.loading.subject import InvalidTarget, Subject

from ..conftest import RunText

X, Y, M = torch.zeros(1), torch.ones(1), torch.full((1,), 2.0)
LABELS = torch.tensor([3])


class One(nn.Module):
    def forward(self, x: Tensor) -> None: ...


class Masked(nn.Module):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> None: ...


class Two(nn.Module):
    def forward(self, x: Tensor, extra: dict[str, Tensor]) -> None: ...


class Keyword(nn.Module):
    def forward(self, x: Tensor, *, scale: Tensor) -> None: ...


class Levels(nn.Module):
    def forward(self, levels: list[Tensor]) -> None: ...


class Anything(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> None: ...


@pytest.mark.parametrize(
    ("model", "given", "args", "kwargs"),
    [
        (One(), X, (X,), {}),
        (One(), (X,), (X,), {}),
        (One(), [X], (X,), {}),
        (One(), {"x": X}, (), {"x": X}),
        (One(), UserDict(x=X), (), {"x": X}),
        (Masked(), (X, M), (X, M), {}),
        (Masked(), [X, M], (X, M), {}),
        (Masked(), ((X,), {"mask": M}), (X,), {"mask": M}),
        (Masked(), ([X], {"mask": M}), (X,), {"mask": M}),
        (Masked(), (X, {"mask": M}), (X,), {"mask": M}),
        (Masked(), {"x": X, "mask": M}, (), {"x": X, "mask": M}),
        (Two(), (X, {"b": M}), (X, {"b": M}), {}),
        (Two(), [X, {"b": M}], (X, {"b": M}), {}),
        (Two(), ((X, {"b": M}), {}), (X, {"b": M}), {}),
        (Keyword(), (X, {"scale": M}), (X,), {"scale": M}),
        (Keyword(), ((X,), {"scale": M}), (X,), {"scale": M}),
        (Levels(), [X, Y], ([X, Y],), {}),
        (Levels(), ([X, Y],), ([X, Y],), {}),
        (Anything(), (X, Y), (X, Y), {}),
        (Anything(), ((X, Y), {"z": M}), (X, Y), {"z": M}),
        (Anything(), (X, {"z": M}), (X, {"z": M}), {}),
        (Anything(), {"z": M}, (), {"z": M}),
    ],
)
def test_what_people_give_is_taken_as_they_mean_it(
    model: nn.Module, given: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    if isinstance(model, Levels) and isinstance(given, tuple):
        # It says that it takes a list, and a tuple of one list are its arguments.
        found = arranged(given, model, like=(args, kwargs))
    else:
        found = arranged(given, model)
    assert _spelled(found) == _spelled((args, kwargs))


def _spelled(value: Any) -> str:
    return repr(value)


@pytest.mark.parametrize("given", [(X, Y), ([X], [Y], [M]), {"y": X, "z": X}])
def test_what_forward_does_not_take_is_refused_with_its_signature(given: Any) -> None:
    with pytest.raises(Unreadable, match=r"forward takes \(x: "):
        arranged(given, One(), like=((X,), {}))


def test_a_batch_is_read_as_the_example_is() -> None:
    example = arranged((X, {"b": M}), Two())
    assert _spelled(arranged([Y, {"b": M}], Two(), like=example)) == _spelled(((Y, {"b": M}), {}))
    # The pairs of a data loader have labels, which are no input.
    subject = Subject(One(), (X,), evaluation=[[X, torch.tensor(3)]])
    with pytest.raises(InvalidTarget, match="evaluation has a list"):
        list(subject.evaluation_inputs())


@pytest.mark.parametrize(
    ("model", "example", "batch", "args", "kwargs"),
    [
        (One(), ((X,), {}), [Y, LABELS], (Y,), {}),
        (One(), ((X,), {}), (Y, {"boxes": M}, LABELS), (Y,), {}),
        (One(), ((X,), {}), ((Y,), LABELS), (Y,), {}),
        (One(), ((X,), {}), Y, (Y,), {}),
        (One(), ((), {"x": X}), {"x": Y, "label": LABELS}, (), {"x": Y}),
        (One(), ((), {"x": X}), ({"x": Y}, LABELS), (), {"x": Y}),
        # Labels are no mask, though forward would take them as one.
        (Masked(), ((X,), {}), (Y, LABELS), (Y,), {}),
        (Masked(), ((X, M), {}), (Y, M, LABELS), (Y, M), {}),
        (Masked(), ((X, M), {}), ((Y, M), LABELS), (Y, M), {}),
        (Levels(), (([X, X],), {}), ([Y, Y], LABELS), ([Y, Y],), {}),
    ],
)
def test_with_a_metric_a_batch_may_have_labels_beside_its_inputs(
    model: nn.Module, example: Inputs, batch: Any, args: Any, kwargs: Any
) -> None:
    subject = Subject(model, *example, None, [batch], [batch], metric=lambda outputs, batch: 0.0)
    [given] = subject.evaluation_batches()
    assert _spelled(given.inputs) == _spelled((args, kwargs))
    assert given.given is batch
    assert _spelled(list(subject.calibration_inputs())) == _spelled([(args, kwargs)])


def test_a_batch_without_the_inputs_is_refused_whatever_else_it_has() -> None:
    subject = Subject(Two(), (X, {"b": M}), evaluation=[(LABELS,)], metric=lambda *_: 0.0)
    with pytest.raises(InvalidTarget, match="evaluation has a tuple of 1"):
        list(subject.evaluation_batches())


def test_batches_are_copies_and_what_is_one_tensor_stays_one() -> None:
    subject = Subject(Masked(), (X, X), calibration=[(X, X)])
    for _ in range(2):
        [((x, mask), _)] = subject.calibration_inputs()
        assert x is mask
        assert torch.equal(x, torch.zeros(1))
        x.add_(1)
    assert torch.equal(X, torch.zeros(1))
    nested = {"a": [X, (Y, None)], "n": 3}
    copied = cloned(nested)
    assert copied["a"][0] is not X
    assert copied["n"] == 3


_MODEL = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        FORWARD

def handlens_main():
    torch.manual_seed(0)
    return {"model": Model().eval(), "example_inputs": (torch.rand(4, 3, 8, 8) * 255,)}
"""


def test_a_forward_that_changes_its_input_is_calibrated_and_evaluated_on_what_was_given(
    run_text: RunText,
) -> None:
    in_place = run_text(_MODEL.replace("FORWARD", "return self.conv(x.sub_(120.0).div_(60.0))"))
    pure = run_text(_MODEL.replace("FORWARD", "return self.conv(x.sub(120.0).div(60.0))"))
    assert in_place.output == pure.output
    assert in_place.verified is not None
    assert in_place.verified.verdict == "exact"
    ratios = [[each.sqnr_db for each in report.ops] for report in (in_place, pure)]
    assert ratios[0] == ratios[1]


def test_a_mask_that_is_given_by_name_is_used(run_text: RunText) -> None:
    report = run_text(
        """
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(16, 8)

            def forward(self, x, mask=None):
                y = self.linear(x)
                return y if mask is None else y * mask

        def handlens_main():
            x, mask = torch.randn(4, 16), torch.ones(4, 8)
            return {"model": Model().eval(), "example_inputs": ((x,), {"mask": mask})}
        """
    )
    assert [each.name for each in report.ops] == ["linear", "mul"]


def test_inputs_that_forward_does_not_take_are_an_invalid_target(run_text: RunText) -> None:
    report = run_text(
        """
        import torch

        def handlens_main():
            return torch.nn.Linear(4, 4), (torch.ones(4), torch.ones(4), torch.ones(4))
        """
    )
    assert report.error is not None
    assert report.error.rule == "HL305"
    assert "example_inputs has a tuple of 3: forward takes (input" in report.error.message


def test_batches_of_several_lengths_are_pooled(run_text: RunText) -> None:
    report = run_text(
        """
        import torch
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.q, self.k = nn.Linear(16, 16), nn.Linear(16, 16)

            def forward(self, x, mask):
                scores = self.q(x) @ self.k(x).transpose(1, 2) + mask
                return torch.softmax(scores, -1) @ x

        def batch(n):
            return torch.randn(2, n, 16), torch.zeros(2, n, n)

        def handlens_main():
            torch.manual_seed(0)
            n = torch.export.Dim("n", min=2, max=512)
            data = [batch(24), batch(7), batch(40)]
            return {
                "model": Model().eval(),
                "example_inputs": batch(8),
                "dynamic_shapes": ({1: n}, {1: n, 2: n}),
                "calibration": data,
                "evaluation": data,
                "recipe": "xnnpack",
            }
        """
    )
    assert report.status == "ok", report.error
    assert report.batches == 3
    assert {each.executions for each in report.ops} == {3}
    # How many keys there are varies: they are no channels.
    [matmul, _] = [each for each in report.ops if each.name == "matmul"]
    assert not [each for each in matmul.channels if each.role == "output"]
