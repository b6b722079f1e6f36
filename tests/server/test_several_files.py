"""A model in one file whose layers are in another."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from tests.server.conftest import GUARD_S, Capabilities, Client, OpenDocument, Serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAYERS = """\
import torch
from torch import nn


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return self.linear(x)
"""

MODEL = """\
import torch
from torch import nn

from layers import Scale


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.scale = Scale()
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.scale(x))


def handlens_net():
    return Net(), (torch.randn(4, 8),)
"""


@pytest.fixture(scope="module", autouse=True)
def layers(client: Client) -> None:
    client.write("layers.py", LAYERS)


def starts(diagnostics: list[types.Diagnostic]) -> list[types.Position]:
    return [each.range.start for each in diagnostics]


async def test_findings_are_published_in_every_file_that_they_concern(client: Client) -> None:
    model = client.open("net.py", MODEL)
    assert model.position("self.head(") in starts(await client.diagnostics(model))
    closed = (client.root / "layers.py").as_uri()
    await client.until(lambda: closed in client.published)
    assert client.published[closed][-1].version is None

    # Opened, the file has a version, and a hover.
    layers = client.open("layers.py", LAYERS)
    assert layers.position("self.linear(x)") in starts(await client.diagnostics(layers))
    hover = await client.hover(layers, layers.position("linear(x)"))
    assert "`scale.linear`" in hover.contents.value

    # A second model that uses it adds to what is there.
    [before] = client.published[layers.uri][-1:]
    other = MODEL.replace("handlens_net", "handlens_two").replace("(4, 8)", "(16, 8)")
    second = client.open("net2.py", other)
    await client.diagnostics(second)
    both = await client.diagnostics(
        layers, lambda found: {each.data["target"] for each in found} > {"handlens_net"}
    )
    assert len(both) > len(before.diagnostics)
    # Saved, it makes the model that uses it run again.
    client.save(layers, "SIZE = 1\n" + LAYERS)
    await client.diagnostics(model)
    moved = await client.diagnostics(layers, lambda found: found)
    assert layers.position("self.linear(x)") in starts(moved)

    client.close(model)
    client.close(second)
    client.close(layers)
    await client.until(lambda: not client.published[layers.uri][-1].diagnostics)


LIBRARY = """\
def twice(layer, x):
    return layer(x) + layer(x)
"""


async def test_a_finding_tells_how_its_op_came_to_be_called(client: Client, tmp_path: Path) -> None:
    """What a library does inside is shown on the line that calls it, and the way there beside it."""
    (tmp_path / "some_library.py").write_text(LIBRARY)
    text = MODEL.replace("handlens_net", "handlens_called").replace(
        "return self.head(self.scale(x))", "return twice(self.head, self.block(x))"
    )
    text = text.replace(
        "    def forward",
        "    def block(self, x):\n        return self.scale(x)\n\n    def forward",
    )
    text = f"import sys\nsys.path.append({str(tmp_path)!r})\nfrom some_library import twice\n{text}"
    model = client.open("called.py", text)
    diagnostics = await client.diagnostics(model)
    call = model.range("twice(self.head, self.block(x))")
    found = [each for each in diagnostics if each.range == call and each.related_information]
    places = {
        (Path(each.location.uri).name, each.message)
        for diagnostic in found
        for each in diagnostic.related_information
    }
    assert ("some_library.py", "in twice of a library") in places

    # The layer is in another file; who called it is told in the order of the calls.
    layers = (client.root / "layers.py").as_uri()
    linear = await client.until(
        lambda: next(
            (
                each
                for published in client.published[layers]
                for each in published.diagnostics
                if each.data["target"] == "handlens_called"
            ),
            None,
        )
    )
    assert [
        (model.covered(each.location.range), each.message)
        for each in linear.related_information
        if each.message.startswith("called from")
    ] == [("self.scale(x)", "called from Net.block"), ("self.block(x)", "called from Net.forward")]
    client.close(model)


async def test_an_error_in_an_imported_file_is_shown_there(client: Client) -> None:
    client.write(
        "broken_layers.py", LAYERS.replace("return self.linear(x)", "return self.liner(x)")
    )
    model = client.open("broken_net.py", MODEL.replace("from layers", "from broken_layers"))
    assert await client.diagnostics(model) == []
    uri = (client.root / "broken_layers.py").as_uri()
    [diagnostic] = (await client.until(lambda: client.published[uri]))[-1].diagnostics
    assert diagnostic.code == "HL302"
    assert diagnostic.range.start.line == 11


class SlowRun:
    """A run that has imported its layers, and goes on when it is told to."""

    def __init__(self, folder: Path) -> None:
        pipes = [str(folder / name) for name in ("imported", "go_on")]
        for pipe in pipes:
            os.mkfifo(pipe)
        # With both ends open, nobody waits for the other one.
        self._imported, self._go_on = (os.open(pipe, os.O_RDWR | os.O_NONBLOCK) for pipe in pipes)
        waiting = "open({!r}, 'w').write('imported\\n')\nopen({!r}).readline()\n".format(*pipes)
        self.text = MODEL.replace("class Net", f"{waiting}\n\nclass Net")

    async def imported(self) -> None:
        said, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._imported, said.set)
        try:
            await asyncio.wait_for(said.wait(), GUARD_S)
        finally:
            loop.remove_reader(self._imported)
        os.read(self._imported, 100)

    def goes_on(self) -> None:
        os.write(self._go_on, b"go on\n")


async def states(client: Client, document: OpenDocument) -> list[str]:
    targets = await client.execute("handlens.server.showTargets", document.uri)
    return [each["state"] for each in targets]


EDITED = LAYERS.replace("import torch\n", "import os\nimport torch\n").replace(
    "class Scale", "WIDTH = 8\n\n\nclass Scale"
)


async def test_what_is_found_in_a_file_that_is_saved_meanwhile_moves_with_its_text(
    serving: Serving, tmp_path: Path
) -> None:
    async with serving(tmp_path, run="manual") as client:
        slow = SlowRun(tmp_path)
        layers = client.open("layers.py", LAYERS)
        model = client.open("net.py", slow.text)
        await client.rerun(model)
        await slow.imported()
        client.save(layers, EDITED)
        slow.goes_on()
        moved = await client.diagnostics(layers, lambda found: found)
        assert {layers.covered(each.range) for each in moved} == {"self.linear(x)"}
        assert await states(client, model) == ["stale"]
        hover = await client.hover(layers, layers.position("linear(x)"))
        assert hover.contents.value.startswith("*Measured before the last edits of this file.*")
        hover = await client.hover(model, model.position("head(self"))
        assert hover.contents.value.startswith("*Measured before the last edits of another file.*")

        # What it had at first is what was run.
        client.save(layers, LAYERS)
        assert await states(client, model) == ["ok"]


async def test_nothing_is_shown_in_a_text_that_was_not_run(
    serving: Serving, tmp_path: Path
) -> None:
    async with serving(tmp_path, run="manual") as client:
        slow = SlowRun(tmp_path)
        layers = client.write("layers.py", LAYERS)
        model = client.open("net.py", slow.text)
        await client.rerun(model)
        await slow.imported()
        layers.write_text(EDITED)
        slow.goes_on()
        await client.diagnostics(model, lambda found: found)
        assert await states(client, model) == ["stale"]
        opened = client.open("layers.py", EDITED)
        assert await client.hover(opened, opened.position("linear(x)")) is None
        assert not any(each.diagnostics for each in client.published[opened.uri])

        await client.rerun(model)
        await slow.imported()
        slow.goes_on()
        found = await client.diagnostics(opened, lambda found: found)
        assert {opened.covered(each.range) for each in found} == {"self.linear(x)"}
        assert await states(client, model) == ["ok"]


async def test_a_file_that_is_saved_before_it_is_known_to_be_run_has_it_run_again(
    serving: Serving, tmp_path: Path
) -> None:
    async with serving(tmp_path) as client:
        slow = SlowRun(tmp_path)
        layers = client.open("layers.py", LAYERS)
        model = client.open("net.py", slow.text)
        await slow.imported()
        client.save(layers, EDITED)
        slow.goes_on()
        await client.diagnostics(model)
        await slow.imported()
        assert await states(client, model) == ["running"]
        slow.goes_on()
        await client.diagnostics(model)
        assert await states(client, model) == ["ok"]
        shown = await client.shows(layers)
        assert {layers.covered(each.range) for each in shown} == {"self.linear(x)"}


async def test_an_import_that_is_saved_as_it_was_runs_nothing(client: Client) -> None:
    width = client.open("width.py", "WIDTH = 8\n")
    text = MODEL.replace("handlens_net", "handlens_width").replace(
        "Linear(8, 4)", "Linear(WIDTH, 4)"
    )
    model = client.open("wide.py", "from width import WIDTH\n" + text)
    await client.diagnostics(model)
    client.stderr.clear()
    client.change(width, "WIDTH = 4\n")
    assert await states(client, model) == ["stale"]
    client.save(width, "WIDTH = 8\n")
    await client.until_said("width.py: the edit changes no code")
    assert await states(client, model) == ["ok"]
    client.save(width, "WIDTH = 4\n")
    await client.diagnostics(model, lambda found: "HL302" in {each.code for each in found})
    client.close(model)


async def test_what_a_file_shows_lives_as_long_as_the_file_is_open(
    serving: Serving, capabilities: Capabilities, tmp_path: Path
) -> None:
    able = capabilities()
    able.experimental = {"handlens": {"status": True}}
    async with serving(tmp_path, able, run="onSave", advise="off") as client:
        client.write("layers.py", LAYERS)
        model = client.open("net.py", MODEL)
        await client.diagnostics(model)
        layers = client.open("layers.py", LAYERS)
        found = await client.diagnostics(layers)
        assert found

        def last(document: OpenDocument) -> Any:
            return next(
                (each for each in reversed(client.statuses) if each.uri == document.uri), None
            )

        # The file says whose target measures it, and a client acts on that one.
        status = await client.until(lambda: (s := last(layers)) and s.measured_by and s)
        assert (status.measured_by, status.targets) == ([model.uri], [])

        client.close(model)
        asked = {"uri": model.uri, "target": "handlens_net"}
        assert (await client.protocol.send_request_async("handlens/report", asked)).ops
        assert await client.shows(layers) == found
        [generation] = [each.generation for each in last(model).targets]

        # Saved, it is measured again, by a file that is read from disk.
        client.save(layers, LAYERS.replace("self.linear(x)", "self.linear(x) * 2"))
        await client.until(lambda: (s := last(model)) and s.targets[0].generation > generation)
        await client.until(
            lambda: any(each.code for each in client.published[layers.uri][-1].diagnostics)
        )
        await client.execute("handlens.server.rerun", model.uri)

        # Nothing shows it any more, and closed before it has run, only what imports an open file goes on.
        client.close(layers)
        await client.until(lambda: not client.published[model.uri][-1].diagnostics)
        await client.until(lambda: not client.published[layers.uri][-1].diagnostics)
        assert await client.protocol.send_request_async("handlens/report", asked) is None
        other = client.open("other.py", MODEL.replace("from layers import Scale", LAYERS))
        client.close(other)
        client.write("package/deep/layers.py", LAYERS.replace("Scale", "Deep"))
        client.write("package/__init__.py", "from package.deep.layers import Deep\n")
        named = MODEL.replace("from layers import Scale", "import package")
        client.close(
            client.open(
                "whole.py", named.replace("self.scale = Scale", "self.scale = package.Deep")
            )
        )
        deep = client.open("package/deep/layers.py", LAYERS.replace("Scale", "Deep"))
        assert await client.diagnostics(deep, lambda found: found)
        client.close(client.open("net.py", MODEL))
        layers = client.open("layers.py", LAYERS)
        assert await client.diagnostics(layers, lambda found: found)
        told = client.published[other.uri]
        await client.until(lambda: not (told and told[-1].diagnostics))
