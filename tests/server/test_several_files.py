"""A model in one file whose layers are in another."""

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
    second = client.open("net2.py", MODEL.replace("handlens_net", "handlens_two"))
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
