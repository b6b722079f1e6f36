"""What an editor is told of a result beside its numbers: whether the reference is the model, what stayed in
float, and how accurate the output is."""

from __future__ import annotations

import pytest
from lsprotocol import types

from tests.server.conftest import PAGES, Client
from tests.server.features.test_report_view import ask, covered

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The recipe folds both batch norms into the one convolution.
SHARED = """\
import torch
from torch import nn


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 3)
        self.first = nn.BatchNorm2d(3)
        self.second = nn.BatchNorm2d(3)
        self.second.running_var.fill_(9.0)

    def forward(self, x):
        once = self.first(self.conv(x))
        return self.second(self.conv(once))


def handlens_shared():
    return Shared(), (torch.randn(1, 3, 9, 9),)
"""

# The quantizer does not look into the region.
FLOAT = """\
import torch
from torch import nn


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gate = nn.Linear(8, 8)
        self.head = nn.Linear(8, 8)

    def forward(self, x):
        with torch.no_grad():
            gate = torch.sigmoid(self.gate(x))
        return self.head(x) * gate


def handlens_gated():
    return Gated(), (torch.randn(4, 8),)
"""
GATE = "self.gate(x)"


def of(found: list[types.Diagnostic], code: str) -> list[types.Diagnostic]:
    """The diagnostics of a rule."""
    return [each for each in found if each.code == code]


async def test_a_reference_that_is_not_the_model_is_told_everywhere(client: Client) -> None:
    document = client.open("shared.py", SHARED)
    [found] = of(await client.diagnostics(document), "HL204")
    assert found.severity == types.DiagnosticSeverity.Error
    assert found.code_description.href == f"{PAGES}rules/HL204.md"
    assert document.covered(found.range) in ("self.conv(x)", "self.conv(once)")
    actions = await client.act(document, [found])
    assert "Suppress HL204 on this line" in actions
    assert not any(title.startswith("Keep ") for title in actions), (
        "that would not make it the model"
    )

    hover = await client.hover(document, document.position("handlens_shared"))
    assert "**The reference is not the model.**" in hover.contents.value
    assert hover.range == document.range("handlens_shared")
    [lens, *_] = await client.text_document_code_lens_async(
        types.CodeLensParams(document.identifier)
    )
    assert lens.command.title.startswith("Handlens: the reference is not the model · output ")

    target = {"target": "handlens_shared"}
    report = await ask(client, "handlens/report", document, **target)
    verified = report.verified
    assert (verified.verdict, verified.text[:30]) == ("differs", "the reference is not the model")
    assert verified.sqnr_db < 80
    assert verified.actual_sqnr_db < 80
    assert verified.place == f"shared.py:{found.range.start.line + 1}"
    location = await ask(client, "handlens/location", document, **target, handle=verified.handle)
    assert covered(document, location.range) == document.covered(found.range)
    location = await ask(client, "handlens/location", document, **target, handle=None)
    assert covered(document, location.range) == "handlens_shared"


async def test_what_stays_in_float_is_told_at_its_line_with_the_reason(client: Client) -> None:
    document = client.open("gated.py", FLOAT)
    [found] = of(await client.diagnostics(document), "HL205")
    assert found.severity == types.DiagnosticSeverity.Information
    assert found.range == document.range(GATE)
    assert "Suppress HL205 on this line" in await client.act(document, [found])
    assert not any(title.startswith("Keep ") for title in await client.act(document, [found]))
    hover = await client.hover(document, document.position(GATE))
    assert (
        "| Introduced here | not quantized: it is inside torch.no\\_grad(), "
        in hover.contents.value
    )

    report = await ask(client, "handlens/report", document, target="handlens_gated")
    [left] = report.coverage.in_float
    assert (left.module, left.place) == ("gate", f"gated.py:{found.range.start.line + 1}")
    [op] = [each for each in report.ops if each.handle == left.handle]
    assert op.in_float == f"not quantized: {left.reason}"
    [by] = report.quantized_by
    assert (by.name, by.package) == ("X86InductorQuantizer", "torchao")
    assert report.verified.text == "reference = model, to the bit"
    hover = await client.hover(document, document.position("handlens_gated"))
    assert "| Verified | reference = model, to the bit |" in hover.contents.value
    assert "| Left in float | 1 linear |" in hover.contents.value


async def test_a_place_that_was_suppressed_is_known_when_the_comment_is_gone(
    client: Client,
) -> None:
    text = FLOAT.replace(GATE + ")", GATE + ")  # handlens: ignore[HL205]")
    document = client.open("suppressed_float.py", text)
    assert of(await client.diagnostics(document), "HL205") == []
    ran = len(client.progress_values)
    client.change(document, "# moved\n\n" + FLOAT)
    [found] = of(await client.diagnostics(document, lambda e: of(e, "HL205")), "HL205")
    assert found.range == document.range(GATE)
    assert len(client.progress_values) == ran, "no run was needed"


async def test_the_output_is_a_finding_at_the_target_and_suppressed_there(
    client: Client, model: str
) -> None:
    document = client.open("output.py", model)
    [found] = of(await client.diagnostics(document), "HL105")
    assert found.range == document.range("handlens_tiny")
    assert found.message.startswith("output ")
    assert found.code_description.href == f"{PAGES}rules/HL105.md"
    action = (await client.act(document, [found]))["Suppress HL105 on this line"]
    text = document.edited(action.edit.changes[document.uri])
    assert "def handlens_tiny():  # handlens: ignore[HL105]\n" in text
    client.change(document, text)
    await client.diagnostics(document, lambda found: found and not of(found, "HL105"))
