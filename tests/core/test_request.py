"""What a client asks for arrives at the worker as it was, through JSON data."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from handlens.dataclass_json import from_json
from handlens.request import AdviceRequest, RunRequest
from handlens.targets import Target


def test_a_request_goes_through_json_data() -> None:
    target = Target("main", "configured", "model.py", adjust={"conv": ("weight-8-bit",)})
    request = RunRequest(
        target,
        keep_float=("stem", 7),
        adjust=(("conv", "activation-16-bit"), (3, "weight-per-channel")),
    )
    assert from_json(RunRequest, json.loads(json.dumps(asdict(request)))) == request


@pytest.mark.parametrize("adjust", [[["conv", "better"]], [[True, "weight-8-bit"]], {"conv": "x"}])
def test_what_is_no_adjustment_is_refused(adjust: object) -> None:
    data = asdict(RunRequest(Target("main", "function", "model.py")))
    with pytest.raises(ValueError, match="not a RunRequest"):
        from_json(RunRequest, {**data, "adjust": adjust})


def test_only_a_run_that_is_asked_for_advice_has_that_stage() -> None:
    target = Target("main", "function", "model.py")
    compared = ("load", "export", "quantize", "compare")
    assert RunRequest(target).stages == compared
    assert RunRequest(target, advise=AdviceRequest()).stages == (*compared, "advise")
