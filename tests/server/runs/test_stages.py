"""The texts and percentages of stages."""

from __future__ import annotations

from handlens.request import STAGES as NAMES
from handlens_server.runs.stages import STAGES, STARTING


def test_each_stage_has_a_text_and_they_are_in_order() -> None:
    assert list(STAGES) == [STARTING, *NAMES]
    percentages = [each.percentage for each in STAGES.values() if each.percentage is not None]
    assert percentages == sorted(set(percentages))


def test_nobody_knows_how_long_a_search_takes() -> None:
    assert [name for name, each in STAGES.items() if each.percentage is None] == ["advise"]
