"""What lines and targets say of themselves, without being asked."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from lsprotocol import types

from tests.server.conftest import Capabilities, Client, HeldRun, OpenDocument, Serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONV = "self.conv(x)"
BLOCK = "x = block(x)"
WHOLE = types.Range(types.Position(0, 0), types.Position(10_000, 0))


async def hints(client: Client, document: OpenDocument, where: types.Range = WHOLE) -> Any:
    return await client.text_document_inlay_hint_async(
        types.InlayHintParams(document.identifier, where)
    )


async def lenses(client: Client, document: OpenDocument) -> Any:
    return await client.text_document_code_lens_async(types.CodeLensParams(document.identifier))


def end_of(document: OpenDocument, text: str) -> types.Position:
    line = document.position(text).line
    return types.Position(line, len(document.text.split("\n")[line]))


async def test_each_line_shows_the_worst_ratio_of_its_ops(client: Client, model: str) -> None:
    document = client.open("hints.py", model)
    assert not await hints(client, document)
    await client.diagnostics(document)
    convolution, block = await hints(client, document)
    assert convolution.position == end_of(document, CONV)
    assert re.fullmatch(r"min \d+\.\d dB of 2 ops", convolution.label)
    assert block.position == end_of(document, BLOCK)
    assert re.fullmatch(r"min \d+\.\d dB of 3 ops", block.label)
    assert block.tooltip is None

    resolved = await client.inlay_hint_resolve_async(block)
    assert "**linear**" in resolved.tooltip.value
    assert "Also here: " in resolved.tooltip.value
    figures = [float(each) for each in re.findall(r"(\d+\.\d) dB", resolved.tooltip.value)]
    assert float(re.search(r"min (\d+\.\d) dB", block.label)[1]) in figures

    assert await hints(client, document, document.range(BLOCK)) == (block,)


async def test_hints_move_with_the_text_and_say_that_they_are_of_before(
    client: Client, model: str
) -> None:
    document = client.open("moved.py", model)
    await client.diagnostics(document)
    fresh = await hints(client, document)
    client.change(document, "# one line more\n" + model)
    assert [(each.label, each.position.line) for each in await hints(client, document)] == [
        (each.label, each.position.line + 1) for each in fresh
    ]
    client.change(document, model.replace("x = block(x)", "x = block(2 * x)"))
    [left] = await hints(client, document)
    assert left.label == fresh[0].label + " (stale)"


async def test_a_lens_tells_the_state_of_its_target_and_runs_it(
    client: Client, held: HeldRun, model: str
) -> None:
    document = client.open("lens.py", held.text)
    await held.begun()
    [lens, *_] = await lenses(client, document)
    assert lens.command.title == "Handlens: running … · cancel"
    assert lens.command.command == "handlens.server.cancel"
    assert lens.range == document.range("handlens_tiny")

    client.save(document, model)
    await client.diagnostics(document)
    [lens, *_] = await lenses(client, document)
    title = r"Handlens: output \d+\.\d dB · worst \w+ \d+\.\d dB · rerun"
    assert re.fullmatch(title, lens.command.title)
    client.change(document, model.replace("block(x)", "block(2 * x)"))
    [lens, *_] = await lenses(client, document)
    assert lens.command.title.endswith(" · stale · rerun")

    await client.workspace_execute_command_async(
        types.ExecuteCommandParams(lens.command.command, arguments=lens.command.arguments)
    )
    await client.diagnostics(
        document, lambda found: document.range("block(2 * x)") in [each.range for each in found]
    )
    [lens, *_] = await lenses(client, document)
    title = title.replace("output", r"output \d+\.\d →")
    assert re.fullmatch(title, lens.command.title), "it also tells what the output was before"

    client.save(document, model.replace("return x\n", "return y\n"))
    await client.diagnostics(document, lambda found: "HL302" in [each.code for each in found])
    [lens, *_] = await lenses(client, document)
    failed = "Handlens: the run failed: Exporting Tiny failed: .*y.* · rerun"
    assert re.fullmatch(failed, lens.command.title)


async def test_each_target_of_a_file_has_its_own_state(
    client: Client, held: HeldRun, model: str
) -> None:
    waits = indent(held.text.removesuffix(model), "    ")
    text = f"{model}\n\ndef handlens_waits():\n{waits}    return handlens_tiny()\n"
    document = client.open("two_targets.py", text)
    await held.begun()
    titles = {
        document.covered(lens.range): lens.command.title
        for lens in reversed(await lenses(client, document))
    }
    assert re.fullmatch(r"Handlens: output .* · rerun", titles["handlens_tiny"])
    assert titles["handlens_waits"] == "Handlens: running … · cancel"
    client.close(document)
    await held.killed()


def named(diagnostic: types.Diagnostic) -> str:
    """What stands last in the first line."""
    return diagnostic.message.splitlines()[0].split(" · ")[-1]


async def test_hints_are_about_the_target_that_is_selected(client: Client, model: str) -> None:
    other = "\n\ndef handlens_float():\n    model, inputs = handlens_tiny()\n"
    given = '{"model": model, "example_inputs": inputs, "keep_float": ["blocks.0", "blocks.1"]}'
    document = client.open("selected.py", f"{model}{other}    return {given}\n")
    names = {"handlens_tiny", "handlens_float"}
    await client.diagnostics(document, lambda found: names <= set(map(named, found)))
    both = {each.label for each in await hints(client, document)}
    seen = []
    for target in ("handlens_tiny", "handlens_float"):
        params = {"uri": document.uri, "target": target}
        client.protocol.notify("handlens/didSelectTarget", params)
        seen.append({each.label for each in await hints(client, document)})
    assert seen[0] != seen[1]
    assert both not in seen


async def test_a_hint_says_all_that_is_known_of_its_line(client: Client, model: str) -> None:
    loud = "self.conv.weight.data[0] *= 200; self.blocks[0].weight.data[:, 0] /= 200"
    text = model.replace("    def forward", f"        {loud}\n\n    def forward")
    document = client.open("loud.py", text)
    messages = [each.message for each in await client.diagnostics(document)]
    causes = {line for each in messages for line in each.splitlines()[1:] if line.isprintable()}
    [convolution, _] = await hints(client, document)
    tooltip = (await client.inlay_hint_resolve_async(convolution)).tooltip.value
    assert any(cause in tooltip for cause in causes), causes


async def test_a_class_of_modules_tells_what_is_worst_in_it_and_leads_there(
    client: Client, model: str
) -> None:
    document = client.open("class_lens.py", model)
    assert [each.range for each in await lenses(client, document)] == [
        document.range("handlens_tiny")
    ]
    await client.diagnostics(document)
    *_, lens = await lenses(client, document)
    assert lens.range == document.range("Tiny")
    worst = re.fullmatch(r"Handlens: 5 ops · worst (\w+) (\d+\.\d) dB", lens.command.title)
    assert worst, lens.command.title

    # It is the worst that the lines of the class show, and a click goes to its expression.
    figures = [re.search(r"(\d+\.\d) dB", each.label)[1] for each in await hints(client, document)]
    assert float(worst[2]) == min(map(float, figures))
    await client.execute(lens.command.command, *lens.command.arguments)
    shown = (await client.until(lambda: client.shown))[-1]
    assert shown.uri == document.uri
    assert document.covered(shown.selection) in (CONV, f"{CONV}.mean((2, 3))", "block(x)")


async def test_a_client_is_told_when_there_is_more_to_ask_for(
    serving: Serving, capabilities: Capabilities, tmp_path: Path, model: str
) -> None:
    able = capabilities()
    able.workspace = types.WorkspaceClientCapabilities(
        inlay_hint=types.InlayHintWorkspaceClientCapabilities(refresh_support=True),
        code_lens=types.CodeLensWorkspaceClientCapabilities(refresh_support=True),
    )
    async with serving(tmp_path, able) as client:
        asked = []
        for method in (types.WORKSPACE_INLAY_HINT_REFRESH, types.WORKSPACE_CODE_LENS_REFRESH):

            @client.feature(method)
            def refresh(params: Any, method: str = method) -> None:
                asked.append(method)
                client._arrived.set()

        document = client.open("told.py", model)
        await client.diagnostics(document)
        await client.until(lambda: len(set(asked)) == 2 and len(asked) >= 4)
        assert await hints(client, document)

        before = len(asked)
        client.configure(inlayHints=False, thresholds={"informationDb": 300})
        await client.until(lambda: len(asked) > before)
        assert not await hints(client, document)
