"""Findings go to the ops that introduce a loss; the ops that inherit it name them."""

from __future__ import annotations

from typing import Any

import pytest

from handlens.report import Finding, OpReport
from tests.sample_ops import diagnosed, sample_op


def op(handle: int, sqnr_db: float | None, share: float = 0.0, **fields: Any) -> OpReport:
    """An op with a share in the noise at its output, which is 40 dB under the signal."""
    introduces = {"introduced_verdict": "ok", "introduced_sqnr_db": 40.0} if share else {}
    named = {"op": f"aten.op{handle}.default", "introduced_share": share}
    return sample_op(handle, sqnr_db, **(named | introduces | fields))


def found(*ops: OpReport) -> list[tuple[str, str, int | None]]:
    return [(f.rule, f.severity, f.handle) for f in diagnosed(ops)]


def finding(*ops: OpReport) -> Finding:
    (only,) = diagnosed(ops)
    return only


@pytest.mark.parametrize(
    ("sqnr_db", "severity"),
    [(9.9, "error"), (10.0, "warning"), (19.9, "warning"), (20.0, "information")],
)
def test_the_severity_is_that_of_the_accumulated_sqnr(sqnr_db: float, severity: str) -> None:
    assert found(op(1, sqnr_db, 1.0)) == [("HL101", severity, 1)]


@pytest.mark.parametrize("sqnr_db", [30.0, None])
def test_an_op_at_or_over_the_thresholds_is_fine(sqnr_db: float | None) -> None:
    assert found(op(1, sqnr_db, 1.0)) == []


def test_what_comes_after_a_loss_inherits_it_and_names_it() -> None:
    ops = [op(1, 45.0, 1.0), op(2, 12.0, 1.0, module="head"), op(3, 12.5), op(4, 15.0)]
    assert found(*ops) == [("HL101", "warning", 2), ("HL102", "hint", 3), ("HL102", "hint", 4)]
    inherited = diagnosed(ops)[2]
    assert inherited.message == "op4 15.0 dB, inherited from op2 in head"
    assert (inherited.related[0].handle, inherited.related[0].span) == (2, ops[1].span)


def test_an_op_whose_own_ratio_looks_fine_answers_for_the_loss_that_its_noise_becomes() -> None:
    # A loud channel hides the noise in the quiet ones, and the next op reads only those.
    ops = [op(1, 39.0, 1.0, module="stem"), op(2, 3.0)]
    assert found(*ops) == [("HL101", "error", 1), ("HL102", "hint", 2)]
    charged = diagnosed(ops)[0]
    assert charged.message == "op1 39.0 dB, down to 3.0 dB at op2 · stem"
    assert charged.related[0].span == ops[1].span


def test_an_op_that_loses_much_alone_is_named_however_much_was_lost_before() -> None:
    ops = [op(1, 4.0, 1.0), op(2, 3.0, 0.1, introduced_sqnr_db=13.0)]
    assert found(*ops) == [("HL101", "error", 1), ("HL101", "error", 2)]


def test_a_loss_of_many_small_parts_is_charged_to_none_of_them() -> None:
    ops = [op(1, 45.0, 0.15), *(op(n, 45.0 - n, 0.15) for n in range(2, 16)), op(16, 29.0, 0.15)]
    assert found(*ops) == [("HL102", "hint", 16)]
    assert "many small losses" in diagnosed(ops)[0].message


def test_the_way_to_the_origin_is_through_the_worst_input() -> None:
    ops = [op(1, 40.0, 1.0), op(2, 11.0, 1.0, inputs=()), op(3, 12.0, inputs=(1, 2))]
    assert found(*ops) == [("HL101", "warning", 2), ("HL102", "hint", 3)]


def test_two_inputs_that_lose_alike_are_both_origins() -> None:
    ops = [op(1, 33.0, 1.0), op(2, 32.0, 1.0, inputs=()), op(3, 29.0, inputs=(1, 2))]
    charged = [("HL101", "information", 1), ("HL101", "information", 2)]
    assert found(*ops) == [*charged, ("HL102", "hint", 3)]
    assert diagnosed(ops)[2].related[0].handle == 2


@pytest.mark.parametrize(("name", "origin"), [("add.Tensor", 1), ("matmul.default", 2)])
def test_in_a_sum_the_louder_noise_counts_and_in_a_product_the_worse_ratio(
    name: str, origin: int
) -> None:
    loud = op(1, 20.0, 1.0, mse=1.0)
    quiet = op(2, 10.0, 1.0, mse=0.001, inputs=())
    total = op(3, 9.0, op=f"aten.{name}", mse=1.001, inputs=(1, 2))
    assert diagnosed([loud, quiet, total])[-1].related[0].handle == origin


def test_what_went_two_ways_comes_together_at_its_origin() -> None:
    halves = [op(n, 21.0, 0.0, inputs=(1,)) for n in (2, 3)]
    ops = [op(1, 40.0, 1.0), *halves, op(4, 15.0, 0.6, inputs=(2, 3))]
    assert found(*ops)[0] == ("HL101", "warning", 1)


def test_an_input_that_is_exact_is_no_origin() -> None:
    ops = [op(1, None, mse=0.0), op(2, 25.0, 1.0, mse=1.0, inputs=()), op(3, 24.0, inputs=(1, 2))]
    assert [handle for _, _, handle in found(*ops)] == [2, 3]
    assert found(op(1, None), op(2, 24.0)) == [("HL102", "hint", 2)]


def test_a_line_that_runs_many_times_shows_its_worst_and_lists_all() -> None:
    only = finding(
        op(1, 18.0, 1.0, line=7, module="blocks.0"),
        op(2, 12.0, 1.0, line=7, module="blocks.1"),
        op(3, 19.0, line=7, module="blocks.2", inputs=(2,)),
    )
    assert only.handle == 2
    assert only.message.endswith("· blocks.1")
    assert [related.message for related in only.related] == [
        "op1 18.0 dB · blocks.0",
        "op3 19.0 dB · blocks.2",
    ]


def test_the_first_op_that_is_not_finite_is_an_error() -> None:
    ops = [op(1, 40.0), *(op(n, None, verdict="non-finite") for n in (2, 3))]
    assert found(*ops) == [("HL103", "error", 2)]


@pytest.mark.parametrize(
    ("sqnr_db", "saturated", "clipping_share", "named"),
    [
        (15.0, 0.1, 0.3, True),
        (15.0, 0.1, 0.2, False),
        (15.0, 0.009, 0.9, False),
        (50.0, 0.1, 1.0, False),
    ],
)
def test_clipping_is_named_where_it_costs_accuracy(
    sqnr_db: float, saturated: float, clipping_share: float, named: bool
) -> None:
    clips = op(1, sqnr_db, 1.0, saturated=saturated, clipping_share=clipping_share)
    assert (("HL104", "warning", 1) in found(clips)) == named


def test_a_message_starts_with_what_matters_within_60_characters() -> None:
    message = finding(op(1, 12.34, 1.0, module="features.0")).message
    assert message == "op1 12.3 dB, introduces 40.0 dB · features.0"
