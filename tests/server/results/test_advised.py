"""What an editor offers of an advice, in words."""

from __future__ import annotations

from dataclasses import replace

from handlens.advice_report import Advice, Alone, Change, ChangeKind, Cost, Scores, Step
from handlens.advised import gain, of_op
from handlens_server.results import advised

FREE = Cost(0.0, 0.0)


def change(name: str, *handles: int, kind: ChangeKind = "keep-float") -> Change:
    return Change(kind, (name,), handles, name)


CONV, NORM, RELU, LINEAR = (
    change("conv", 1, 2),
    change("norm", 3),
    change("relu", 4),
    change("linear", 5, 6),
)
PER_CHANNEL = change("linear", 5, 6, kind="weight-per-channel")
ADVICE = Advice(
    Scores(9.16),
    steps=(
        Step(CONV, Scores(39.46), FREE),
        Step(NORM, Scores(41.0), FREE),
        Step(RELU, Scores(42.59), FREE),
        Step(LINEAR, Scores(None, exact=True), FREE),
    ),
    alone=(
        Alone(CONV, Scores(39.46), FREE),
        Alone(LINEAR, Scores(9.5), FREE),
        Alone(NORM, Scores(9.2), FREE),
    ),
    alternatives=(Alone(PER_CHANNEL, Scores(30.1), FREE),),
)


def offered(handle: int, advice: Advice = ADVICE) -> list[str]:
    return [f"{offer.title}: {gain(advice, offer.output)}" for offer in of_op(advice, handle)]


def test_an_op_that_wins_alone_is_offered_alone() -> None:
    assert offered(1) == offered(2) == ["Keep conv in float: output 9.2 → 39.5 dB"]
    [offer] = of_op(ADVICE, 1)
    assert advised.is_best(ADVICE, offer)


def test_an_op_that_wins_nothing_alone_is_offered_with_what_it_needs() -> None:
    assert offered(3) == ["Keep conv and norm in float: output 9.2 → 41.0 dB"]
    assert offered(4) == ["Keep conv, norm and relu in float: output 9.2 → 42.6 dB"]
    assert not any(advised.is_best(ADVICE, offer) for offer in of_op(ADVICE, 3))


def test_the_ops_of_several_units_are_one_list() -> None:
    pool = change("pool and flatten", 7, 8)
    advice = replace(ADVICE, steps=(ADVICE.steps[1], Step(pool, Scores(41.0), FREE)))
    assert offered(7, advice) == ["Keep norm, pool and flatten in float: output 9.2 → 41.0 dB"]


def test_what_can_be_done_instead_is_offered_too() -> None:
    assert offered(5) == [
        "Keep linear in float: output 9.2 → 9.5 dB",
        "Quantize the weight of linear per channel: output 9.2 → 30.1 dB",
    ]


def test_what_was_not_measured_is_not_offered() -> None:
    assert offered(7) == []


def test_many_changes_are_counted_by_their_ops() -> None:
    whole = advised.whole(ADVICE)
    assert whole is not None
    assert whole.title == "Keep 6 ops in float"
    assert whole.reached == "6 ops in float: exact"
    assert advised.summary(ADVICE) == "keep 6 ops in float: output 9.2 dB → exact"


def test_changes_of_several_kinds_are_no_ops_in_float() -> None:
    mixed = replace(ADVICE, steps=(*ADVICE.steps[:1], Step(PER_CHANNEL, Scores(40.0), FREE)))
    whole = advised.whole(mixed)
    assert whole is not None
    assert (whole.title, whole.reached) == ("Make 2 changes", "2 changes: 40.0 dB")


def test_the_wish_limits_what_is_recommended() -> None:
    whole = advised.whole(replace(ADVICE, reach_db=40.0))
    assert whole is not None
    assert whole.title == "Keep conv and norm in float"


def test_a_metric_takes_the_place_of_the_ratio() -> None:
    advice = Advice(
        Scores(20.0, metric=0.62),
        "metric",
        alone=(
            Alone(CONV, Scores(19.0, metric=0.974), FREE),
            Alone(NORM, Scores(30.0, metric=0.62), FREE),
        ),
    )
    assert offered(1, advice) == ["Keep conv in float: metric 0.62 → 0.974"]
    assert offered(3, advice) == []


def test_the_search_tells_the_best_so_far() -> None:
    assert advised.so_far(replace(ADVICE, steps=())) == "conv → 39.5 dB"
    assert advised.so_far(replace(ADVICE, steps=ADVICE.steps[:2])) == "3 ops → 41.0 dB"
    assert advised.so_far(Advice(Scores(9.16), alone=(Alone(NORM, Scores(9.2), FREE),))) == ""


def test_an_advice_that_has_nothing_says_so() -> None:
    nothing = Advice(Scores(9.16), alone=(Alone(NORM, Scores(9.2), FREE),), units=3)
    assert advised.summary(nothing) == (
        "Nothing that was tried wins enough to be worth a change: "
        "the most is +0.0 dB, to keep norm in float."
    )
    assert advised.summary(Advice(Scores(None), reason="it broke")) == "No advice: it broke"
