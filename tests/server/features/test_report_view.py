"""What a client is told that shows reports and the state of targets by itself."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import pytest_asyncio
from lsprotocol import types

from tests.server.conftest import Capabilities, Client, OpenDocument, Serving

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(
    serving: Serving, capabilities: Capabilities, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    able = capabilities()
    able.experimental = {"handlens": {"status": True}}
    async with serving(tmp_path_factory.mktemp("workspace"), able) as client:
        yield client


def states(client: Client, document: OpenDocument) -> list[str]:
    """The states of a document's only target, each once as they came."""
    told = [each.targets[0].state for each in client.statuses if each.uri == document.uri]
    return [state for i, state in enumerate(told) if i == 0 or told[i - 1] != state]


async def ask(client: Client, method: str, document: OpenDocument, **params: Any) -> Any:
    answer = await client.protocol.send_request_async(method, {"uri": document.uri, **params})
    return answer


async def test_the_state_of_a_target_is_told_as_it_changes(client: Client, model: str) -> None:
    document = client.open("state.py", model)
    await client.diagnostics(document)
    await client.until(lambda: states(client, document)[-1:] == ["ok"])
    assert states(client, document) == ["running", "ok"]
    stages = [
        (target.stage, target.percentage)
        for each in client.statuses
        if each.uri == document.uri
        for target in each.targets
        if target.state == "running"
    ]
    assert list(dict.fromkeys(stage for stage, _ in stages)) == [
        "starting",
        "load",
        "export",
        "quantize",
        "compare",
    ]
    [target] = client.statuses[-1].targets
    assert (target.name, target.kind, target.recipe) == ("handlens_tiny", "function", "x86")
    assert target.range.start.line == document.range("handlens_tiny").start.line
    assert target.output.sqnr_db > 0
    assert target.findings.error + target.findings.warning + target.findings.information > 0
    assert target.seconds > 0
    assert target.finished.endswith("+00:00")
    assert client.statuses[-1].trusted
    assert client.statuses[-1].problem is None

    client.change(document, model.replace("block(x)", "block(2 * x)"))
    await client.until(lambda: states(client, document)[-1] == "stale")
    client.save(document, model.replace("return x", "return y"))
    await client.until(lambda: states(client, document)[-1] == "failed")
    assert "y" in client.statuses[-1].targets[0].error
    # Every change was told once.
    assert all(a != b for a, b in zip(client.statuses, client.statuses[1:]))


METRIC = """\
def accuracy(outputs, batch):
    x, labels = batch
    return (outputs.argmax(-1) == labels).float().mean()


def handlens_metric():
    torch.manual_seed(1)
    model, x = nn.Sequential(Tiny(), nn.Linear(8, 4)), torch.randn(8, 3, 8, 8)
    labelled = [(x, model.eval()(x).argmax(-1))]
    return dict(model=model, example_inputs=(x,), evaluation=labelled, metric=accuracy)
"""


async def test_logits_and_the_metric_are_told_wherever_a_target_is(
    client: Client, model: str
) -> None:
    document = client.open("metric.py", model.partition("def handlens_tiny")[0] + METRIC)
    await client.diagnostics(document)
    report = await ask(client, "handlens/report", document, target="handlens_metric")
    (first, agree), (second, _), (metric, values) = report.output.objectives
    assert (first, second, metric) == ("top-1 agrees in", "KL", "accuracy")
    assert re.fullmatch(r"[\d.]+ % of 8 rows", agree)
    assert re.fullmatch(r"1 → [\d.]+", values)

    lenses = await client.text_document_code_lens_async(types.CodeLensParams(document.identifier))
    titles = [lens.command.title for lens in lenses]
    assert any(f" dB, accuracy {values} · worst " in title for title in titles)
    hover = await client.text_document_hover_async(
        types.HoverParams(document.identifier, document.position("handlens_metric"))
    )
    assert f"top-1 agrees in {agree} · KL " in hover.contents.value
    assert f" · accuracy {values}" in hover.contents.value


async def test_a_report_has_every_op_and_where_it_is_by_now(client: Client, model: str) -> None:
    document = client.open("report.py", model)
    await client.diagnostics(document)
    report = await ask(client, "handlens/report", document, target="handlens_tiny")
    assert (report.target, report.recipe, report.stale) == ("handlens_tiny", "x86", False)
    assert list(report.output.objectives) == []
    assert report.coverage.matched == len(report.ops)
    assert [each.name for each in report.ops] == ["conv2d", "mean", "linear", "linear", "linear"]
    convolution = report.ops[0]
    assert (convolution.line, convolution.place) == (
        "x = self.conv(x).mean((2, 3))",
        "report.py:13",
    )
    assert convolution.handle in [each.handle for each in report.findings]
    [output] = [each for each in report.findings if each.rule == "HL105"]
    assert (output.handle, output.place) == (None, "report.py:19")
    assert vars_of(report.thresholds)["warning_db"] == 300

    detail = await ask(
        client, "handlens/op", document, target="handlens_tiny", handle=convolution.handle
    )
    assert list(detail.rows[0]) == ["SQNR", f"{convolution.sqnr_db:.1f} dB"]
    assert sum(detail.errors.counts) > 0

    async def place() -> Any:
        return await ask(
            client,
            "handlens/location",
            document,
            target="handlens_tiny",
            handle=convolution.handle,
        )

    assert covered(document, (await place()).range) == "self.conv(x)"

    # It moves with the text, and ends with what it covers.
    client.change(document, "# one line more\n" + document.text)
    assert covered(document, (await place()).range) == "self.conv(x)"
    client.change(document, document.text.replace("self.conv(x)", "self.conv(2 * x)"))
    assert await place() is None
    assert (await ask(client, "handlens/report", document, target="handlens_tiny")).stale


async def test_the_ops_at_a_place_are_those_of_the_innermost_expression(
    client: Client, model: str
) -> None:
    document = client.open("places.py", model)
    await client.diagnostics(document)
    report = await ask(client, "handlens/report", document, target="handlens_tiny")

    async def at(text: str) -> Any:
        start = document.position(text)
        position = {"line": start.line, "character": start.character}
        found = await ask(client, "handlens/opsAt", document, position=position)
        return [each["handle"] for each in found]

    convolution, mean, *linear = [each.handle for each in report.ops]
    assert await at("conv(x)") == [convolution]
    assert await at("mean((2") == [mean]
    assert await at("block(x)") == linear
    assert await at("x = self.conv") == [convolution, mean], "beside all expressions it is the line"
    assert await at("import torch") == []


async def test_nothing_is_told_of_what_is_not_there(client: Client, model: str) -> None:
    document = client.open("nothing.py", "import torch\n")
    for method, params in (
        ("handlens/report", {"target": "handlens_tiny"}),
        ("handlens/op", {"target": "handlens_tiny", "handle": 1}),
        ("handlens/location", {"target": "handlens_tiny", "handle": None}),
    ):
        assert await ask(client, method, document, **params) is None
    await client.until(lambda: client.statuses[-1].uri == document.uri)
    assert list(client.statuses[-1].targets) == []


def vars_of(given: Any) -> Any:
    return given._asdict()


def covered(document: OpenDocument, where: types.Range) -> str:
    start, end = (types.Position(each.line, each.character) for each in (where.start, where.end))
    return document.covered(types.Range(start, end))


async def test_a_hover_has_pictures_and_links_for_who_shows_them(
    serving: Serving, capabilities: Capabilities, tmp_path: Path, model: str
) -> None:
    able = capabilities()
    able.experimental = {
        "handlens": {"images": True, "commandLinks": True, "diagnosticsInHover": True}
    }
    async with serving(tmp_path, able) as client:
        document = client.open("pictures.py", model)
        await client.diagnostics(document)
        text = (await client.hover(document, document.position("block(x)"))).contents.value
        pictures = re.findall(r"!\[([^\]]*)\]\(data:image/svg\+xml;base64,([^)]*)\)", text)
        assert [said for said, _ in pictures] == [
            "SQNR of the 3 instances, in order",
            "Histogram of its errors",
        ]
        for _, data in pictures:
            assert ElementTree.fromstring(base64.b64decode(data)).tag.endswith("svg")
        [rerun, report] = re.findall(r"\[\w+\]\(command:([\w.]+)\?([^)]*)\)", text)
        assert rerun[0] == "handlens.server.rerun"
        assert report[0] == "handlens.server.report"
        assert json.loads(unquote(report[1])) == [document.uri, "html"]
        assert len(text) < 100_000

        # The cause is in the diagnostic that the client shows above it.
        found = await client.shows(document)
        convolution = next(each for each in found if each.range == document.range("self.conv(x)"))
        _, *cause = convolution.message.splitlines()
        hover = await client.hover(document, document.position("self.conv(x)"))
        assert cause
        assert not any(line in hover.contents.value for line in cause)
