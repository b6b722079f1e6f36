"""What a client asks a worker to run."""

from handlens.request import AdviceRequest, RunRequest
from handlens.targets import Target

TARGET = Target("handlens_x", "function", "/model.py")


def test_only_a_run_that_is_asked_for_advice_has_that_stage() -> None:
    compared = ("load", "export", "quantize", "compare")
    assert RunRequest(TARGET).stages == compared
    assert RunRequest(TARGET, advise=AdviceRequest()).stages == (*compared, "advise")
