"""Advice on real models: what it tells is what the recipe gives, and what it accuses is guilty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from handlens import targets
from handlens.advice_report import Advice
from handlens.diagnosis import judge
from handlens.diagnosis.rules.low_sqnr import LowSqnr
from handlens.report import Report
from handlens.request import AdviceRequest, RunRequest
from handlens.session import Session

from ..conftest import EXAMPLES

REPORTS = Path(__file__).parents[1] / "reports"


class Advised:
    """A run of an example, with advice."""

    def __init__(
        self, file: Path, name: str = "", recipe: str | None = None, **advise: object
    ) -> None:
        found = targets.discover(file.read_text(), str(file))
        self.target = next(each for each in found if name in ("", each.name))
        asked = AdviceRequest(**advise)  # type: ignore[arg-type]
        self.request = RunRequest(
            self.target, recipe=recipe, workspace=(str(file.parent),), advise=asked
        )
        self.session = Session(self.request, lambda stage: None)
        self.plain = (
            self.session.load() or self.session.export() or self.session.compare(self.request)
        )
        self.told: list[Advice] = []
        self.report = self.session.advise(self.plain, asked, self.told.append)

    @property
    def advice(self) -> Advice:
        assert self.report.advice is not None
        assert not self.report.advice.reason
        return self.report.advice

    def with_changes(self, count: int) -> Report:
        """A run with the first changes of the advice, as a target would name them."""
        entries = [entry for each in self.advice.steps[:count] for entry in each.change.entries]
        return self.session.compare(replace(self.request, keep_float=tuple(entries)))

    def named(self, report: Report) -> list[int | None]:
        judged = judge(report, (), {}, self.target.declaration)
        return [each.handle for each in judged.findings if each.rule == LowSqnr.code]


@pytest.fixture(scope="module")
def tiny_cnn() -> Advised:
    return Advised(EXAMPLES / "tiny_cnn.py")


def test_each_step_is_what_the_recipe_gives_with_its_entries(tiny_cnn: Advised) -> None:
    for count, step in enumerate(tiny_cnn.advice.steps, 1):
        output = tiny_cnn.with_changes(count).output
        assert output is not None
        if step.output.exact:
            assert output.verdict == "exact"
        else:
            assert output.sqnr_db == pytest.approx(step.output.sqnr_db, abs=0.01)


def test_it_comes_in_parts_and_the_last_is_in_the_report(tiny_cnn: Advised) -> None:
    told = tiny_cnn.told
    assert told[-1] == tiny_cnn.advice
    assert not any(each.complete for each in told[:-1])
    assert [each.measurements for each in told] == sorted(each.measurements for each in told)


def test_what_is_recommended_was_run(tiny_cnn: Advised) -> None:
    advice = tiny_cnn.advice
    assert advice.steps[advice.recommended - 1].verified


@pytest.mark.parametrize("recipe", ["xnnpack", "int8-dynamic", "bf16"])
def test_recipes_of_every_kind(recipe: str) -> None:
    advised = Advised(EXAMPLES / "transformer_block.py", recipe=recipe, most=2)
    output = advised.with_changes(2).output
    assert output is not None
    assert output.sqnr_db == pytest.approx(advised.advice.steps[1].output.sqnr_db, abs=0.01)


def test_the_wish_ends_the_search() -> None:
    advice = Advised(EXAMPLES / "tiny_cnn.py", reach_db=40.0).advice
    assert [step.output.sqnr_db >= 40.0 for step in advice.steps if step.output.sqnr_db] == [True]


def test_a_spent_budget_leaves_what_was_found() -> None:
    advice = Advised(EXAMPLES / "tiny_cnn.py", budget_s=0.0).advice
    assert not advice.complete
    assert advice.alone


def test_an_op_that_wins_nothing_in_float_is_not_accused() -> None:
    advised = Advised(REPORTS / "boxes_and_scores.py", "handlens_phone")
    assert advised.named(advised.plain)
    assert not advised.named(advised.report)


def test_the_help_of_an_accusation_is_what_was_measured(tiny_cnn: Advised) -> None:
    judged = judge(tiny_cnn.report, (), {}, tiny_cnn.target.declaration)
    before = judge(tiny_cnn.plain, (), {}, tiny_cnn.target.declaration)
    helps = [each.cause.help for each in judged.findings if each.rule == LowSqnr.code]
    assert any(each.startswith("keep conv2 and relu in float: output 9.2 → ") for each in helps)
    assert not any("in float" in each.cause.help for each in before.findings)
