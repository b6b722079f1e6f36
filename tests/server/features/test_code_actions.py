"""What can be done about a finding: the edits that are offered, and what they leave behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from lsprotocol import types
from pygls.uris import to_fs_path

from handlens.report import load
from tests.server.conftest import Capabilities, Client, HeldRun, OpenDocument, Serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONV = "self.conv(x)"
KEEP = "Keep conv in float for handlens_tiny"
SUPPRESS = "Suppress HL101 on this line"


def on(
    document: OpenDocument, diagnostics: list[types.Diagnostic], text: str, code: str = "HL101"
) -> list[types.Diagnostic]:
    """The diagnostics of a rule on some text."""
    found = [e for e in diagnostics if e.range == document.range(text) and e.code == code]
    assert found, f"no {code} on {text}"
    return found[:1]


async def test_suppressing_a_finding_takes_it_away_with_the_next_run(
    client: Client, model: str
) -> None:
    document = client.open("suppressed.py", model)
    finding = on(document, await client.diagnostics(document), CONV)
    action = (await client.act(document, finding))[SUPPRESS]
    assert (action.kind, action.diagnostics) == ("quickfix", tuple(finding))
    text = document.edited(action.edit.changes[document.uri])
    assert f"x = {CONV}.mean((2, 3))  # handlens: ignore[HL101]\n" in text
    client.save(document, text)
    left = await client.diagnostics(
        document, lambda found: all(e.range != document.range(CONV) for e in found)
    )
    assert left


async def test_a_comment_that_is_there_gets_the_code_too(client: Client, model: str) -> None:
    text = model.replace(".mean((2, 3))", ".mean((2, 3))  # noqa  # handlens: ignore[HL104]")
    document = client.open("two_codes.py", text)
    finding = on(document, await client.diagnostics(document), CONV)
    action = (await client.act(document, finding))[SUPPRESS]
    text = document.edited(action.edit.changes[document.uri])
    assert "  # noqa  # handlens: ignore[HL101, HL104]\n" in text


async def test_an_unused_suppression_is_removed_and_that_is_the_fix_to_take(
    client: Client, model: str
) -> None:
    text = model.replace("return x", "return x  # handlens: ignore[HL103] # nosec")
    document = client.open("unused.py", text)
    diagnostics = await client.diagnostics(document)
    finding = on(document, diagnostics, "# handlens: ignore[HL103]", "HL203")
    action = (await client.act(document, finding))["Remove the unused suppression"]
    assert action.is_preferred
    assert finding[0].tags == (types.DiagnosticTag.Unnecessary,)
    assert "        return x  # nosec\n" in document.edited(action.edit.changes[document.uri])


async def test_keeping_an_op_in_float_names_its_module_in_the_target(
    client: Client, model: str
) -> None:
    document = client.open("kept.py", model)
    finding = on(document, await client.diagnostics(document), CONV)
    action = (await client.act(document, finding))[KEEP]
    text = document.edited(action.edit.changes[document.uri])
    assert text.endswith(
        "    return {\n"
        '        "model": Tiny(),\n'
        '        "example_inputs": (torch.randn(2, 3, 8, 8),),\n'
        '        "keep_float": ["conv"],\n'
        "    }\n"
    )
    client.save(document, text)
    await client.diagnostics(
        document, lambda found: all(e.range != document.range(CONV) for e in found)
    )


@pytest.mark.parametrize("hands_data_back", [True, False])
async def test_an_op_is_kept_in_float_for_the_target_that_the_finding_is_of(
    client: Client, model: str, hands_data_back: bool
) -> None:
    declared = model[model.index("def handlens_tiny") :]
    text = f"{model}\n\n{declared.replace('tiny', 'large').replace('(2, 3, 8', '(2, 3, 16')}"
    document = client.open(f"two_targets_{hands_data_back}.py", text)
    targets = ["handlens_tiny", "handlens_large"]

    def both(found: list[types.Diagnostic]) -> Any:
        here = [each for each in found if (each.code, each.range) == ("HL101", place)]
        return {each.data["target"]: each for each in here} if len(here) == 2 else None

    place = document.range(CONV)
    findings = both(await client.diagnostics(document, both))
    for target in targets:
        finding = attrs.evolve(findings[target])
        if not hands_data_back:
            finding.data = None
        actions = await client.act(document, [finding])
        kept = [title for title in actions if title.startswith("Keep ")]
        assert kept == [f"Keep conv in float for {target}"]
        edited = document.edited(actions[kept[0]].edit.changes[document.uri])
        declaration = edited[edited.index(f"def {target}") :].partition("\n\n\n")[0]
        assert '"keep_float": ["conv"]' in declaration


async def test_a_configured_target_keeps_an_op_in_float_by_its_project(
    client: Client, model: str
) -> None:
    project = client.root / "configured" / "pyproject.toml"
    project.parent.mkdir()
    table = '[tool.handlens.targets.tiny]  # mine\nmodel = "nets:Tiny"\nexample_inputs = "nets:inputs"\n'
    project.write_text(table)
    text = model[: model.index("def handlens_tiny")]
    text += "def inputs():\n    return (torch.randn(2, 3, 8, 8),)\n"
    document = client.open("configured/nets.py", text)
    finding = on(document, await client.diagnostics(document), CONV)
    action = (await client.act(document, finding))["Keep conv in float for tiny"]
    [edit] = action.edit.changes[project.as_uri()]
    lines = table.splitlines(keepends=True)
    assert (edit.range.start, edit.range.end) == (types.Position(3, 0), types.Position(3, 0))
    assert "".join(lines) + edit.new_text == table + 'keep_float = ["conv"]\n'


async def test_an_action_that_cannot_be_taken_says_why(client: Client, model: str) -> None:
    text = model.replace("return Tiny(), ", "pair = Tiny(), ") + "    return pair\n"
    document = client.open("disabled.py", text)
    finding = on(document, await client.diagnostics(document), CONV)
    action = (await client.act(document, finding))[KEEP]
    assert action.edit is None
    assert "does not return a pair or a mapping that is written out" in action.disabled.reason


@pytest.mark.parametrize(
    ("wrong", "title", "right"),
    [
        ('"recipe": "x68"', "Change 'x68' to 'x86'", '"recipe": "x86"'),
        ('"recipe": "x86+embeding"', "Change 'x86+embeding' to 'x86+embedding'", '"x86+embedding"'),
        ('"keep_flaot": []', "Change 'keep_flaot' to 'keep_float'", '"keep_float": []'),
        (
            '"keep_float": ["block.1"]',
            "Change 'block.1' to 'blocks.1'",
            '"keep_float": ["blocks.1"]',
        ),
        (
            '"adjust": {"blocks": "activation16"}',
            "Change 'activation16' to 'activation-16-bit'",
            '"blocks": "activation-16-bit"',
        ),
    ],
)
async def test_a_misspelled_name_is_changed(
    client: Client, model: str, wrong: str, title: str, right: str
) -> None:
    inputs = "(torch.randn(2, 3, 16, 16),)"
    given = f'return {{"model": Tiny(), "example_inputs": {inputs}, {wrong}}}'
    start = model.index("    return Tiny()")
    document = client.open("misspelled.py", f"{model[:start]}    {given}\n")
    # The one before was closed a moment ago: nothing of it is shown in this text.
    finding = await client.diagnostics(document, lambda found: found)
    assert [each.code for each in finding] == ["HL305"]
    action = (await client.act(document, finding))[title]
    assert action.is_preferred
    assert right in document.edited(action.edit.changes[document.uri])
    client.close(document)


async def test_what_is_inherited_leads_to_its_origin(client: Client, model: str) -> None:
    text = model.replace(".mean((2, 3))", ".relu().flatten(2).mean(2)")
    document = client.open("inherited.py", text)
    diagnostics = await client.diagnostics(document)
    inherited = next(e for e in diagnostics if e.code == "HL102")
    actions = await client.act(document, [inherited])
    action = next(a for title, a in actions.items() if title.startswith("Go to the origin: "))
    await client.execute(action.command.command, *action.command.arguments)
    shown = (await client.until(lambda: client.shown))[-1]
    assert shown.uri == document.uri
    assert shown.selection == inherited.related_information[0].location.range


async def declarations(client: Client, document: OpenDocument, place: str) -> Any:
    return await client.text_document_code_action_async(
        types.CodeActionParams(
            document.identifier, document.range(place), types.CodeActionContext([])
        )
    )


async def test_a_model_class_gets_a_target_that_runs(client: Client, model: str) -> None:
    text = model[: model.index("def handlens_tiny")].rstrip()
    document = client.open("undeclared.py", text)
    assert not await declarations(client, document, "def forward")
    [action] = await declarations(client, document, "class Tiny")
    assert (action.title, action.kind) == (
        "Declare a Handlens target for Tiny",
        "refactor.handlens.declareTarget",
    )
    await client.execute(action.command.command, *action.command.arguments)
    edit = client.applied[-1].edit
    client.save(document, document.edited(edit.changes[document.uri]))
    assert "    return Tiny(), (torch.randn(1, 3, 64, 64),)\n" in document.text
    shown = (await client.until(lambda: client.shown))[-1]
    assert document.covered(shown.selection) == "(torch.randn(1, 3, 64, 64),)"
    assert "HL101" in {each.code for each in await client.diagnostics(document)}
    [left] = await declarations(client, document, "class Tiny")
    assert left.kind == "source.handlens.rerun"


KEYWORD = """\
import torch
from torch import nn


class Part(nn.Module):
    def forward(self, x):
        return x.relu()


class Whole(nn.Module):
    def __init__(self, *, channels):
        super().__init__()
        self.part, self.conv = Part(), nn.Conv2d(channels, 8, 3)

    def forward(self, *, image):
        return self.part(self.conv(image))
"""


async def test_a_target_has_what_its_class_runs_on(client: Client) -> None:
    document = client.open("keyword.py", KEYWORD)
    whole = types.Range(types.Position(0, 0), types.Position(20, 0))
    actions = await client.text_document_code_action_async(
        types.CodeActionParams(document.identifier, whole, types.CodeActionContext([]))
    )
    # What others use comes after them.
    assert [each.title.split()[-1] for each in actions] == ["Whole", "Part"]
    await client.execute(actions[0].command.command, *actions[0].command.arguments)
    client.save(document, document.edited(client.applied[-1].edit.changes[document.uri]))
    assert '"model": Whole(channels=16),' in document.text
    assert '"example_kwargs": {"image": torch.randn(1, 16, 64, 64)},' in document.text
    codes = {each.code for each in await client.diagnostics(document)}
    assert not [each for each in codes if each.startswith("HL3")]


async def test_a_target_says_what_it_lacks(client: Client) -> None:
    text = KEYWORD.replace("channels):", "tokenizer: 'Tokenizer'):").replace("(channels,", "(3,")
    document = client.open("lacking.py", text)
    [action] = await declarations(client, document, "class Whole")
    await client.execute(action.command.command, *action.command.arguments)
    edited = document.edited(client.applied[-1].edit.changes[document.uri])
    assert "    # Not run yet: `tokenizer`" in edited
    assert "return Whole(tokenizer=...), (torch.randn(1, 3, 64, 64),)\n" in edited


async def test_a_client_that_applies_no_edits_gets_a_guess(
    serving: Serving, capabilities: Capabilities, tmp_path: Path, model: str
) -> None:
    able = capabilities()
    able.workspace = None
    async with serving(tmp_path, able) as client:
        document = client.open("guessed.py", model[: model.index("def handlens_tiny")])
        [action] = await declarations(client, document, "class Tiny")
        edited = document.edited(action.edit.changes[document.uri])
        assert "# Guessed from Tiny.forward: put in what it is made for." in edited


async def test_commands_tell_of_targets_and_cancel_runs(
    client: Client, held: HeldRun, model: str
) -> None:
    document = client.open("commands.py", held.text)
    await held.begun()
    [listed] = await client.execute("handlens.server.showTargets", document.uri)
    assert (listed["name"], listed["state"]) == ("handlens_tiny", "running")
    await client.execute("handlens.server.cancel", document.uri)
    await held.killed()
    client.save(document, model)
    await client.diagnostics(document)
    [listed] = await client.execute("handlens.server.showTargets", document.uri)
    assert (listed["state"], listed["recipe"]) == ("ok", "x86")
    assert listed["output"]["sqnr_db"] > 0


async def test_a_report_is_written_and_shown(client: Client, model: str) -> None:
    document = client.open("reported.py", model)
    assert await client.execute("handlens.server.report", document.uri, "html") is None
    await client.until(lambda: [e for e in client.messages if "no report" in e.message])
    await client.diagnostics(document)
    for form, external in (("html", True), ("json", False)):
        uri = await client.execute("handlens.server.report", document.uri, form)
        await client.until(lambda uri=uri: uri in [each.uri for each in client.shown])
        assert client.shown[-1].external == external
        text = Path(to_fs_path(uri) or "").read_text()
        assert "handlens_tiny" in text
        if form == "json":
            assert load(text).reports[0].status == "ok"


async def test_restarting_the_worker_runs_everything_again(client: Client, model: str) -> None:
    document = client.open("restarted.py", model)
    found = await client.diagnostics(document)
    client.stderr.clear()
    await client.execute("handlens.server.restartWorker")
    assert await client.diagnostics(document) == found
    await client.until(lambda: any("is ready" in line for line in client.stderr))
