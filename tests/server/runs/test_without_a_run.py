"""What is shown anew without a run: by other thresholds, other suppressions, another [tool.handlens]; and
what is run anew without another export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from handlens import switches
from tests.server.conftest import Client, HeldRun, OpenDocument, Serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELD = pytest.mark.skipif(
    switches.workers() == "standby", reason="an interpreter that stands by holds no export"
)
CONV = "self.conv(x)"
PASSING = {"errorDb": -300, "warningDb": -300, "informationDb": -300}


def codes(found: list[types.Diagnostic]) -> list[Any]:
    return [each.code for each in found]


def stages(client: Client) -> list[Any]:
    return [each.message for _, each in client.progress_values]


def on_line(
    document: OpenDocument, text: str, found: list[types.Diagnostic], below: int = 0
) -> list[types.Diagnostic]:
    line = document.position(text).line - below
    return [each for each in found if each.range.start.line == line]


async def test_other_thresholds_show_other_findings_of_the_same_run(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path) as client:
        document = client.open("net.py", model)
        first = await client.diagnostics(document)
        assert "HL101" in codes(first)
        ran = stages(client)
        client.configure(thresholds=PASSING)
        assert await client.diagnostics(document, lambda found: not found) == []
        client.configure()
        assert await client.diagnostics(document, lambda found: found) == first
        assert stages(client) == ran


async def test_other_thresholds_hold_for_a_run_that_is_on(
    serving: Serving, tmp_path: Path, held: HeldRun, model: str
) -> None:
    async with serving(tmp_path) as client:
        document = client.open(
            "net.py", held.text.replace("signal.pause()", "alive.close()") + model
        )
        await held.begun()
        client.configure(thresholds=PASSING)
        await client.diagnostics(document, lambda found: not found)


@pytest.mark.parametrize("run", ["manual", "onSave"])
async def test_a_suppression_counts_as_it_is_typed(
    serving: Serving, tmp_path: Path, model: str, run: str
) -> None:
    async with serving(tmp_path, run=run) as client:
        document = client.open("net.py", model)
        if run == "manual":
            await client.rerun(document)
        first = await client.diagnostics(document)
        assert "HL101" in codes(on_line(document, CONV, first))
        ran = stages(client)

        # Lines above it move everything else.
        client.change(document, "# first\n\n" + model)
        await client.diagnostics(document)
        client.change(
            document,
            "# first\n\n" + model.replace("(2, 3))", "(2, 3))  # handlens: ignore[HL101]"),
        )
        found = await client.diagnostics(document)
        assert "HL101" not in codes(on_line(document, CONV, found))
        assert len(found) == len(first) - len(on_line(document, CONV, first, below=2))
        for each in found:
            assert document.covered(each.range) in model

        client.change(document, document.text.replace("HL101", "HL103"))
        found = await client.diagnostics(document)
        assert sorted(codes(found)) == sorted([*codes(first), "HL203"])
        [unused] = [each for each in found if each.code == "HL203"]
        assert document.covered(unused.range) == "# handlens: ignore[HL103]"

        client.change(document, model)
        assert await client.diagnostics(document) == first
        assert stages(client) == ran


async def test_a_suppression_beside_other_code_waits_for_a_run(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path) as client:
        document = client.open("net.py", model)
        first = await client.diagnostics(document)
        client.change(
            document, model.replace("(2, 3))", "(2, 3))  # handlens: ignore") + "added = 1\n"
        )
        found = await client.diagnostics(document)
        assert codes(found) == codes(first)
        client.save(document)
        found = await client.diagnostics(document, lambda found: len(found) < len(first))
        assert on_line(document, CONV, found) == []


async def test_another_pyproject_is_not_a_run_if_it_changes_what_counts_only(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, thresholds=None) as client:
        table = "[tool.handlens]\nerror-db = -300\nwarning-db = 300\ninformation-db = 300\n"
        project = client.write("pyproject.toml", table)
        document = client.open("net.py", model)
        first = await client.diagnostics(document)
        assert "HL101" in codes(first)
        ran = stages(client)

        async def write(text: str) -> None:
            project.write_text(text)
            client.workspace_did_change_watched_files(
                types.DidChangeWatchedFilesParams(
                    [types.FileEvent(project.as_uri(), types.FileChangeType.Changed)]
                )
            )

        await write(table + 'ignore = ["HL101"]\n')
        await client.diagnostics(document, lambda found: "HL101" not in codes(found))
        await write(table)
        assert await client.diagnostics(document, lambda found: "HL101" in codes(found)) == first
        assert stages(client) == ran

        await write(table + 'recipe = "bf16"\n')
        await client.until(lambda: stages(client).count("comparing") == 2)


@HELD
async def test_another_recipe_does_not_export_again(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path) as client:
        document = client.open("net.py", model)
        await client.diagnostics(document)
        assert stages(client).count("exporting") == 1
        client.configure(recipe="bf16")
        await client.until(lambda: stages(client).count("comparing") == 2)
        await client.diagnostics(document)
        assert stages(client).count("exporting") == 1
        await client.rerun(document)
        await client.diagnostics(document)
        assert stages(client).count("exporting") == 2


@HELD
async def test_other_options_of_a_target_do_not_export_again(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    returned = "return Tiny(), (torch.randn(2, 3, 8, 8),)"
    assert returned in model
    below = "\n\nclass Other(Tiny):\n    pass\n"
    async with serving(tmp_path) as client:
        document = client.open("net.py", model + below)
        first = await client.diagnostics(document)
        assert "HL101" in codes(first)
        mapping = (
            'return {\n        "model": Tiny(),\n        "example_inputs": (torch.randn(2, 3, 8, 8),),\n'
            '        "keep_float": ["conv"],\n    }'
        )
        client.change(document, "# A line above.\n" + model.replace(returned, mapping) + below)
        client.save(document)
        await client.diagnostics(
            document, lambda found: not any("conv2d" in each.message for each in found)
        )
        assert stages(client).count("exporting") == 1
        client.change(document, document.text.replace("(2, 3, 8, 8)", "(4, 3, 8, 8)"))
        client.save(document)
        await client.until(lambda: stages(client).count("comparing") == 3)
        assert stages(client).count("exporting") == 2


async def test_settings_of_runs_to_come_start_none(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path) as client:
        document = client.open("net.py", model)
        await client.diagnostics(document)
        ran = stages(client)
        client.configure(run="manual", deadline=60, memoryLimit=4096, inlayHints=False)
        targets = await client.execute("handlens.server.showTargets", document.uri)
        assert [each["state"] for each in targets] == ["ok"]
        assert stages(client) == ran


async def test_what_takes_too_much_memory_is_told_at_its_line(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, memoryLimit=512) as client:
        greedy = model.replace("    return Tiny()", "    torch.ones(1 << 28)\n    return Tiny()")
        document = client.open("net.py", greedy)
        [found] = await client.diagnostics(document)
        assert found.code == "HL301"
        assert "handlens.memoryLimit" in found.message
        assert "torch.ones(1 << 28)" in document.covered(found.range)


async def test_a_worker_is_ready_before_it_is_needed(serving: Serving, tmp_path: Path) -> None:
    async with serving(tmp_path, run="manual") as client:
        client.open("empty.py", "x = 1\n")
        client.open("net.py", "import torch\n")
        await client.until_said("is ready")
        assert not any("empty" in line for line in client.stderr)
