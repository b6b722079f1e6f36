"""When runs start: on opening and saving, while typing, by hand, and when what they read changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.server.conftest import Capabilities, Client, HeldRun, OpenDocument, Serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONV = "self.conv(x)"


def shows_conv(document: OpenDocument) -> Callable[[list[types.Diagnostic]], bool]:
    return lambda found: document.range(CONV) in [each.range for each in found]


def using(model: str, name: str) -> str:
    """A model whose width is in another module."""
    return f"import {name}\n" + model.replace("8, 3)", f"{name}.SIZE, 3)").replace(
        "Linear(8, 8)", f"Linear({name}.SIZE, {name}.SIZE)"
    )


async def test_runs_keep_up_with_typing_if_they_are_to(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, run="onType") as client:
        document = client.open("typed.py", model)
        await client.diagnostics(document)
        edited = model.replace(CONV, "self.conv(2 * x)")
        client.change(document, edited[: edited.index("2 * x)") + 3])
        client.change(document, edited)
        await client.diagnostics(
            document,
            lambda found: document.range("self.conv(2 * x)") in [each.range for each in found],
        )
        assert document.file.read_text() == model


async def test_text_that_does_not_parse_while_it_is_typed_is_no_failure(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, run="onType") as client:
        document = client.open("half.py", model)
        await client.diagnostics(document)
        client.change(document, model + "\nx = (")
        found = await client.diagnostics(document)
        client.change(document, model + "\nx = (1)\n")
        await client.diagnostics(document, shows_conv(document))
        published = client.published[document.uri]
        assert "HL301" not in {e.code for each in published for e in each.diagnostics}
        assert found


async def test_nothing_runs_by_itself_if_runs_are_by_hand(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, run="manual") as client:
        document = client.open("manual.py", model)
        client.save(document, model + "# saved\n")
        [lens] = await client.text_document_code_lens_async(
            types.CodeLensParams(document.identifier)
        )
        assert lens.command.title == "Handlens: compare with the quantized model"
        assert not client.progress_values
        await client.rerun(document)
        await client.diagnostics(document, shows_conv(document))


async def test_an_unsaved_import_is_run_as_it_is_in_its_editor(client: Client, model: str) -> None:
    imported = client.open("width.py", "SIZE = nothing\n")
    document = client.open("uses_width.py", using(model, "width"))
    await client.diagnostics(
        imported, lambda found: any("nothing" in each.message for each in found)
    )
    client.change(imported, "SIZE = 8\n")
    await client.rerun(document)
    await client.diagnostics(document, shows_conv(document))
    assert imported.file.read_text() == "SIZE = nothing\n"


async def test_saving_an_import_that_shows_nothing_runs_what_imports_it(
    client: Client, model: str
) -> None:
    imported = client.open("height.py", "SIZE = 8\n")
    document = client.open("uses_height.py", using(model, "height"))
    await client.diagnostics(document, shows_conv(document))
    client.save(imported, "SIZE = None\n")
    await client.diagnostics(document, lambda found: "HL301" in {each.code for each in found})
    client.save(imported, "SIZE = 8\n")
    await client.diagnostics(
        document,
        lambda found: shows_conv(document)(found) and "HL301" not in {e.code for e in found},
    )


async def test_a_change_on_disk_runs_what_reads_the_file(client: Client, model: str) -> None:
    imported = client.write("depth.py", "SIZE = 8\n")
    document = client.open("uses_depth.py", using(model, "depth"))
    await client.diagnostics(document, shows_conv(document))
    imported.write_text("SIZE = 1 / 0\n")
    changed(client, imported)
    shown = client.published[imported.as_uri()]
    await client.until(lambda: shown and "HL301" in {each.code for each in shown[-1].diagnostics})


EDITED = "self.conv(2 * x)"


@pytest.mark.parametrize("told_first", ["of the file", "of the text"])
async def test_a_change_on_disk_that_the_editor_reads_is_run_as_if_it_was_saved(
    client: Client, model: str, told_first: str
) -> None:
    document = client.open(f"checked_out_{told_first}.py".replace(" ", "_"), model)
    await client.diagnostics(document, shows_conv(document))
    text = model.replace(CONV, EDITED)
    document.file.write_text(text)
    if told_first == "of the file":
        changed(client, document.file)
        client.change(document, text)
    else:
        client.change(document, text)
        changed(client, document.file)
    await client.diagnostics(
        document, lambda found: document.range(EDITED) in [each.range for each in found]
    )


async def test_a_change_on_disk_behind_a_text_of_the_editor_s_own_runs_nothing(
    client: Client, model: str
) -> None:
    document = client.open("edited.py", model)
    await client.diagnostics(document, shows_conv(document))
    client.change(document, model + "edited = True\n")
    before = await targets(client, document)
    document.file.write_text(model + "checked_out = True\n")
    changed(client, document.file)
    assert await targets(client, document) == before
    [target] = before
    assert target["state"] == "stale"
    # What the editor saves in its place is run.
    client.save(document)
    [target] = await targets(client, document)
    assert target["state"] == "running"


async def test_what_the_editor_saves_is_run_once(client: Client, model: str) -> None:
    document = client.open("saved_once.py", model)
    await client.diagnostics(document, shows_conv(document))
    client.save(document, model.replace("return x", "return y"))
    await client.diagnostics(document, lambda found: "HL302" in {each.code for each in found})
    before = await targets(client, document)
    # The client tells of this change of a file as of any other.
    changed(client, document.file)
    assert await targets(client, document) == before


async def test_a_change_on_disk_behind_runs_by_hand_marks_what_is_shown(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    async with serving(tmp_path, run="manual") as client:
        imported = client.write("depth.py", "SIZE = 8\n")
        document = client.open("uses_depth.py", using(model, "depth"))
        await client.rerun(document)
        await client.diagnostics(document, shows_conv(document))
        imported.write_text("SIZE = 4\n")
        changed(client, imported)
        [target] = await targets(client, document)
        assert target["state"] == "stale"


async def test_the_server_asks_to_be_told_of_changes_on_disk(
    serving: Serving, capabilities: Capabilities, tmp_path: Path
) -> None:
    able = capabilities()
    able.workspace.did_change_watched_files = types.DidChangeWatchedFilesClientCapabilities(
        dynamic_registration=True
    )
    async with serving(tmp_path, able) as client:
        [registered] = await client.until(lambda: client.registered)
        assert registered.method == types.WORKSPACE_DID_CHANGE_WATCHED_FILES
        watched = [each["globPattern"] for each in registered.register_options["watchers"]]
        assert watched == ["**/*.py", "**/pyproject.toml"]


async def targets(client: Client, document: OpenDocument) -> Any:
    return await client.execute("handlens.server.showTargets", document.uri)


async def test_another_pyproject_runs_its_documents_with_its_settings(
    client: Client, model: str
) -> None:
    project = client.write("project/pyproject.toml", "[tool.handlens]\n")
    document = client.open("project/net.py", model)
    await client.diagnostics(document, shows_conv(document))
    project.write_text('[tool.handlens]\nignore = ["HL101"]\n')
    changed(client, project)
    await client.diagnostics(document, lambda found: "HL101" not in {each.code for each in found})


def changed(client: Client, file: Path) -> None:
    client.workspace_did_change_watched_files(
        types.DidChangeWatchedFilesParams(
            [types.FileEvent(file.as_uri(), types.FileChangeType.Changed)]
        )
    )


async def test_a_run_beyond_its_deadline_is_killed_and_says_so(
    serving: Serving, tmp_path: Path, held: HeldRun, model: str
) -> None:
    async with serving(tmp_path / "late", deadline=1) as client:
        document = client.open("late.py", held.text)
        await held.begun()
        [found] = await client.diagnostics(document)
        assert found.code == "HL304"
        assert "more than 1 s. The setting handlens.deadline" in found.message
        await held.killed()


async def test_a_text_that_crashed_is_not_run_again_before_it_changes(
    client: Client, model: str
) -> None:
    document = client.open("crashing.py", "import os\nos.abort()\n" + model)
    await client.diagnostics(document, lambda found: "HL304" in {each.code for each in found})
    before = await targets(client, document)
    client.save(document)
    # It comes in the order of the messages: a run that was started would be on.
    assert await targets(client, document) == before
    await client.until_said("crashing.py: the text that crashed is not run again")
    client.save(document, model)
    await client.diagnostics(document, shows_conv(document))


async def test_an_edit_that_is_undone_has_its_numbers_at_once(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    hangs = tmp_path / "hangs"
    wait = f"import os, signal\nif os.path.exists({str(hangs)!r}):\n    signal.pause()\n"
    async with serving(tmp_path) as client:
        document = client.open("undone.py", wait + model)
        before = await client.diagnostics(document, shows_conv(document))
        client.save(document, model.replace(CONV, "self.conv(3 * x)"))
        await client.diagnostics(
            document,
            lambda found: document.range("self.conv(3 * x)") in [each.range for each in found],
        )
        hangs.touch()
        client.save(document, wait + model)
        # The run that measures them again does not come to an end.
        assert await client.diagnostics(document, shows_conv(document)) == before


async def test_numbers_of_other_texts_are_not_recalled(
    serving: Serving, tmp_path: Path, model: str
) -> None:
    sizes = tmp_path / "recalled_sizes.py"
    sizes.write_text("SIZE = 8\n")
    text = using(model, "recalled_sizes")
    async with serving(tmp_path) as client:
        document = client.open("undone_too.py", text)
        await client.diagnostics(document, shows_conv(document))
        conv = document.range(CONV)
        client.save(document, text.replace(CONV, "self.conv(3 * x)"))
        edited = document.range("self.conv(3 * x)")
        await client.diagnostics(document, lambda found: edited in [e.range for e in found])
        seen = len(client.published[document.uri])
        sizes.write_text("SIZE = 'eight'\n")
        client.save(document, text)
        await client.diagnostics(document, lambda found: "HL301" in [e.code for e in found])
        later = client.published[document.uri][seen:]
        assert conv not in [e.range for each in later for e in each.diagnostics]
