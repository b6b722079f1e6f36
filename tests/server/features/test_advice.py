"""What helps: it is searched for behind the runs, and offered with the numbers that were measured."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.server.conftest import Client, HeldRun, OpenDocument, Serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

TINY_CNN = Path(__file__).parents[3] / "examples" / "tiny_cnn.py"
CONV = "self.conv(x)"
CONV2 = "self.conv2(x)"
KEEP_CONV2 = r"Keep conv2 and relu in float: output (\d+\.\d) → (\d+\.\d) dB"

# Once the file `mark` is there, a run says through a pipe that it has begun, and waits to be killed; or it
# crashes, if that is what the file says.
MARKED = """\
import os
import signal


class Batches:
    def __iter__(self):
        if os.path.exists({mark!r}):
            with open({mark!r}) as mark:
                if mark.read() == "crash":
                    os.abort()
            alive = open({pipe!r}, "w")
            signal.pause()
        torch.manual_seed(2)
        return iter([(torch.randn(2, 3, 8, 8),)])


def handlens_tiny():
    torch.manual_seed(1)
    return {{"model": Tiny(), "example_inputs": (torch.randn(2, 3, 8, 8),), "evaluation": Batches()}}
"""


class MarkedRun(HeldRun):
    """A model whose runs go on until they are killed, from when they are marked."""

    def __init__(self, folder: Path, model: str) -> None:
        super().__init__(folder / "alive", model)
        self.mark = folder / "mark"
        target = MARKED.format(mark=str(self.mark), pipe=str(folder / "alive"))
        self.text = model[: model.index("def handlens_tiny")] + target


@pytest.fixture
def marked(tmp_path: Path, model: str) -> MarkedRun:
    return MarkedRun(tmp_path, model)


async def searched(client: Client, file: str = "handlens_tiny") -> None:
    """Wait until a search has ended with an advice."""
    await client.until_said(f"{file}: keep ")


async def titles(client: Client, document: OpenDocument, only: Any = None) -> list[str]:
    found = [each for each in await client.shows(document) if each.range == document.range(CONV)]
    return list(await client.act(document, found, only))


async def lenses(client: Client, document: OpenDocument) -> list[types.Command]:
    found = await client.text_document_code_lens_async(types.CodeLensParams(document.identifier))
    return [each.command for each in found or () if each.command]


async def advise(client: Client, document: OpenDocument) -> None:
    await client.execute("handlens.server.advise", document.uri)


async def state(client: Client, document: OpenDocument) -> str | None:
    [target] = await client.execute("handlens.server.showTargets", document.uri)
    return target["advice"] and target["advice"]["state"]


async def test_a_fix_tells_what_it_wins_and_the_run_after_it_that_it_did(
    serving: Serving, tmp_path: Path
) -> None:
    async with serving(tmp_path, advise="auto", thresholds=None) as client:
        document = client.open("tiny_cnn.py", TINY_CNN.read_text("utf-8"))
        found = await client.diagnostics(document)
        await searched(client)
        actions = [
            (each.code, title, action)
            for each in found
            for title, action in (await client.act(document, [each], ["quickfix"])).items()
        ]
        # conv2 helps its own line, and all that is needed is on the finding about the output.
        preferred = {code: title for code, title, action in actions if action.is_preferred}
        assert set(preferred) == {"HL101", "HL105"}
        numbers = re.fullmatch(KEEP_CONV2, preferred["HL101"])
        assert numbers
        before, after = numbers.groups()
        assert float(after) > float(before) + 20
        assert preferred["HL105"] == preferred["HL101"]
        [edit, *_] = [action.edit for *_, action in actions if action.is_preferred]
        hover = await client.hover(document, document.position(CONV2))
        assert hover
        assert f"| Kept in float alone | output {before} → {after} dB |" in hover.contents.value
        client.save(document, document.edited(edit.changes[document.uri]))
        await client.until_said(f"handlens_tiny: output {before} → {after} dB")
        [summary, *_] = await lenses(client, document)
        assert summary.title.startswith(f"Handlens: output {before} → {after} dB")


async def test_all_that_helps_is_applied_by_an_action_and_by_a_lens(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, advise="auto") as client:
        document = client.open("net.py", model)
        found = await client.diagnostics(document)
        await searched(client)
        kind = "source.handlens.applyAdvice"
        [action] = (await client.act(document, found, only=[kind])).values()
        assert re.fullmatch(r"Keep .+ in float: output \S+( dB)? → .+", action.title)
        *_, apply = [each for each in await lenses(client, document) if "· apply" in each.title]
        assert " in float: " in apply.title
        await client.execute(apply.command, *apply.arguments)
        [applied] = client.applied
        assert applied.edit == action.edit
        assert '"keep_float": [' in document.edited(applied.edit.changes[document.uri])


async def test_what_is_inherited_is_helped_where_it_comes_from(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, advise="auto") as client:
        text = model.replace(".mean((2, 3))", ".relu().flatten(2).mean(2)")
        document = client.open("inherited.py", text)
        found = await client.diagnostics(document)
        await searched(client)
        [whole] = await client.act(document, found, only=["source.handlens.applyAdvice"])
        inherited = next(each for each in await client.shows(document) if each.code == "HL102")
        fixes = await client.act(document, [inherited], ["quickfix"])
        # It names the ops to change, and what that gives.
        assert re.fullmatch(r"Keep .+ in float: output \S+( dB)? → .+", whole)
        assert whole in fixes
        assert not fixes[whole].is_preferred


async def test_a_view_gets_the_steps_with_their_outputs_and_costs(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, advise="auto") as client:
        document = client.open("net.py", model)
        asked = {"uri": document.uri, "target": "handlens_tiny"}
        assert await client.protocol.send_request_async("handlens/advice", asked) is None
        await client.diagnostics(document)
        await searched(client)
        advice = await client.protocol.send_request_async("handlens/advice", asked)
        assert advice.before.sqnr_db > 0
        assert advice.steps
        assert 0 < advice.recommended <= len(advice.steps)
        assert all(each.cost.weight_bytes <= 1 and each.output.text for each in advice.steps)
        assert advice.steps[0].title.startswith("Keep ")
        assert (advice.stale, advice.complete) == (False, True)
        assert advice.text.startswith("keep ")
        client.change(document, model.replace("block(x)", "block(2 * x)"))
        advice = await client.protocol.send_request_async("handlens/advice", asked)
        assert advice.stale


async def test_an_edit_takes_the_numbers_away_and_its_undoing_brings_them_back(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, advise="auto") as client:
        document = client.open("net.py", model)
        await client.diagnostics(document)
        await searched(client)
        measured = await titles(client, document)
        client.change(document, model.replace("block(x)", "block(2 * x)"))
        await client.diagnostics(document)
        edited = await titles(client, document)
        assert "Keep conv in float for handlens_tiny" in edited
        assert not any("→" in each for each in edited)
        assert not [each for each in await lenses(client, document) if "· apply" in each.title]
        await client.execute("handlens.server.applyAdvice", document.uri, "handlens_tiny", 1)
        await client.until(
            lambda: [e for e in client.messages if "there is no advice" in e.message]
        )
        assert not client.applied
        client.change(document, model)
        await client.diagnostics(document)
        assert await titles(client, document) == measured


async def test_nothing_is_searched_for_before_somebody_asks(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, advise="onDemand") as client:
        document = client.open("net.py", model)
        await client.diagnostics(document)
        assert await state(client, document) is None
        await advise(client, document)
        assert await state(client, document) == "searching"
        await searched(client)
        assert await state(client, document) == "done"


async def test_asking_before_the_first_run_runs_the_model_first(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, run="manual", advise="onDemand") as client:
        document = client.open("net.py", model)
        await advise(client, document)
        await client.diagnostics(document)
        await searched(client)


async def test_what_is_switched_off_is_not_searched_for_and_says_so(
    client: Client, model: str
) -> None:
    document = client.open("off.py", model)
    await client.diagnostics(document)
    await advise(client, document)
    await client.until(
        lambda: [e for e in client.messages if "handlens.advise is off" in e.message]
    )
    assert await state(client, document) is None


async def test_the_search_shows_its_progress(serving: Serving, tmp_path: Path, model: str) -> None:
    async with serving(tmp_path, advise="auto") as client:
        document = client.open("net.py", model)
        await client.diagnostics(document)

        def messages() -> list[str]:
            return [str(each.message) for _, each in client.progress_values]

        # Once for the comparison, and once for the search.
        await client.until(lambda: messages().count("done") == 2)
        said = messages()
        # The comparison is over before the search begins.
        search = said[said.index("done") + 1 :]
        assert search[0].startswith("searching for what helps")
        found = [each for each in search if each.endswith(" so far")]
        assert all(re.search(r"helps: .+ → (\d+\.\d dB|exact) so far$", each) for each in found)
        assert found
        assert search[-1] == "done"


@pytest.mark.parametrize("act", ["edit", "save", "rerun", "close", "cancel"])
async def test_a_search_ends_at_once_when_its_document_is_worked_on(
    serving: Serving, tmp_path: Path, marked: MarkedRun, model: str, act: str
) -> None:
    async with serving(tmp_path, advise="onDemand") as client:
        document = client.open("net.py", marked.text)
        found = await client.diagnostics(document)
        marked.mark.write_text("hold")
        await advise(client, document)
        await marked.begun()
        marked.mark.unlink()
        if act == "edit":
            client.change(document, document.text.replace("block(x)", "block(2 * x)"))
        elif act == "save":
            client.save(document, document.text.replace("block(x)", "block(2 * x)"))
        elif act == "rerun":
            await client.rerun(document)
        elif act == "close":
            client.close(document)
        else:
            await client.execute("handlens.server.cancel", document.uri)
        await marked.killed()
        if act == "cancel":
            assert await client.shows(document) == found
            assert await state(client, document) is None
        assert not client.messages


async def test_a_comparison_does_not_wait_for_a_search_which_goes_on_afterwards(
    serving: Serving, tmp_path: Path, marked: MarkedRun, model: str
) -> None:
    async with serving(tmp_path, advise="onDemand") as client:
        document = client.open("net.py", marked.text)
        await client.diagnostics(document)
        marked.mark.write_text("hold")
        await advise(client, document)
        await marked.begun()
        other = client.open("other.py", model)
        await marked.killed()
        await client.diagnostics(other)
        await marked.begun()
        assert await state(client, document) == "searching"
        await client.execute("handlens.server.cancel", document.uri)
        await marked.killed()


async def test_findings_stay_if_the_search_crashes(
    serving: Serving, tmp_path: Path, marked: MarkedRun
) -> None:
    async with serving(tmp_path, advise="onDemand") as client:
        document = client.open("net.py", marked.text)
        found = await client.diagnostics(document)
        marked.mark.write_text("crash")
        await advise(client, document)
        await client.until_said("no advice for handlens_tiny: Running handlens_tiny failed")
        assert await client.shows(document) == found
        assert await state(client, document) is None
        assert not client.messages
        # The text itself has not crashed: saving it is no reason not to run it.
        marked.mark.unlink()
        client.save(document, marked.text + "edited = True\n")
        await client.diagnostics(document)
