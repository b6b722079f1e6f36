"""Models that public bug reports describe: which line is named, and that no other is.

The targets are in ``reports``, one file for each report; the docstring tells where it comes from and what
is right. Where something helps, there is a target with it, and the ratio shows that it does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handlens import targets
from handlens.recipes.leftovers import KEPT
from handlens.report import Finding, Report, Span
from handlens.request import RunRequest
from tests.needs import HAS_COLUMNS, NO_COLUMNS

from .conftest import run as run_judged

REPORTS = Path(__file__).parent / "reports"

Check = Callable[[str], Report]


@pytest.fixture(scope="module")
def check() -> Iterator[Check]:
    """Gives the report of ``topic::name``. Each target is run once."""
    reports: dict[str, Report] = {}
    known = sys.path[:], sys.meta_path[:]

    def run(spec: str) -> Report:
        if spec not in reports:
            topic, _, name = spec.partition("::")
            file = REPORTS / f"{topic}.py"
            (target,) = (
                each
                for each in targets.discover(file.read_text(), str(file))
                if each.name == f"handlens_{name}"
            )
            reports[spec] = run_judged(RunRequest(target, workspace=(str(REPORTS),)))
        return reports[spec]

    yield run
    sys.path[:], sys.meta_path[:] = known


def named(report: Report, *rules: str) -> dict[str, Finding]:
    """The findings of these rules (HL101 and HL103 if there is none), by the expression they are on."""
    assert report.status == "ok", report.error
    lines = Path(report.file).read_text().split("\n")
    found = {
        expression(lines, f.span): f
        for f in report.findings
        if f.rule in (rules or ("HL101", "HL103")) and f.span is not None
    }
    if found and not HAS_COLUMNS:
        pytest.skip(NO_COLUMNS)
    return found


def expression(lines: list[str], span: Span) -> str:
    """The text under a span; one of several lines as if it were written in one."""
    first, *others = lines[span.line - 1 : span.end_line]
    first, *others = [first, *others[:-1], *(each[: span.end_column] for each in others[-1:])]
    if not others:
        return first[span.column : span.end_column]
    return " ".join(each.strip() for each in (first[span.column :], *others))


def output(report: Report) -> float:
    """The SQNR of the outputs in dB."""
    assert report.status == "ok", report.error
    assert report.output is not None
    assert report.output.sqnr_db is not None, report.output.verdict
    return report.output.sqnr_db


def is_broken(report: Report) -> bool:
    """Whether the outputs are NaN or infinite where they should not be."""
    assert report.status == "ok", report.error
    return report.output is not None and report.output.verdict == "non-finite"


def why(finding: Finding) -> str:
    return finding.cause.why


def help_of(finding: Finding) -> str:
    return finding.cause.help


# -- values that float16 does not have -------------------------------------------------------------

# The op that overflows, how far its values reach, and a target of the same model that is fine.
OVERFLOWS = [
    ("rms_norm_overflow::half", "wide.pow(2)", 1.6e6, "squared_in_float"),
    ("attention_logits::scaled_after", "query @ key.transpose(-2, -1)", 1.88e5, "scaled_before"),
    ("feed_forward_overflow::half", "self.wo(hidden)", 6.78e4, "scaled_down"),
    ("log_sum_exp::exponential", "torch.exp(logits)", 1.01e6, "built_in"),
    ("log_sum_exp::sum", "torch.exp(logits).sum(dim=-1)", 4.01e5, "built_in"),
    ("log_mel_front_end::loud", "im * im", 4.23e5, "scaled"),
    ("pooled_sum::sum", "x.sum((2, 3))", 8.2e4, "mean"),
    (
        "residual_overflow::long",
        "x + self.down(torch.nn.functional.gelu(self.up(x)))",
        1.0e5,
        "",
    ),
]


@pytest.mark.parametrize(
    ("target", "expression", "reaches", "mended"), OVERFLOWS, ids=[each[0] for each in OVERFLOWS]
)
def test_the_op_that_overflows_is_named_alone(
    check: Check, target: str, expression: str, reaches: float, mended: str
) -> None:
    report = check(target)
    assert list(named(report, "HL103")) == [expression]
    # What the cast of the model's input costs is told, too, and told apart.
    others = [f for text, f in named(report).items() if text != expression]
    assert all("the model's input" in why(f) for f in others)
    if mended:
        mended_report = check(f"{target.partition('::')[0]}::{mended}")
        assert output(mended_report) > 55
        assert not named(mended_report)


@pytest.mark.parametrize(
    ("target", "expression", "reaches", "mended"), OVERFLOWS, ids=[each[0] for each in OVERFLOWS]
)
def test_the_cause_tells_how_far_the_values_reach(
    check: Check, target: str, expression: str, reaches: float, mended: str
) -> None:
    cause = why(named(check(target))[expression])
    assert "65504" in cause
    numbers = [float(word.strip(",")) for word in cause.split() if word[0].isdigit()]
    assert max(numbers) == pytest.approx(reaches, rel=0.01)


def test_what_an_overflow_becomes_is_not_a_sum_of_small_losses(check: Check) -> None:
    report = check("rms_norm_overflow::half")
    assert output(report) < 1
    inherited = named(report, "HL102")
    assert {"torch.rsqrt(variance + 1e-6)", "self.head(self.norm(self.embed(x)))"} <= set(inherited)
    for finding in inherited.values():
        assert "inherited from pow" in finding.message


def test_bfloat16_has_the_range_of_float32(check: Check) -> None:
    assert output(check("rms_norm_overflow::brain_float")) > 45
    assert output(check("feed_forward_overflow::brain_float")) > 45
    assert output(check("normalize_epsilon::brain_float")) > 45
    assert output(check("masked_fill_constant::brain_float")) > 45
    assert output(check("masked_fill_constant::phone")) > 35


def test_an_overflow_comes_back_where_only_its_op_is_kept_in_float(check: Check) -> None:
    kept = check("feed_forward_overflow::layer_in_float")
    assert list(named(kept)) == ["x + self.wo(hidden)"]
    assert output(check("feed_forward_overflow::block_in_float")) > 65


@pytest.mark.parametrize(
    ("target", "expression"), [each[:2] for each in OVERFLOWS], ids=[each[0] for each in OVERFLOWS]
)
def test_an_op_that_overflows_is_not_to_be_kept_in_float_alone(
    check: Check, target: str, expression: str
) -> None:
    advice = help_of(named(check(target))[expression])
    assert advice
    assert "keep the op in float32," not in advice


ZERO_DIVISORS = [
    (
        "normalize_epsilon::padding",
        "F.normalize(self.project(x), dim=-1, eps=self.epsilon)",
        "larger_epsilon",
        70,
    ),
    (
        "normalize_epsilon::equal_scores",
        "(scores - low) / (high - low + self.epsilon)",
        "equal_scores_larger_epsilon",
        70,
    ),
    (
        "log_mel_front_end::silence",
        "torch.log(power @ self.mel + self.epsilon)",
        "scaled",
        55,
    ),
]


@pytest.mark.parametrize(("target", "expression", "mended", "db"), ZERO_DIVISORS)
def test_an_epsilon_that_is_zero_in_float16_is_the_cause(
    check: Check, target: str, expression: str, mended: str, db: float
) -> None:
    report = check(target)
    assert is_broken(report)
    findings = named(report)
    assert list(findings) == [expression]
    assert "are zero in the quantized model" in why(findings[expression])
    assert "add an epsilon that is not rounded away" in help_of(findings[expression])
    mended_report = check(f"{target.partition('::')[0]}::{mended}")
    assert output(mended_report) > db
    assert not named(mended_report)


@pytest.mark.parametrize(
    ("target", "source"),
    [
        ("normalize_epsilon::padding", "clamp_min"),
        ("normalize_epsilon::equal_scores", "add"),
        ("log_mel_front_end::silence", "add"),
    ],
)
def test_what_is_cast_back_to_zero_is_not_to_be_kept_in_float_alone(
    check: Check, target: str, source: str
) -> None:
    (finding,) = named(check(target)).values()
    assert f"of {source}" in why(finding)
    assert f"keep {source} in float" not in help_of(finding)


def test_a_constant_that_float16_does_not_have_is_told_at_its_line(check: Check) -> None:
    report = check("masked_fill_constant::half")
    lines = Path(report.file).read_text().split("\n")
    (finding,) = (
        each
        for each in report.findings
        if each.span and "masked_fill(" in lines[each.span.line - 1] and each.severity == "error"
    )
    assert re.search(r"-1e\+?0?9", finding.message + finding.cause.why)


def test_a_mask_that_is_added_twice_overflows_at_the_addition(check: Check) -> None:
    report = check("double_mask::left_padding")
    assert list(named(report, "HL103")) == ["scores + mask"]


@pytest.mark.parametrize("target", ["causal_only", "causal_only_bf16"])
def test_a_mask_that_is_added_once_is_fine(check: Check, target: str) -> None:
    report = check(f"double_mask::{target}")
    assert output(report) > 45
    assert not named(report, "HL103", "HL105")


@pytest.mark.parametrize("target", ["left_padding", "causal_only"])
def test_a_mask_of_another_lowest_number_is_no_loss(check: Check, target: str) -> None:
    # The cast model fills with the lowest number of float16, and softmax makes zeros of either.
    assert not [each for each in named(check(f"double_mask::{target}")) if "masked_fill" in each]


# -- rounding in half precision --------------------------------------------------------------------


def test_a_variance_in_one_pass_is_noise_for_what_it_subtracts(check: Check) -> None:
    for target in ("one_pass", "one_pass_half"):
        report = check(f"one_pass_variance::{target}")
        assert is_broken(report)
        findings = named(report, "HL101")
        assert "x.mean(-1, keepdim=True)" in findings
        assert findings["x.mean(-1, keepdim=True)"].severity == "error"
        assert list(named(report, "HL103")) == ["torch.sqrt(variance + 1e-5)"]
    report = check("one_pass_variance::two_passes")
    assert output(report) > 25
    assert not named(report, "HL103")
    # What is left is the rounding of what has a large mean.
    assert set(named(report)) == {"self.mix(x)", "x.mean(-1, keepdim=True)"}


# Where the loss begins, how good the output is, and how good with the part computed in float32.
ROUNDED = [
    ("alibi::absolute", "positions.to(x.dtype)", 6, "relative", 45),
    ("alibi::absolute_half", "query @ key.transpose(-2, -1) + bias", 22, "relative", 45),
    ("cumulative_sum::brain_float", "x.cumsum(1)", 0, "summed_in_float", 44),
    ("rotary_positions::bf16", "positions.type_as(self.inv_freq)", 4, "", 0),
    ("rotary_positions::fp16", "positions.type_as(self.inv_freq)", 13, "", 0),
]


@pytest.mark.parametrize(
    ("target", "origin", "at_most", "mended", "db"), ROUNDED, ids=[each[0] for each in ROUNDED]
)
def test_a_loss_is_traced_to_where_it_begins(
    check: Check, target: str, origin: str, at_most: float, mended: str, db: float
) -> None:
    report = check(target)
    assert output(report) < at_most
    findings = named(report)
    assert findings[origin].severity == "error"
    # It looks fine by itself: the message says where it does not.
    assert "down to" in findings[origin].message
    innocent = {"cos()", "sin()", "softmax", "self.head", "self.value(x)", "self.q(x)"}
    assert not [each for each in findings if any(part in each for part in innocent)]
    if mended:
        assert output(check(f"{target.partition('::')[0]}::{mended}")) > db


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        ("alibi::absolute", "positions.to(x.dtype)"),
        ("cumulative_sum::brain_float", "x.cumsum(1)"),
        ("rotary_positions::bf16", "positions.type_as(self.inv_freq)"),
        ("one_pass_variance::two_passes", "x.mean(-1, keepdim=True)"),
    ],
)
def test_an_op_whose_result_is_cast_back_is_not_to_be_kept_in_float_alone(
    check: Check, target: str, origin: str
) -> None:
    assert "keep the op in float32" not in help_of(named(check(target))[origin])


def test_noise_that_cancels_accuses_nobody(check: Check) -> None:
    report = check("state_space_decay::brain_float")
    assert 25 < output(report) < 30
    # It has a loss of its own, of which the rest is not made.
    assert named(report)["torch.exp(a_log)"].message == "exp 43.9 dB, introduces 43.9 dB"
    assert output(check("state_space_decay::decay_in_float")) > 45


def test_an_input_that_bfloat16_rounds_answers_for_the_loss(check: Check) -> None:
    report = check("timesteps::sinusoid")
    assert output(report) < 10
    assert not {"torch.sin(angle)", "torch.cos(angle)"} & set(named(report))
    told = [f"{f.message} {f.cause}" for f in report.findings if f.severity == "error"]
    assert any("input" in each and "bfloat16" in each for each in told)


def test_an_index_that_is_rounded_beyond_a_table_is_told_at_the_look_up(check: Check) -> None:
    report = check("timesteps::table")
    assert report.status == "failed"
    assert report.error is not None
    assert report.error.span is not None
    text = Path(report.file).read_text().split("\n")[report.error.span.line - 1]
    assert "self.alphas[timestep.long()]" in text
    assert "1000" in report.error.message


# -- calibration -----------------------------------------------------------------------------------


def test_too_wide_a_calibration_is_told_with_both_ranges(check: Check) -> None:
    assert output(check("calibration_preprocessing::normalized")) > 45
    report = check("calibration_preprocessing::bytes")
    assert output(report) < 10
    finding = named(report, "HL101")["torch.relu(self.stem(image))"]
    assert "they use 4 of 256 steps" in why(finding)
    assert "calibrate with inputs like those the model meets" in help_of(finding)
    assert not named(report, "HL104")


def test_too_narrow_a_calibration_clips(check: Check) -> None:
    report = check("calibration_preprocessing::unit")
    assert output(report) < 10
    finding = named(report, "HL104")["torch.relu(self.stem(image))"]
    assert "up to 3.01, lie outside its quantizer's range of 0 to 1.1" in why(finding)
    assert "calibration has seen no more than 1.16" in why(finding)
    assert "calibrate with inputs like those the model meets" in help_of(finding)


@pytest.mark.parametrize("target", ["bytes", "unit"])
def test_an_input_that_calibration_did_not_see_is_told_at_the_layer_that_reads_it(
    check: Check, target: str
) -> None:
    finding = named(check(f"calibration_preprocessing::{target}"))["self.stem(image)"]
    assert "input" in why(finding)
    assert "weight" not in why(finding)
    assert "calibrat" in help_of(finding)


@pytest.mark.parametrize(
    "target",
    ["calibration_preprocessing::bytes", "no_calibration::skipped", "squeeze_excite::server"],
)
def test_no_cat_is_to_blame_where_there_is_none(check: Check, target: str) -> None:
    assert not [f for f in check(target).findings if "cat" in str(f.cause)]


def test_an_outlier_that_calibration_saw_is_not_calibration_s_fault(check: Check) -> None:
    report = check("normalized_outlier::server")
    assert 15 < output(report) < 20
    (finding,) = named(report, "HL101").values()
    assert "up to 44.7" in why(finding)
    assert "calibration has seen 44.7" in why(finding)
    assert "calibrate with" not in help_of(finding)


def test_an_outlier_is_named_and_a_floor_for_its_divisor_mends_it(check: Check) -> None:
    report = check("normalized_outlier::server")
    (expression,) = named(report, "HL101")
    assert expression.startswith("(features - mean) / ")
    assert output(check("normalized_outlier::clamped")) > 38
    assert not named(check("normalized_outlier::clamped"))
    assert output(check("normalized_outlier::reader_in_float")) > 35
    assert output(check("normalized_outlier::division_in_float")) > 35


def test_features_of_different_ranges_are_the_input_s_fault(check: Check) -> None:
    report = check("input_features::seconds")
    assert output(report) < 2
    assert list(named(report)) == ["self.first(features)"]
    assert output(check("input_features::scaled")) > 30
    assert output(check("input_features::first_in_float")) > 40


def test_a_weight_is_not_to_blame_for_the_step_of_its_input(check: Check) -> None:
    (finding,) = named(check("input_features::seconds")).values()
    assert "input" in why(finding)
    assert "weight" not in why(finding)


def test_skipped_calibration_is_said_once(check: Check) -> None:
    for target in ("skipped", "skipped_x86"):
        report = check(f"no_calibration::{target}")
        (finding,) = named(report, "HL206").values()
        assert finding.severity in ("warning", "error")
        assert not any("range is" in each.cause.why for each in report.findings)


def test_calibration_with_silence_is_said(check: Check) -> None:
    assert named(check("no_calibration::silence"), "HL206")


def test_a_branch_that_calibration_did_not_take_stays_in_float(check: Check) -> None:
    report = check("no_calibration::branch")
    assert output(report) > 45
    assert set(named(report, "HL205")) == {"self.bright(y)", "self.dark(y)"}
    assert not named(report)


# -- one scale for what is unlike ------------------------------------------------------------------


def test_a_weight_with_one_scale_is_told_with_its_loud_channel(check: Check) -> None:
    report = check("depthwise_per_tensor::per_tensor")
    assert 10 < output(report) < 15
    finding = named(report)["self.depthwise(x)"]
    assert finding.severity == "warning"
    assert "channel 22 of its weight" in why(finding)
    assert help_of(finding) == "quantize the weight per channel"
    assert "self.project(x)" not in named(report)
    mended = check("depthwise_per_tensor::per_channel")
    assert output(mended) > output(report) + 15
    assert "self.depthwise(x)" not in named(mended)


def test_features_with_a_loud_channel_that_a_gate_closes_are_named(check: Check) -> None:
    report = check("squeeze_excite::phone")
    assert output(report) < 8
    features = named(report)["F.hardswish(self.conv(image))"]
    assert features.severity == "error"
    assert "channel 5 reaches" in why(features)
    assert not [each for each in named(report) if each.startswith(("F.hardsigmoid", "x * "))]
    assert 15 < output(check("squeeze_excite::phone_features_in_float")) < 20
    assert output(check("squeeze_excite::phone_features_and_gate_in_float")) > 34
    # Where the product is left in float, it takes the loud channel away before anything is rounded.
    assert output(check("squeeze_excite::server")) > 40
    assert not named(check("squeeze_excite::server"), "HL105")


def test_massive_activations_are_told_at_the_layer_that_reads_them(check: Check) -> None:
    dynamic, weights = check("smooth_quant::dynamic"), check("smooth_quant::weights")
    assert list(named(dynamic)) == ["self.up(self.norm(x))"]
    finding = named(dynamic)["self.up(self.norm(x))"]
    assert "input" in why(finding)
    assert not help_of(finding)
    assert output(weights) > output(dynamic) + 10
    assert output(check("smooth_quant::layer_in_float")) > output(dynamic) + 20
    assert output(check("smooth_quant::smoothed")) > output(dynamic) + 6


def test_outliers_in_a_4_bit_weight_are_that_layer_s(check: Check) -> None:
    report = check("four_bit_outliers::four_bits")
    assert output(report) < 5
    findings = named(report)
    assert list(findings) == ["self.lm_head(x)"]
    assert "its weight (4 bits, one scale per group)" in why(findings["self.lm_head(x)"])
    assert not help_of(findings["self.lm_head(x)"])
    assert output(check("four_bit_outliers::head_in_float")) > 30
    assert output(check("four_bit_outliers::eight_bits")) > 20


def test_dead_channels_disturb_nobody(check: Check) -> None:
    for target in ("server", "phone"):
        report = check(f"dead_channels::{target}")
        assert output(report) > 35
        assert report.findings == ()
        assert report.verified is not None
        assert report.verified.verdict == "ok"
        assert (report.verified.sqnr_db or 0) > 120


def test_a_sigmoid_that_is_not_quantized_is_not_accused(check: Check) -> None:
    for target in ("server", "phone"):
        report = check(f"detector_sigmoid::{target}")
        assert output(report) > 30
        assert report.findings == ()


def test_scores_beside_boxes_vanish_in_the_cat(check: Check) -> None:
    report = check("boxes_and_scores::phone")
    assert output(report) > 50
    findings = {**named(report), **named(report, "HL105")}
    told = [f for text, f in findings.items() if "cat(" in text or "sigmoid()" in text]
    assert [f for f in told if f.severity in ("warning", "error")]


def test_a_cat_that_stays_in_float_is_not_accused(check: Check) -> None:
    report = check("boxes_and_scores::server")
    assert output(report) > 60
    assert report.findings == ()


def test_a_residual_stream_with_a_loud_channel_loses_at_its_additions(check: Check) -> None:
    report = check("vit_residual::phone")
    assert output(report) < 30
    findings = named(report)
    additions = {
        "x + self.attend(self.norm1(x))",
        "x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))",
    }
    assert additions <= set(findings)
    kept = check("vit_residual::additions_in_float")
    assert {op.in_float for op in kept.ops if op.name == "add"} == {KEPT}
    assert output(kept) > 35
    assert output(check("vit_residual::server")) > 40
    assert not named(check("vit_residual::server"))


def test_additions_are_told_with_their_loud_channel(check: Check) -> None:
    causes = [why(f) for text, f in named(check("vit_residual::phone")).items() if text[0] == "x"]
    assert any("channel 7 reaches 25" in each for each in causes)


def test_the_layer_before_the_additions_helps_a_little(check: Check) -> None:
    gain = output(check("vit_residual::layer_in_float")) - output(check("vit_residual::phone"))
    assert 1 < gain < 5


def test_a_mask_of_the_largest_float_takes_the_scores_range(check: Check) -> None:
    for target in ("float_max", "ten_thousand"):
        report = check(f"float_max_mask::{target}")
        assert output(report) < 3
        finding = named(report)["scores + bias"]
        assert finding.severity == "error"
        assert list(named(report)) == ["scores + bias"]
    assert "scores + bias" not in named(check("float_max_mask::no_padding"))
    assert output(check("float_max_mask::addition_in_float")) > 30


@pytest.mark.parametrize("target", ["float_max", "ten_thousand"])
def test_a_mask_is_no_loud_channel(check: Check, target: str) -> None:
    finding = named(check(f"float_max_mask::{target}"))["scores + bias"]
    assert "its masked values reach" in why(finding)
    assert "equalization" not in str(finding.cause)
    assert "relu6" not in str(finding.cause)


@pytest.mark.parametrize("recipe", ["phone", "server"])
def test_a_quiet_branch_beside_a_loud_one_is_named(check: Check, recipe: str) -> None:
    quiet = named(check(f"shared_observer::{recipe}"))["self.quiet(x)"]
    assert quiet.severity == "error"
    assert "use 1 of 256 steps" in why(quiet)
    assert why(quiet).startswith("the cat at line 24 gives it one scale with conv2d in loud")
    assert not help_of(quiet)


def test_a_residual_whose_sides_are_alike_is_fine(check: Check) -> None:
    residual = check("shared_observer::residual")
    assert output(residual) > 35
    assert not named(residual)


def test_a_loud_branch_is_not_to_blame_for_the_quiet_one(check: Check) -> None:
    assert "self.loud(x)" not in named(check("shared_observer::server"))


# -- what is quantized, and what is not ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lstm", "rnn"])
def test_a_recurrent_layer_stays_in_float(check: Check, kind: str) -> None:
    report = check(f"recurrent_layers::{kind}")
    assert list(named(report, "HL205")) == ["self.cell(x)"]
    assert output(report) > 40


def test_a_gru_is_quantized_or_said_to_stay_in_float(check: Check) -> None:
    report = check("recurrent_layers::gru")
    assert output(report) > 30
    assert "self.cell(x)" in named(report, "HL205")


@pytest.mark.parametrize("recipe", ["phone", "server"])
def test_a_transposed_convolution_between_unlike_channels(check: Check, recipe: str) -> None:
    report = check(f"transposed_convolution::{recipe}")
    assert output(report) < 10
    # What the fold leaves of the gains is in the channels of the relu, and the last layer takes it back.
    assert "self.last(x)" in named(report)
    assert "channel 0 reaches 20" in why(named(report)["torch.relu(self.norm(self.up(x)))"])
    assert "self.up(x)" not in named(report)
    assert ("self.up(x)" in named(report, "HL205")) == (recipe == "server")


def test_a_transposed_convolution_whose_output_channels_are_unlike_is_named(check: Check) -> None:
    report = check("transposed_convolution::evened_out")
    assert output(report) < 15
    assert list(named(report)) == ["self.up(x)"]
    assert "channel 7 reaches" in why(named(report)["self.up(x)"])


def test_a_transposed_convolution_that_is_left_in_float_is_told(check: Check) -> None:
    report = check("transposed_convolution::evened_out_grouped")
    assert output(report) > 35
    assert list(named(report, "HL205")) == ["self.up(x)"]
    assert not named(report)


def test_a_grouped_transposed_convolution_folds_its_batch_norm(check: Check) -> None:
    report = check("transposed_convolution::phone_grouped")
    assert report.status == "ok", report.error
    assert report.verified is not None
    assert report.verified.verdict in ("exact", "ok")


def test_a_region_without_gradients_answers_as_it_does_without_one(check: Check) -> None:
    frozen, plain = check("no_grad_region::frozen"), check("no_grad_region::plain")
    assert output(frozen) == pytest.approx(output(plain), abs=2)
    # The quantizer stands after the stem, or after the activation that it is computed with.
    for report, named_for_it in ((frozen, "self.stem(x)"), (plain, "self.backbone(y)")):
        finding = named(report)[named_for_it]
        assert finding.severity == "error"
        assert "channel 0 reaches" in why(finding)
        assert not [f for f in report.findings if "many small losses" in f.message]


def test_a_head_that_nothing_reads_is_left_out(check: Check) -> None:
    report = check("unused_head::encoder")
    assert output(report) > 30
    assert report.coverage is not None
    assert {"nothing reads its output"} == {
        each.reason for each in report.coverage.unmatched if each.op != "aten._guards"
    }


def test_integers_are_not_quantized(check: Check) -> None:
    report = check("integer_positions::positions")
    assert output(report) > 30
    for op in report.ops:
        assert not (op.whole and op.quantizers), op.node


@pytest.mark.parametrize(
    "target",
    [
        "valid",
        "same",
        "valid_phone",
    ],
)
def test_padding_given_as_a_word_is_padding(check: Check, target: str) -> None:
    report = check(f"valid_padding::{target}")
    assert output(report) > 30
    assert report.coverage is not None
    assert report.coverage.quantized >= 3
    assert not named(report, "HL205", "HL201")


def test_a_number_after_a_convolution_is_no_tensor(check: Check) -> None:
    report = check("scalar_after_conv::shifted")
    assert output(report) > 30
    quantized = [op.node for op in report.ops if op.name == "conv2d" and not op.in_float]
    assert len(quantized) == 2
