"""A model file from open to close: diagnostics, hover, code actions, reruns, progress; for clients that
pull diagnostics and such that do not, in every position encoding."""

import itertools
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.server.conftest import PAGES, Capabilities, Client, HeldRun, Serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONV = "self.conv(x)"
BLOCK = "block(x)"


KINDS = [
    pytest.param((pulls, encoding), id=f"{'pull' if pulls else 'push'}-{encoding.value}")
    for pulls, encoding in itertools.product((False, True), types.PositionEncodingKind)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def client(
    request: pytest.FixtureRequest,
    serving: Serving,
    capabilities: Capabilities,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Client]:
    pulls, encoding = request.param
    able = capabilities(pulls, position_encodings=[encoding])
    async with serving(tmp_path_factory.mktemp("workspace"), able) as client:
        assert (client.pulls, client.encoding) == (pulls, encoding)
        yield client


@pytest.fixture(scope="module")
def model(model: str) -> str:
    """Spans that begin behind characters of every length."""
    return model.replace(f"x = {CONV}", f'_ = "é𝔘😀\t"; x = {CONV}').replace(
        f"x = {BLOCK}", f'_ = "ß𝔘"; x = {BLOCK}'
    )


def tokens(client: Client, wanted: Callable[..., Any]) -> set[str | int]:
    """The tokens of the progress that has a wanted value."""
    return {token for token, value in client.progress_values if wanted(value)}


def by_code(diagnostics: list[types.Diagnostic], code: str) -> list[types.Diagnostic]:
    return [each for each in diagnostics if each.code == code]


async def test_opening_shows_findings_on_the_expressions_that_cause_them(
    client: Client, model: str
) -> None:
    document = client.open("opened.py", model)
    diagnostics = await client.diagnostics(document)
    ranges = [each.range for each in by_code(diagnostics, "HL101")]
    assert document.range(CONV) in ranges
    assert ranges.count(document.range(BLOCK)) == 1, "a line shows its worst instance"
    first = by_code(diagnostics, "HL101")[0]
    assert first.severity == types.DiagnosticSeverity.Warning
    assert first.source == "handlens"
    assert first.code_description.href == f"{PAGES}rules/HL101.md"
    assert first.data["target"] == "handlens_tiny"
    assert isinstance(first.data["handle"], int)
    assert re.match(r"\w+ \d+\.\d dB", first.message)


async def test_related_information_leads_to_other_places(client: Client, model: str) -> None:
    text = model.replace("x = block(x)", "x = self.step(block, x)").replace(
        "    def forward",
        "    def step(self, block, x):\n        return block(x)\n\n    def forward",
    )
    document = client.open("related.py", text)
    diagnostics = await client.diagnostics(document)
    [step] = [each for each in diagnostics if each.range == document.range(BLOCK)]
    # The other two runs of the line are in its hover: a link to where one is leads nowhere.
    [caller] = step.related_information
    assert document.covered(caller.location.range) == "self.step(block, x)"
    assert caller.message == "called from Tiny.forward"


async def test_hover_has_the_numbers_of_the_op(client: Client, model: str) -> None:
    document = client.open("hovered.py", model)
    await client.diagnostics(document)
    hover = await client.hover(document, document.position("conv(x)"))
    assert hover.range == document.range(CONV)
    assert hover.contents.kind == types.MarkupKind.Markdown
    text = hover.contents.value
    assert text.startswith("**conv2d** · `conv`\n\nthe model's input x (8 bits")
    for row in ("SQNR", "Introduced here", "MSE", "Max abs error", "Cosine", "Reference range"):
        assert f"| {row} | " in text
    assert re.search(r"\| Quantized weight \| int8 per-channel, scale .*, zero point 0 \|", text)
    assert "None" not in text


async def test_hover_takes_the_smallest_expression_and_the_worst_instance(
    client: Client, model: str
) -> None:
    document = client.open("smallest.py", model)
    await client.diagnostics(document)
    outer = await client.hover(document, document.position(".mean"))
    assert outer.range == document.range("self.conv(x).mean((2, 3))")
    loop = await client.hover(document, document.position(BLOCK))
    shown, others = loop.contents.value.split("Also here: ")
    figures = [float(each) for each in re.findall(r"(\d+\.\d) dB", others)]
    worst = float(re.search(r"SQNR \| \*\*(\d+\.\d) dB", shown)[1])
    assert len(figures) == 2
    assert worst <= min(figures)
    assert len(set(re.findall(r"`(blocks\.\d)`", loop.contents.value))) == 3


async def test_hover_says_nothing_beside_an_op(client: Client, model: str) -> None:
    document = client.open("beside.py", model)
    await client.diagnostics(document)
    assert await client.hover(document, document.position("class Tiny")) is None
    assert await client.hover(document, types.Position(10_000, 3)) is None


async def test_what_was_found_moves_with_the_text_and_is_gone_with_it(
    client: Client, model: str
) -> None:
    document = client.open("edited.py", model)
    found = await client.diagnostics(document)
    fresh = await client.hover(document, document.position(CONV))

    client.change(document, "# one line more\n" + model)
    moved = await client.diagnostics(document)
    assert len(moved) == len(found)
    assert document.range(CONV) in [each.range for each in moved]
    hover = await client.hover(document, document.position(CONV))
    assert (hover.range, hover.contents) == (document.range(CONV), fresh.contents)

    client.change(document, model.replace("class Tiny", "SIZE = 3\n\n\nclass Tiny"))
    moved = await client.diagnostics(document)
    assert document.range(BLOCK) in [each.range for each in moved]
    hover = await client.hover(document, document.position(CONV))
    assert hover.range == document.range(CONV)
    assert hover.contents.value.startswith("*Measured before the last edits of this file.*")

    client.change(document, model.replace(CONV, "self.conv(2 * x)"))
    left = await client.diagnostics(document)
    assert document.range("self.conv(2 * x)") not in [each.range for each in left]
    assert document.range(BLOCK) in [each.range for each in left]
    assert await client.hover(document, document.position("conv(2 * x)")) is None

    client.change(document, model)
    assert await client.diagnostics(document) == found
    assert await client.hover(document, document.position(CONV)) == fresh


async def test_code_action_reruns_the_unsaved_text(client: Client, model: str) -> None:
    document = client.open("rerun.py", model)
    await client.diagnostics(document)
    client.change(document, "# unsaved\n\n" + model)
    diagnostics = await client.diagnostics(document)
    context = types.CodeActionContext(diagnostics)
    actions = await client.text_document_code_action_async(
        types.CodeActionParams(document.identifier, diagnostics[0].range, context)
    )
    title = "Rerun the quantization comparison"
    reruns = [each for each in actions if each.title == title]
    assert [each.kind for each in reruns] == ["quickfix", "source.handlens.rerun"]
    begun = tokens(client, lambda each: each.kind == "begin")
    await client.execute(reruns[1].command.command, *reruns[1].command.arguments)
    [token] = await client.until(lambda: tokens(client, lambda each: each.kind == "begin") - begun)
    await client.until(lambda: token in tokens(client, lambda each: each.kind == "end"))
    assert document.range(CONV) in [each.range for each in await client.shows(document)]
    assert document.file.read_text() == model


async def test_code_action_heeds_the_kinds_that_are_asked_for(client: Client, model: str) -> None:
    document = client.open("kinds.py", model)

    async def kinds(only: Any) -> Any:
        context = types.CodeActionContext([], only)
        actions = await client.text_document_code_action_async(
            types.CodeActionParams(document.identifier, document.range(CONV), context)
        )
        return [each.kind for each in actions]

    assert await kinds(None) == ["source.handlens.rerun"]
    assert await kinds([types.CodeActionKind.Source]) == ["source.handlens.rerun"]
    assert await kinds([types.CodeActionKind.Refactor]) == []


async def test_saving_supersedes_the_run_that_is_under_way(
    client: Client, held: HeldRun, model: str
) -> None:
    document = client.open("superseded.py", held.text)
    await held.begun()
    client.save(document, model)
    await held.killed()
    diagnostics = await client.diagnostics(document)
    assert document.range(CONV) in [each.range for each in diagnostics]
    assert await client.shows(document) == diagnostics


async def test_progress_names_the_target_and_the_stages(client: Client, model: str) -> None:
    document = client.open("progress.py", model.replace("handlens_tiny", "handlens_progress"))
    await client.diagnostics(document)
    title = "Handlens: handlens_progress"
    [token] = await client.until(lambda: tokens(client, lambda each: each.title == title))
    await client.until(lambda: token in tokens(client, lambda each: each.kind == "end"))
    begin, *values, end = [value for each, value in client.progress_values if each == token]
    assert (begin.kind, begin.cancellable, end.kind) == ("begin", True, "end")
    percentages = [value.percentage for value in (begin, *values)]
    assert percentages == sorted(percentages)
    assert "comparing" in [value.message for value in values]


async def test_cancelling_the_progress_kills_the_run_and_keeps_what_was_shown(
    client: Client, held: HeldRun, model: str
) -> None:
    document = client.open("cancelled.py", model)
    shown = await client.diagnostics(document)
    before = tokens(client, lambda each: each.kind == "begin")
    client.save(document, held.text)
    await held.begun()
    [token] = await client.until(lambda: tokens(client, lambda each: each.kind == "begin") - before)
    client.window_work_done_progress_cancel(types.WorkDoneProgressCancelParams(token))
    await held.killed()
    await client.until(lambda: token in tokens(client, lambda each: each.message == "cancelled"))
    last = await client.shows(document)
    assert [each.message for each in last] == [each.message for each in shown]


async def test_saving_without_a_change_of_code_runs_nothing(client: Client, model: str) -> None:
    document = client.open("formatted.py", model)
    await client.diagnostics(document)
    begun = tokens(client, lambda each: each.kind == "begin")
    client.save(document, model.replace(CONV, "self.conv( x )") + "\n\n# the end\n")
    # A suppression makes a difference, and takes no run either.
    text = model.replace(".mean((2, 3))", ".mean((2, 3))  # handlens: ignore")
    client.save(document, text)
    line = document.position(CONV).line
    await client.diagnostics(
        document, lambda found: line not in [each.range.start.line for each in found]
    )
    assert tokens(client, lambda each: each.kind == "begin") == begun


async def test_a_result_takes_in_what_was_typed_while_it_was_run(
    client: Client, model: str
) -> None:
    document = client.open("outrun.py", model)
    client.change(document, "# typed while it runs\n" + model)
    diagnostics = await client.diagnostics(document)
    assert document.range(CONV) in [each.range for each in diagnostics]
    assert (await client.hover(document, document.position(CONV))).range == document.range(CONV)


async def test_closing_kills_the_run_and_clears_what_was_shown(
    client: Client, held: HeldRun, model: str
) -> None:
    document = client.open("closed.py", model)
    await client.diagnostics(document)
    client.save(document, held.text)
    await held.begun()
    client.close(document)
    await held.killed()
    # A client that pulls is told of files that are not open, and this one is none of its own any more.
    told = client.published[document.uri]
    await client.until(lambda: not (told and told[-1].diagnostics))


async def test_rerun_of_a_file_that_is_not_open_is_refused(client: Client, model: str) -> None:
    command = types.ExecuteCommandParams("handlens.server.rerun", arguments=["file:///not/open.py"])
    with pytest.raises(JsonRpcException, match="not open"):
        await client.workspace_execute_command_async(command)


async def test_several_targets_are_all_run(client: Client, model: str) -> None:
    second = model + "\n\ndef handlens_second():\n    return Tiny(), (torch.ones(1, 3, 8, 8),)\n"
    document = client.open("targets.py", second)

    def of_both(diagnostics: list[types.Diagnostic]) -> bool:
        return {each.data["target"] for each in diagnostics} >= {"handlens_tiny", "handlens_second"}

    await client.diagnostics(document, of_both)
    hover = await client.hover(document, document.position(CONV))
    assert "`handlens_tiny`" in hover.contents.value
    assert "`handlens_second`" in hover.contents.value


async def test_pulling_again_says_that_nothing_has_changed(client: Client, model: str) -> None:
    document = client.open("unchanged.py", model)
    if not client.pulls:
        assert client.initialized_with.capabilities.diagnostic_provider is not None
        return
    await client.diagnostics(document)

    async def pull(previous: str | None) -> Any:
        return await client.text_document_diagnostic_async(
            types.DocumentDiagnosticParams(document.identifier, previous_result_id=previous)
        )

    full = await pull(None)
    assert (full.kind, bool(full.items)) == ("full", True)
    same = await pull(full.result_id)
    assert (same.kind, same.result_id) == ("unchanged", full.result_id)
    client.change(document, "# one line more\n" + model)
    moved = await pull(full.result_id)
    assert moved.kind == "full"
    assert moved.result_id != full.result_id
    assert document.uri not in client.published
