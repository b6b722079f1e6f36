"""The result of a run as plain data, and its JSON (version 1).

Every front end renders the same ``Report``, which knows neither torch nor any front end. It can be saved
and loaded without loss: ``load(dump(document)) == document``. ``op_report`` has the part about one op.

Lines are 1-based and columns 0-based code points, as Python's ``ast`` counts lines. Ratios are in dB,
timings in seconds. JSON has no infinity: such a number is None, and the verdict beside it says why.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

from handlens.advice_report import Advice as Advice
from handlens.advice_report import LogitsAgreement as LogitsAgreement
from handlens.dataclass_json import Text, from_json, to_json
from handlens.op_report import Channels as Channels
from handlens.op_report import FloatFormat as FloatFormat
from handlens.op_report import Histogram as Histogram
from handlens.op_report import ModelInput as ModelInput
from handlens.op_report import OpReport as OpReport
from handlens.op_report import Part as Part
from handlens.op_report import Quantizer as Quantizer
from handlens.op_report import Span as Span
from handlens.op_report import Verdict as Verdict
from handlens.op_report import op_name as op_name

VERSION = 1

Severity = Literal["error", "warning", "information", "hint"]


@dataclass(frozen=True)
class Related:
    """Another place in the source that belongs to a finding, with a message about it."""

    message: str
    span: Span | None
    handle: int | None = None


@dataclass(frozen=True)
class Cause(Text):
    """Why something is as it is, and what to do about it. A cause without both is false.

    As text it has a line for ``why`` and, if that is known, a line for ``help``.
    """

    why: str = ""
    help: str = ""

    def __bool__(self) -> bool:
        return bool(self.why or self.help)

    def __str__(self) -> str:
        return f"{self.why}\n{self.help}" if self.help else self.why

    @classmethod
    def parse(cls, text: str) -> Cause:
        why, _, help = text.partition("\n")
        return cls(why, help)


NO_CAUSE = Cause()


@dataclass(frozen=True)
class Finding:
    """Something that a person should look at. A finding without a span is about the whole target."""

    rule: str
    severity: Severity
    message: str
    handle: int | None
    span: Span | None
    related: tuple[Related, ...] = ()
    cause: Cause = NO_CAUSE


@dataclass(frozen=True)
class Misspelled:
    """A name in a target that means nothing, and what it can be changed to."""

    given: str
    meant: tuple[str, ...]
    """The nearest first; at least one."""


@dataclass(frozen=True)
class Failure:
    """Why a run has no result: a message for people, and the traceback as detail."""

    rule: str
    message: str
    span: Span | None
    traceback: str
    cause: Cause = NO_CAUSE
    related: tuple[Related, ...] = ()
    misspelled: Misspelled | None = None


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
    """True if nothing is wrong with that, as for a batch norm that was folded."""


@dataclass(frozen=True)
class StaysInFloat:
    """An op that the recipe should have quantized and left in float, and the reason."""

    op: str
    node: str
    module: str
    reason: str
    handle: int | None = None
    span: Span | None = None
    """Where it is shown; None for the target as a whole."""


@dataclass(frozen=True)
class Coverage:
    """How many ops have a handle, how many were compared, and how many were quantized."""

    ops: int
    matched: int
    quantized: int
    unmatched: tuple[Unmatched, ...] = ()
    unquantized: tuple[str, ...] = ()
    """The kinds of op that the recipe should quantize and of which it quantized none in this model."""
    in_float: tuple[StaysInFloat, ...] = ()


@dataclass(frozen=True)
class QuantizedBy:
    """The quantizer class that decided what is quantized, and its package."""

    name: str
    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} ({self.package} {self.version})" if self.version else self.name


@dataclass(frozen=True)
class OutputAccuracy:
    """The accuracy of the model's outputs, from the noise and the signal of all outputs and batches."""

    verdict: Verdict
    sqnr_db: float | None
    mse: float | None
    max_abs_error: float | None
    cosine: float | None
    reason: str = ""
    """Why outputs were not compared; empty if all were."""
    logits: LogitsAgreement | None = None
    """How far the outputs agree where they look like logits; else None."""
    metric: Metric | None = None
    """The target's own metric of both models; None if it has none."""


@dataclass(frozen=True)
class Metric:
    """What a target's own metric gives for both models: the mean over the evaluation batches."""

    name: str
    """The name of the metric's function, or "metric"."""
    reference: float | None
    """None if it is not finite for all batches."""
    quantized: float | None


@dataclass(frozen=True)
class Difference:
    """The first op at which the graph to be quantized computes something else than the model."""

    by: Literal["export", "recipe"]
    """The step that changed the result: exporting the model, or the recipe's rewrites."""
    op: str = ""
    """The op; empty if it is not known."""
    module: str = ""
    sqnr_db: float | None = None
    """The ratio at the op, with the model's own value as the signal."""
    handle: int | None = None
    span: Span | None = None


@dataclass(frozen=True)
class Verification:
    """How the result was checked, on the first evaluation batch.

    The outputs of the reference are compared with those of the model itself. Both outputs of the comparison
    are compared with those of separate runs of the two graphs.
    """

    verdict: Literal["exact", "ok", "differs", "not-checked"]
    """Whether the reference computes what the model does: to the bit ("exact"), up to rounding ("ok"), or
    not."""
    sqnr_db: float | None = None
    """The ratio of the reference's outputs, with the model's as the signal; None if they do not differ."""
    reason: str = ""
    """Why the reference was not checked."""
    difference: Difference | None = None
    actual_sqnr_db: float | None = None
    """If the reference differs: the ratio of the quantized model's outputs, with the model's as the
    signal."""
    comparison: Literal["merged", "plain", "outputs"] = "merged"
    """How the ops were compared: in the merged graph ("merged"); in a graph without shortcuts, because the
    merged one differed from separate runs ("plain"); or not at all, because both differed ("outputs")."""


@dataclass(frozen=True)
class NonFinite:
    """The first op of the float model that gives NaN or Inf on a batch."""

    value: Literal["NaN", "Inf", "-Inf"]
    batch: str
    """The name of the batch: "evaluation batch 1"."""
    count: int
    """How many of the ``values`` are NaN or Inf."""
    values: int
    held_by: str = ""
    """The input, parameter or buffer that holds them; empty if the op makes them from finite values."""
    op: str = ""
    """The first op that gives them; empty if an input of the model has them."""
    module: str = ""
    handle: int | None = None
    span: Span | None = None
    infinity: str = ""
    """If ``value`` is NaN and made from infinities: the op that gives those, or the name of what holds
    them."""
    infinity_span: Span | None = None
    nan: str = ""
    """If ``value`` is an infinity that becomes NaN: the op that makes it NaN."""
    nan_span: Span | None = None


@dataclass(frozen=True)
class Caveat:
    """What makes the numbers mean less than they seem to, and what to do."""

    what: str
    help: str


@dataclass(frozen=True)
class Draft:
    """The code of a target for a model class, found by trying."""

    model: str
    """An expression that makes the model; with dots where an argument is not known."""
    args: str = ""
    """A tuple of inputs that it runs on; empty if none were found."""
    kwargs: str = ""
    """A mapping of keyword arguments; empty if there are none."""
    missing: str = ""
    """What is missing; empty if the model runs on these inputs."""


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
    """How many findings are suppressed by comments in the source."""
    unselected: int = 0
    """How many findings are left out by ``select`` and ``ignore``, of the project or the command line."""
    fail_under: float | None = None
    """The least SQNR of the output that is asked for, in dB."""
    timings: dict[str, float] = field(default_factory=dict)
    quantized_by: tuple[QuantizedBy, ...] = ()
    verified: Verification | None = None
    non_finite: NonFinite | None = None
    """Where the float model itself gives NaN or Inf; None if it does not, or if that has no effect."""
    caveats: tuple[Caveat, ...] = ()
    draft: Draft | None = None
    """What a target could be; of the run of a draft, which has nothing else."""
    thresholds: Thresholds = field(default_factory=Thresholds)
    """The thresholds that suit the recipe. A project or an editor may choose others for the findings."""
    advice: Advice | None = None
    """What to change; None if it was not asked for."""
    files: tuple[str, ...] = ()
    """The other workspace files that the run imported. An edit of one of them outdates the report."""
    digests: dict[str, str] = field(default_factory=dict)
    """The ``digest`` of every text that was executed, by file. Spans refer to these texts, and a file may
    have been edited since."""

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
    """The reports of one command, as ``handlens check --format json`` prints them."""

    handlens: str
    torch: str | None
    reports: tuple[Report, ...]
    version: int = VERSION


def failed(target: str, file: str, recipe: str, error: Failure) -> Report:
    """The report of a run without a result. Its one finding shows the error in every front end."""
    finding = Finding(
        error.rule, "error", error.message, None, error.span, error.related, error.cause
    )
    return Report(target, file, recipe, "failed", error=error, findings=(finding,))


def digest(text: str) -> str:
    """The SHA-256 of a source text, in hexadecimal, whatever its line ends and byte order mark."""
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
