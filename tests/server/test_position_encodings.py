"""The negotiated position encoding holds in both directions."""

from pathlib import Path

import pytest
from lsprotocol import types

from tests.server.conftest import Capabilities, Serving

ENCODINGS = {
    types.PositionEncodingKind.Utf8: lambda text: len(text.encode()),
    types.PositionEncodingKind.Utf16: lambda text: len(text.encode("utf-16-le")) // 2,
    types.PositionEncodingKind.Utf32: len,
}
BEFORE = '_ = "é𝔘😀\t"; x = '


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_diagnostics_are_in_the_encoding_agreed_on(
    serving: Serving,
    capabilities: Capabilities,
    tmp_path: Path,
    encoding: types.PositionEncodingKind | str,
) -> None:
    async with serving(tmp_path, capabilities(position_encodings=[encoding])) as client:
        assert client.initialized_with.capabilities.position_encoding == encoding
        document = client.open("model.py", f"{BEFORE}(1 $ 2)\ndef handlens_x(): pass\n")
        [diagnostic] = await client.diagnostics(document)
        column = ENCODINGS[encoding](BEFORE + "(1 ")
        assert diagnostic.range.start == types.Position(0, column)


async def test_hovers_are_in_the_encoding_agreed_on(
    serving: Serving, capabilities: Capabilities, tmp_path: Path, model: str
) -> None:
    utf8 = types.PositionEncodingKind.Utf8
    async with serving(tmp_path, capabilities(position_encodings=[utf8])) as client:
        expression = "self.conv(x)"
        document = client.open("model.py", model.replace(f"x = {expression}", BEFORE + expression))
        diagnostics = await client.diagnostics(document)
        line, count = document.position(BEFORE).line, ENCODINGS[utf8]
        start = types.Position(line, 8 + count(BEFORE))
        end = types.Position(line, 8 + count(BEFORE + expression))
        assert types.Range(start, end) in [each.range for each in diagnostics]
        assert (await client.hover(document, start)).range == types.Range(start, end)
        assert await client.hover(document, types.Position(line, start.character - 1)) is None


async def test_a_client_that_offers_nothing_gets_utf_16(serving: Serving, tmp_path: Path) -> None:
    async with serving(tmp_path, types.ClientCapabilities()) as client:
        agreed = client.initialized_with.capabilities.position_encoding
        assert agreed in (None, types.PositionEncodingKind.Utf16)
