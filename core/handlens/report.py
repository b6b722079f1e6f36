"""The result of a run as plain data, and its JSON (version 1).

Every front end renders the same ``Report``. It knows no view, no torch and no language server, and it
can be saved and loaded without loss: ``load(dump(document)) == document``.

Lines are 1-based and columns 0-based code points, as Python's ``ast`` counts lines. Ratios are in dB,
timings in seconds. JSON has no infinity: such a number is None, and the verdict beside it says why.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Literal

from handlens.dataclass_json import Text, from_json, to_json

VERSION = 1

Severity = Literal["error", "warning", "information", "hint"]
Verdict = Literal["ok", "exact", "no-signal", "non-finite", "not-compared"]
"""Whether there is a ratio ("ok"), and if not, why: no noise at all; a reference that is zero everywhere;
NaN or infinity where the reference is finite; nothing that could be compared."""


@dataclass(frozen=True)
class Span:
    """A range of source text and the function it stands in."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int
    function: str = ""

    @property
    def start(self) -> tuple[int, int]:
        return self.line, self.column

    @property
    def end(self) -> tuple[int, int]:
        return self.end_line, self.end_column


@dataclass(frozen=True)
class FloatFormat:
    """What a floating point type can represent."""

    significant_bits: int
    """Bits of a normal number's significand, the implicit one included."""
    smallest_normal: float
    largest: float

    @property
    def smallest_spacing(self) -> float:
        """The distance between two neighbouring subnormal numbers."""
        return self.smallest_normal * 2.0 ** (1 - self.significant_bits)

    @property
    def overflow(self) -> float:
        """The smallest number that is rounded to infinity: half a spacing beyond the largest one."""
        return self.largest + 2.0 ** (math.frexp(self.largest)[1] - self.significant_bits - 1)


@dataclass(frozen=True)
class Quantizer:
    """One quantizer that takes part in an op: of its weight, its output, or an input it reads.

    A cast to half precision is one, too: its granularity is "per-value", and it has no scale.
    """

    role: Literal["weight", "output", "input"]
    dtype: str
    granularity: Literal["per-tensor", "per-channel", "per-group", "per-token", "per-value"]
    scale: tuple[float, float] | None
    """Smallest and largest scale, equal when there is one; None when it is computed for each input, or
    not finite."""
    zero_point: tuple[int, int] | None
    quant_min: int | None
    quant_max: int | None
    rms_scale: float | None = None
    """Root of the mean squared scale: what the power of the rounding noise follows."""
    axis: int | None = None
    """The dimension along which there is a scale for each index; None where there is none."""
    observed: tuple[float, float] | None = None
    """Smallest and largest value that calibration gave it; None where that is not known."""
    format: FloatFormat | None = None
    """What its type can represent; None for integers."""


@dataclass(frozen=True)
class Channels:
    """The largest magnitudes of the channels of a tensor, in short."""

    role: Literal["weight", "output"]
    count: int
    widest: int
    """Index of the channel with the largest magnitude."""
    widest_magnitude: float
    median_magnitude: float
    """Median over the channels of their largest magnitudes."""


@dataclass(frozen=True)
class Histogram:
    """How often values fell into intervals of equal width from ``low`` to ``high``."""

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class ModelInput:
    """An input of the model as an op reads it, quantized or cast."""

    name: str
    quantizer: Quantizer
    sqnr_db: float | None
    """None where it is exact, or nothing could be compared."""
    reference_range: tuple[float | None, float | None]
    saturated: float = 0.0
    """Share of its values outside the range of its quantizer, 0 to 1."""
    clipping_share: float = 0.0
    """Share of its noise that lies outside that range."""


@dataclass(frozen=True)
class Part:
    """What one of several inputs brings to where they come together."""

    handle: int
    relative: float
    """Noise over signal, by channel, summed over the channels."""


@dataclass(frozen=True)
class OpReport:
    """What was measured at one debug handle."""

    handle: int
    op: str
    node: str
    module: str
    inputs: tuple[int, ...]
    """Handles of the ops whose outputs this op reads."""
    spans: tuple[Span, ...]
    """The chain of frames that called the op, innermost first; torch's own frames left out."""
    shown: int | None
    """Index in ``spans`` of the frame that shows a finding: the innermost one in a workspace file."""
    verdict: Verdict
    sqnr_db: float | None
    introduced_verdict: Verdict
    introduced_sqnr_db: float | None
    introduced_share: float
    """Noise power the op introduces, relative to the accumulated noise power at its output."""
    floor_sqnr_db: float | None
    mse: float | None
    max_abs_error: float | None
    cosine: float | None
    reference_range: tuple[float | None, float | None]
    actual_range: tuple[float | None, float | None]
    saturated: float
    """Share of reference values outside the range of the op's output quantizer, 0 to 1."""
    quantizers: tuple[Quantizer, ...] = ()
    reference_rms: float | None = None
    """Root of the mean squared reference value."""
    weight_share: float | None = None
    """Share of the introduced noise that is there before the op's own output is quantized: that of its
    quantized weights and constants. None where the op introduces nothing."""
    clipping_share: float = 0.0
    """Share of the introduced noise that lies outside the range of the op's output quantizer."""
    vanished: float = 0.0
    """Share of nonzero reference values that are zero in the quantized model, 0 to 1."""
    channels: tuple[Channels, ...] = ()
    fan_in: int | None = None
    """How many products are summed for one output value, of an op with a quantized weight."""
    input_rms: float | None = None
    """Root of the mean squared reference value at the input that meets the weight."""
    executions: int = 0
    """How often the op ran, over all batches and iterations."""
    worst_batch: int | None = None
    """Number of the batch with the lowest SQNR, from 0; None where no batch has one."""
    worst_batch_sqnr_db: float | None = None
    errors: Histogram | None = None
    """Of the differences actual − reference: of values sampled evenly from the op's first execution."""
    in_float: str = ""
    """Why the op computes as it does in the reference; empty where it is quantized."""
    whole: bool = False
    """Whether it gives integers or truth values: how many of them differ says nothing about accuracy."""
    missed: tuple[int, ...] = ()
    """Handles of the ops whose writes in place it does not see in the quantized model: most of what its
    input differs by is due to that."""
    input_share: float | None = None
    """Share of the introduced noise that is there where the weights are exact: that of the model's inputs.
    None where the op reads none of them quantized, or introduces nothing."""
    model_inputs: tuple[ModelInput, ...] = ()
    """The inputs of the model that it reads quantized."""
    channel_noise: float | None = None
    """Mean over the channels of noise over signal, where loud channels do not hide what quiet ones lose.
    An estimate from a sample of the values; None where the channels are not known."""
    introduced_channel_noise: float | None = None
    """The same of the introduced noise."""
    parts: tuple[Part, ...] = ()
    """Where several inputs come together, what each brings."""
    divisor: int | None = None
    """Handle of the op whose output it divides by, or makes Inf or NaN of otherwise where that is zero."""
    masked: float = 0.0
    """Share of the values that a mask takes out of the softmax after the op, 0 to 1: they take no part."""
    masked_min: float | None = None
    """The lowest of them in the reference that is finite."""
    uncalibrated: str = ""
    """Why a quantizer of it has no range to go by: calibration gave it nothing, or zeros only."""
    traced: bool = True
    """Whether ``inputs`` has all that the op reads, as far as it was compared."""

    @property
    def span(self) -> Span | None:
        """Where a finding about this op is shown."""
        return None if self.shown is None else self.spans[self.shown]

    @property
    def name(self) -> str:
        """The op as people write it: ``conv2d`` for ``aten.conv2d.default``."""
        return op_name(self.op)

    def quantizers_of(self, role: Literal["weight", "output", "input"]) -> list[Quantizer]:
        return [each for each in self.quantizers if each.role == role]


def op_name(op: str) -> str:
    """``conv2d`` for ``aten.conv2d.default``."""
    parts = op.split(".")
    return parts[1] if len(parts) == 3 else op


@dataclass(frozen=True)
class Related:
    """Another place that belongs to a finding."""

    message: str
    span: Span | None
    handle: int | None = None


@dataclass(frozen=True)
class Cause(Text):
    """Why something is as it is, and what to do about it; false where that is not known.

    As text it is one line that says why, and below it what helps, if that is known.
    """

    why: str = ""
    help: str = ""

    def __bool__(self) -> bool:
        return bool(self.why)

    def __str__(self) -> str:
        return f"{self.why}\n{self.help}" if self.help else self.why

    @classmethod
    def parse(cls, text: str) -> Cause:
        why, _, help = text.partition("\n")
        return cls(why, help)


NO_CAUSE = Cause()


@dataclass(frozen=True)
class Finding:
    """Something a person should look at. Without a span it is about the target as a whole."""

    rule: str
    severity: Severity
    message: str
    handle: int | None
    span: Span | None
    related: tuple[Related, ...] = ()
    cause: Cause = NO_CAUSE


@dataclass(frozen=True)
class Failure:
    """Why a run has no result. ``message`` is for people, the traceback is the detail behind it."""

    rule: str
    message: str
    span: Span | None
    traceback: str
    cause: Cause = NO_CAUSE
    related: tuple[Related, ...] = ()


@dataclass(frozen=True)
class Unmatched:
    """An op that could not be compared, and why."""

    op: str
    node: str
    module: str
    reason: str
    handle: int | None = None
    span: Span | None = None
    """Where it is shown; None for the target as a whole."""
    expected: bool = True
    """Whether that is as it should be: a folded batch norm is no news."""


@dataclass(frozen=True)
class StaysInFloat:
    """An op of a kind that the recipe quantizes, left in float by nobody's wish, and why."""

    op: str
    node: str
    module: str
    reason: str
    handle: int | None = None
    span: Span | None = None
    """Where it is shown; None for the target as a whole."""


@dataclass(frozen=True)
class Coverage:
    """How many ops have a handle, were compared, and were quantized."""

    ops: int
    matched: int
    quantized: int
    unmatched: tuple[Unmatched, ...] = ()
    unquantized: tuple[str, ...] = ()
    """The kinds of op that the recipe should quantize and the model has, and none of them was."""
    in_float: tuple[StaysInFloat, ...] = ()


@dataclass(frozen=True)
class QuantizedBy:
    """The class that decided what is quantized, and the package that it is of."""

    name: str
    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} ({self.package} {self.version})" if self.version else self.name


@dataclass(frozen=True)
class OutputAccuracy:
    """Accuracy of the model's outputs, all of them pooled over all batches."""

    verdict: Verdict
    sqnr_db: float | None
    mse: float | None
    max_abs_error: float | None
    cosine: float | None
    reason: str = ""
    """Why the outputs, or one of them, were not compared."""


@dataclass(frozen=True)
class Difference:
    """Where the graph that is quantized begins to compute something else than the model."""

    by: Literal["export", "recipe"]
    """Who made it differ."""
    op: str = ""
    """Empty where it is not known."""
    module: str = ""
    sqnr_db: float | None = None
    """Of what the op computes, the model's own result being the signal."""
    handle: int | None = None
    span: Span | None = None


@dataclass(frozen=True)
class Verification:
    """What the result was checked against, on the first evaluation batch.

    The reference's outputs against those of the model itself, and both outputs of the comparison against
    runs of the two graphs by themselves.
    """

    verdict: Literal["exact", "ok", "differs", "not-checked"]
    """Whether the reference computes what the model computes: to the bit, up to rounding, or not."""
    sqnr_db: float | None = None
    """Of the reference's outputs, the model's own being the signal; None where there is no difference."""
    reason: str = ""
    """Why it was not checked."""
    difference: Difference | None = None
    actual_sqnr_db: float | None = None
    """Where the reference differs: of the quantized model's outputs, the model's own being the signal."""
    comparison: Literal["merged", "plain", "outputs"] = "merged"
    """How the ops were compared: in the merged graph; in one without shortcuts, because the merged one did
    not compute what the two graphs do by themselves; or the outputs alone, for neither did."""


@dataclass(frozen=True)
class NonFinite:
    """Where the float model itself begins to give NaN or Inf, on one batch."""

    value: Literal["NaN", "Inf", "-Inf"]
    batch: str
    """Which one: "evaluation batch 1"."""
    count: int
    """How many of ``values`` are such."""
    values: int
    held_by: str = ""
    """The input, parameter or buffer that holds them; empty where the op makes them of finite values."""
    op: str = ""
    """The first op that gives them; empty for an input of the model."""
    module: str = ""
    handle: int | None = None
    span: Span | None = None
    infinity: str = ""
    """Where ``value`` is NaN that was made of infinities: the op that gives those, or what holds them."""
    infinity_span: Span | None = None
    nan: str = ""
    """Where ``value`` is an infinity that NaN is made of: the op that does."""
    nan_span: Span | None = None


@dataclass(frozen=True)
class Thresholds:
    """Accumulated SQNR, in dB, under which an op is worth a look; how much clipping is too much.

    The defaults suit 8 bits, with which one op at the noise floor has about 40 dB: the information is for
    what is 10 dB under it, the warning for 20 dB, the error for 30 dB.
    """

    error_db: float = 10.0
    warning_db: float = 20.0
    information_db: float = 30.0
    saturated_share: float = 0.01

    def severity(self, sqnr_db: float) -> Severity | None:
        """The severity of an accumulated SQNR in dB, or None where it is fine."""
        if sqnr_db < self.error_db:
            return "error"
        if sqnr_db < self.warning_db:
            return "warning"
        return "information" if sqnr_db < self.information_db else None


@dataclass(frozen=True)
class Report:
    """The result of one run of one target."""

    target: str
    file: str
    recipe: str
    status: Literal["ok", "failed"]
    error: Failure | None = None
    output: OutputAccuracy | None = None
    batches: int = 0
    coverage: Coverage | None = None
    ops: tuple[OpReport, ...] = ()
    findings: tuple[Finding, ...] = ()
    suppressed: int = 0
    """How many findings comments in the source took away."""
    unselected: int = 0
    """How many findings the project did not select, or ignores."""
    fail_under: float | None = None
    """The SQNR of the output, in dB, that was asked for."""
    timings: dict[str, float] = field(default_factory=dict)
    quantized_by: tuple[QuantizedBy, ...] = ()
    verified: Verification | None = None
    non_finite: NonFinite | None = None
    """Where the float model itself gives NaN or Inf, if that matters."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """Those that suit the recipe. What somebody chose takes their place where a report is judged."""
    files: tuple[str, ...] = ()
    """The workspace files that the run imported beside its own: other texts of them are another run."""
    digests: dict[str, str] = field(default_factory=dict)
    """By file, the ``digest`` of the text that was executed, also of the target's file. Spans are of these
    texts, and a file may have been edited since."""

    @property
    def falls_short(self) -> bool:
        """True if the output is less accurate than ``fail_under``, or not known to be as accurate."""
        if self.fail_under is None:
            return False
        if self.output is None or (self.verified and self.verified.verdict == "differs"):
            return True
        if self.output.verdict == "ok" and self.output.sqnr_db is not None:
            return self.output.sqnr_db < self.fail_under
        return self.output.verdict != "exact"


@dataclass(frozen=True)
class Document:
    """What ``handlens check --format json`` prints."""

    handlens: str
    torch: str | None
    reports: tuple[Report, ...]
    version: int = VERSION


def failed(target: str, file: str, recipe: str, error: Failure) -> Report:
    """The report of a run that came to nothing; its one finding carries the error to the front ends."""
    finding = Finding(
        error.rule, "error", error.message, None, error.span, error.related, error.cause
    )
    return Report(target, file, recipe, "failed", error=error, findings=(finding,))


def digest(text: str) -> str:
    """The SHA-256 of a source text in hexadecimal; line ends and a byte order mark make no difference."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()


def dump(document: Document, indent: int | None = None) -> str:
    """The document as JSON text. Raises ValueError if a number in it is not finite."""
    return json.dumps(to_json(document), indent=indent, allow_nan=False)


def load(text: str) -> Document:
    """The document in ``text``. Raises ValueError if it is not a version 1 document."""
    data = json.loads(text)
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError(f"not a handlens report of version {VERSION}")
    return from_json(Document, data)
