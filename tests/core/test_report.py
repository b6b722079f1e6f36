"""A report is saved and loaded without loss, and nothing else passes for one."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlens import report
from handlens.dataclass_json import from_json, to_json
from handlens.report import (
    Cause,
    Coverage,
    Difference,
    Document,
    Failure,
    Finding,
    OpReport,
    OutputAccuracy,
    QuantizedBy,
    Quantizer,
    Related,
    Report,
    Span,
    StaysInFloat,
    Unmatched,
    Verification,
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 1 << 70)
ratios = st.none() | numbers
verdicts = st.sampled_from(["ok", "exact", "no-signal", "non-finite", "not-compared"])


def tuples(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


spans = st.builds(Span, st.text(), counts, counts, counts, counts, st.text())
related = st.builds(Related, st.text(), st.none() | spans, st.none() | counts)
lines = st.text().map(lambda text: text.replace("\n", " "))
causes = st.builds(Cause, lines, lines)
findings = st.builds(
    Finding,
    st.text(),
    st.sampled_from(["error", "warning", "information", "hint"]),
    st.text(),
    st.none() | counts,
    st.none() | spans,
    tuples(related),
    causes,
)
quantizers = st.builds(
    Quantizer,
    role=st.sampled_from(["weight", "output", "input"]),
    granularity=st.sampled_from(["per-tensor", "per-channel", "per-group"]),
    scale=st.none() | st.tuples(numbers, numbers),
    zero_point=st.none() | st.tuples(counts, counts),
)
ops = st.builds(
    OpReport,
    spans=tuples(spans),
    inputs=tuples(counts),
    shown=st.none() | counts,
    verdict=verdicts,
    introduced_verdict=verdicts,
    introduced_share=numbers,
    saturated=numbers,
    reference_range=st.tuples(ratios, ratios),
    actual_range=st.tuples(ratios, ratios),
    quantizers=tuples(quantizers),
    in_float=st.text(),
    traced=st.booleans(),
    **dict.fromkeys(
        (*("sqnr_db", "introduced_sqnr_db", "floor_sqnr_db"), *("mse", "max_abs_error", "cosine")),
        ratios,
    ),
)
coverages = st.builds(
    Coverage,
    unmatched=tuples(st.builds(Unmatched, st.text(), st.text(), st.text(), st.text())),
    in_float=tuples(
        st.builds(StaysInFloat, *[st.text()] * 4, st.none() | counts, st.none() | spans)
    ),
)
outputs = st.builds(OutputAccuracy, verdicts, ratios, ratios, ratios, ratios, st.text())
differences = st.builds(
    Difference,
    st.sampled_from(["export", "recipe"]),
    *(st.text(), st.text(), ratios, st.none() | counts, st.none() | spans),
)
verifications = st.builds(
    Verification,
    st.sampled_from(["exact", "ok", "differs", "not-checked"]),
    *(ratios, st.text(), st.none() | differences, ratios),
    st.sampled_from(["merged", "plain", "outputs"]),
)
failures = st.builds(Failure, st.text(), st.text(), st.none() | spans, st.text(), causes)
reports = st.builds(
    Report,
    status=st.sampled_from(["ok", "failed"]),
    error=st.none() | failures,
    output=st.none() | outputs,
    batches=counts,
    coverage=st.none() | coverages,
    ops=tuples(ops),
    findings=tuples(findings),
    timings=st.dictionaries(st.text(), numbers, max_size=3),
    quantized_by=tuples(st.builds(QuantizedBy)),
    verified=st.none() | verifications,
)
documents = st.builds(Document, st.text(), st.none() | st.text(), tuples(reports))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

SPAN = Span("net.py", 9, 12, 9, 26, "Net.forward")


@pytest.mark.slow
@given(documents)
@settings(max_examples=60, deadline=None)
def test_what_is_dumped_loads_as_it_was(document: Document) -> None:
    assert report.load(report.dump(document)) == document
    assert report.load(report.dump(document, indent=2)) == document


@pytest.mark.slow
@given(reports)
@settings(max_examples=30, deadline=None)
def test_a_report_alone_goes_through_json_data(each: Report) -> None:
    data = json.loads(json.dumps(to_json(each)))
    assert from_json(Report, data) == each


@given(json_values)
def test_what_is_no_document_is_refused_as_such(value: Any) -> None:
    with pytest.raises(ValueError, match="not a"):
        report.load(json.dumps(value))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[key], (*path, key))


def _complete() -> Document:
    op = OpReport(
        handle=7,
        op="aten.conv2d.default",
        node="conv2d",
        module="features.0",
        inputs=(1,),
        spans=(SPAN,),
        shown=0,
        verdict="ok",
        sqnr_db=32.8,
        introduced_verdict="ok",
        introduced_sqnr_db=33.6,
        introduced_share=0.8,
        floor_sqnr_db=None,
        mse=0.1,
        max_abs_error=0.2,
        cosine=0.99,
        reference_range=(-1.0, 1.0),
        actual_range=(-1.0, None),
        saturated=0.0,
        quantizers=(Quantizer("weight", "int8", "per-channel", (0.1, 0.2), (0, 0), -128, 127),),
    )
    finding = Finding("HL101", "warning", "conv2d", 7, SPAN, (Related("here", SPAN, 8),))
    coverage = Coverage(2, 1, 1, (Unmatched("aten.bn", "bn", "features.1", "folded"),))
    output = OutputAccuracy("ok", 19.5, 0.1, 0.2, 0.9)
    ok = Report(
        *("main", "net.py", "x86", "ok"),
        output=output,
        batches=1,
        coverage=coverage,
        ops=(op,),
        findings=(finding,),
        timings={"load": 0.1},
    )
    broken = report.failed("main", "net.py", "x86", Failure("HL302", "no", SPAN, "Traceback"))
    return Document("0.1.0", "2.13.0", (ok, broken))


@pytest.mark.slow
@given(st.data(), json_values)
@settings(max_examples=300, deadline=None)
def test_a_damaged_document_loads_as_a_document_or_is_refused(
    data: st.DataObject, value: Any
) -> None:
    document = json.loads(report.dump(_complete()))
    path = data.draw(st.sampled_from(list(_places(document))[1:]))
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    try:
        loaded = report.load(json.dumps(document))
    except ValueError:
        return
    assert report.load(report.dump(loaded)) == loaded


def test_an_unknown_or_missing_key_is_refused() -> None:
    document = json.loads(report.dump(_complete()))
    extra, missing = copy.deepcopy(document), copy.deepcopy(document)
    extra["reports"][0]["colour"] = "red"
    del missing["reports"][0]["target"]
    for damaged in (extra, missing):
        with pytest.raises(ValueError, match="not a Document"):
            report.load(json.dumps(damaged))


def test_the_document_has_the_keys_that_other_programs_read() -> None:
    document = json.loads(report.dump(_complete()))
    assert document.keys() == {"version", "handlens", "torch", "reports"}
    assert document["version"] == 1
    first, second = document["reports"]
    assert first["output"]["sqnr_db"] == 19.5
    assert first["ops"][0]["spans"][0] == {
        "file": "net.py",
        "line": 9,
        "column": 12,
        "end_line": 9,
        "end_column": 26,
        "function": "Net.forward",
    }
    assert first["coverage"]["unmatched"][0]["reason"] == "folded"
    assert second["status"] == "failed"
    assert second["error"]["rule"] == "HL302"


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_number_that_json_does_not_have_is_not_dumped(number: float) -> None:
    whole = _complete()
    first = dataclasses.replace(whole.reports[0], timings={"load": number})
    with pytest.raises(ValueError, match="JSON"):
        report.dump(dataclasses.replace(whole, reports=(first,)))


def test_another_version_is_refused() -> None:
    text = report.dump(_complete()).replace('"version": 1', '"version": 2')
    with pytest.raises(ValueError, match="version 1"):
        report.load(text)


def test_a_document_from_before_there_were_digests_still_loads() -> None:
    document = json.loads(report.dump(_complete()))
    for each in document["reports"]:
        del each["digests"]
    assert report.load(json.dumps(document)) == _complete()


def test_the_digest_of_a_text_is_that_of_its_lines() -> None:
    texts = ("a\nb\n", "a\r\nb\r\n", "a\rb\r", "\ufeffa\nb\n")
    assert len({report.digest(text) for text in texts}) == 1
    assert report.digest("a\nb") != report.digest("a\nb\n")
    assert report.digest("\ud800") != report.digest("\ud801")


def test_a_failed_report_carries_its_error_as_a_finding() -> None:
    broken = report.failed("main", "net.py", "", Failure("HL301", "does not parse", SPAN, ""))
    assert broken.status == "failed"
    assert broken.findings == (Finding("HL301", "error", "does not parse", None, SPAN),)


def test_an_op_is_called_what_people_call_it() -> None:
    op = _complete().reports[0].ops[0]
    assert op.name == "conv2d"
    assert dataclasses.replace(op, op="while_loop").name == "while_loop"


def test_an_op_is_shown_at_its_workspace_frame() -> None:
    op = _complete().reports[0].ops[0]
    assert op.span == SPAN
    assert dataclasses.replace(op, shown=None).span is None
