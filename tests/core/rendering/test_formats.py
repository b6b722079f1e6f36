"""Every format renders the same document; the command line and the server find all of them in one place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from handlens.rendering.formats import FORMATS
from handlens.rendering.view import View
from handlens.report import Document, Failure, Finding, OutputAccuracy, Report, failed, load
from tests.sample_ops import FILE, losing_op

FINDING = Finding("HL101", "error", "conv2d 3.0 dB · stem", 1, losing_op(1, 3.0).span)
DOCUMENT = Document(
    "0.1.0",
    None,
    (
        Report(
            *("handlens_main", FILE, "x86", "ok"),
            output=OutputAccuracy("ok", 12.5, 0.1, 0.2, 0.9),
            ops=(losing_op(1, 3.0),),
            findings=(FINDING,),
        ),
        failed("handlens_other", FILE, "x86", Failure("HL302", "Export failed", None, "")),
    ),
)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_every_target(name: str) -> None:
    text = FORMATS[name].render(DOCUMENT, View(lambda _: None, "/"))
    for said in ("handlens_main", "handlens_other", "HL101", "Export failed"):
        assert said in text


def test_suffixes_tell_formats_apart() -> None:
    suffixes = [each.suffix for each in FORMATS.values()]
    assert len(set(suffixes)) == len(suffixes)
    assert all(suffix.startswith(".") for suffix in suffixes)


def test_json_is_the_document() -> None:
    text = FORMATS["json"].render(DOCUMENT, View(lambda _: None, "/"))
    assert load(text) == DOCUMENT
    assert text.isascii()
    assert json.loads(text)["reports"][0]["findings"][0]["rule"] == "HL101"


def test_html_is_a_page() -> None:
    text = FORMATS["html"].render(DOCUMENT, View(lambda _: None, "/"))
    assert text.startswith("<!doctype html>")
    HTMLParser().feed(text)


def test_what_a_format_needs_is_imported_when_it_is_used() -> None:
    program = """
import sys
from handlens.rendering.formats import FORMATS
from handlens.rendering.view import View
print(sorted({"jinja2", "rich", "torch"} & sys.modules.keys()))
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "core")},
        check=True,
    )
    assert ended.stdout == "[]\n"
