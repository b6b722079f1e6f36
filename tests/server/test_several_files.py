"""A model in one file whose layers are in another."""

from pathlib import Path

import pytest

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
def layers(client):
    client.write("layers.py", LAYERS)


def starts(diagnostics):
    return [each.range.start for each in diagnostics]


async def test_findings_are_published_in_every_file_that_they_concern(client):
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

    # A second model that uses it adds to what is there; closing the second takes that away again.
    [before] = client.published[layers.uri][-1:]
    other = MODEL.replace("handlens_net", "handlens_two").replace("(4, 8)", "(16, 8)")
    second = client.open("net2.py", other)
    await client.diagnostics(second)
    both = await client.diagnostics(
        layers, lambda found: {each.data["target"] for each in found} > {"handlens_net"}
    )
    assert len(both) > len(before.diagnostics)
    client.close(second)
    rest = await client.diagnostics(
        layers, lambda found: {each.data["target"] for each in found} == {"handlens_net"}
    )
    assert len(rest) == len(before.diagnostics)

    # Saved, it makes the model that uses it run again.
    client.save(layers, "SIZE = 1\n" + LAYERS)
    await client.diagnostics(model)
    moved = await client.diagnostics(layers, lambda found: found)
    assert layers.position("self.linear(x)") in starts(moved)

    client.close(model)
    assert await client.diagnostics(layers, lambda found: not found) == []


LIBRARY = """\
def twice(layer, x):
    return layer(x) + layer(x)
"""


async def test_a_finding_tells_how_its_op_came_to_be_called(client, tmp_path):
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


async def test_an_error_in_an_imported_file_is_shown_there(client):
    client.write(
        "broken_layers.py", LAYERS.replace("return self.linear(x)", "return self.liner(x)")
    )
    model = client.open("broken_net.py", MODEL.replace("from layers", "from broken_layers"))
    assert await client.diagnostics(model) == []
    uri = (client.root / "broken_layers.py").as_uri()
    [diagnostic] = (await client.until(lambda: client.published[uri]))[-1].diagnostics
    assert diagnostic.code == "HL302"
    assert diagnostic.range.start.line == 11
