"""Whatever a client sends, the server lives, answers what can be answered, and mixes nothing up."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types

from tests.reliability.fuzzing import bounded
from tests.reliability.wire import Wire, framed

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
NOT_INITIALIZED = -32002

CANARY = "file:///canary/canary.py"


def target(name: str) -> str:
    return f"def handlens_{name}():\n    pass\n"


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A server with a document that nobody but the tests' last question is about."""
    with Wire(tmp_path_factory.mktemp("workspace")) as wire:
        wire.open(CANARY, target("canary"))
        yield wire


def is_well(wire: Wire) -> bool:
    return wire.targets(CANARY) == ["handlens_canary"]


# -- bytes ------------------------------------------------------------------------------------------

SOUND = framed(b'{"jsonrpc": "2.0", "method": "$/none", "params": {}}')

BYTES = {
    "nothing but line ends": b"\r\n\r\n\n\n",
    "a body that nobody announced": b'{"jsonrpc": "2.0", "id": 1, "method": "shutdown"}',
    "a length that is no number": b"Content-Length: many\r\n\r\n{}",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a length of nothing": b"Content-Length: 0\r\n\r\n",
    "more bytes than there are": b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "a length with five thousand digits": b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a header of a megabyte": b"X-" + b"x" * (1 << 20) + b": 1\r\n",
    "a body that is longer than announced": b"Content-Length: 5\r\n\r\n" + SOUND,
    "half a header": b"Content-Le",
    "a header that is no text": b"\xff\xfe\x00: \x80\r\n\r\n",
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_message_cost_no_message_behind_them(wire: Wire, name: str) -> None:
    wire.send(BYTES[name])
    assert is_well(wire)


def test_headers_are_read_as_any_client_may_write_them(wire: Wire) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": "lower", "method": "$/none"}).encode()
    header = f"content-type: application/json\r\ncontent-length:{len(body)}\n\n"
    wire.send(header.encode() + body)
    assert wire.answer("lower")["error"]["code"] == METHOD_NOT_FOUND


BODIES = {
    "no JSON": (b"{", PARSE_ERROR),
    "no UTF-8": (b'"\xff\xff\xff"', PARSE_ERROR),
    "a number of a million digits": (b"9" * 1_000_000, PARSE_ERROR),
    "a list in a list, and so on": (b"[" * 100_000 + b"]" * 100_000, PARSE_ERROR),
    "a batch": (b"[]", INVALID_REQUEST),
    "a text": (b'"initialize"', INVALID_REQUEST),
    "an object": (b"{}", INVALID_REQUEST),
    "another protocol": (b'{"jsonrpc": "1.0", "method": "initialize"}', INVALID_REQUEST),
    "an id that is a list": (
        b'{"jsonrpc": "2.0", "id": [], "method": "shutdown"}',
        INVALID_REQUEST,
    ),
    "an id that is null": (b'{"jsonrpc": "2.0", "id": null, "method": "exit"}', INVALID_REQUEST),
    "an id that is true": (
        b'{"jsonrpc": "2.0", "id": true, "method": "shutdown"}',
        INVALID_REQUEST,
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_message_is_answered_so(wire: Wire, name: str) -> None:
    body, code = BODIES[name]
    before = len(wire.refusals)
    wire.send(framed(body))
    assert is_well(wire)
    assert wire.refusals[before:] == [code]


# -- messages ---------------------------------------------------------------------------------------


def test_an_unknown_method_is_answered_and_an_unknown_notification_is_not(wire: Wire) -> None:
    wire.tell("textDocument/noSuchThing", {"textDocument": 3})
    assert wire.ask("textDocument/noSuchThing", None)["error"]["code"] == METHOD_NOT_FOUND
    assert is_well(wire)


@pytest.mark.parametrize("params", [None, 3, [], {}, {"textDocument": {"uri": 5}, "position": "x"}])
def test_wrong_parameters_are_answered(wire: Wire, params: Any) -> None:
    error = wire.ask("textDocument/hover", params)["error"]
    assert error["code"] in (INVALID_PARAMS, -32603)
    assert is_well(wire)


def test_what_is_cancelled_or_answered_need_not_exist(wire: Wire) -> None:
    for identifier in (0, -1, "no such", 1 << 70, ""):
        wire.tell("$/cancelRequest", {"id": identifier})
        wire.say({"jsonrpc": "2.0", "id": identifier, "result": [1]})
        wire.say({"jsonrpc": "2.0", "id": identifier, "error": {"code": 1, "message": "no"}})
        wire.say({"jsonrpc": "2.0", "id": identifier, "error": "no"})
    wire.tell("$/cancelRequest", {})
    wire.tell("window/workDoneProgress/cancel", {"token": "no such"})
    assert is_well(wire)


def test_documents_that_are_not_open_are_no_documents(wire: Wire) -> None:
    uri = "file:///canary/closed.py"
    edit = {"textDocument": {"uri": uri, "version": 2}, "contentChanges": [{"text": "x"}]}
    wire.tell("textDocument/didChange", edit)
    wire.tell("textDocument/didSave", {"textDocument": {"uri": uri}})
    wire.tell("textDocument/didClose", {"textDocument": {"uri": uri}})
    position = {"textDocument": {"uri": uri}, "position": {"line": 0, "character": 0}}
    assert wire.ask("textDocument/hover", position)["result"] is None
    assert wire.ask("textDocument/diagnostic", position)["result"]["items"] == []
    assert "error" in wire.ask(
        "workspace/executeCommand", {"command": "handlens.server.rerun", "arguments": [uri]}
    )
    assert is_well(wire)


FAR = {"line": 2**31 - 1, "character": 2**31 - 1}


def test_positions_beyond_the_text_are_its_end(wire: Wire) -> None:
    uri = "file:///canary/short.py"
    wire.open(uri, target("short"))
    document: dict[str, Any] = {"textDocument": {"uri": uri}}
    whole = {"start": FAR, "end": FAR}
    requests: dict[str, dict[str, Any]] = {
        "textDocument/hover": {"position": FAR},
        "textDocument/inlayHint": {"range": whole},
        "textDocument/codeAction": {"range": whole, "context": {"diagnostics": []}},
        "handlens/opsAt": {"uri": uri, "position": FAR},
        "handlens/op": {"uri": uri, "target": "handlens_short", "handle": 2**40},
    }
    for method, params in requests.items():
        assert "result" in wire.ask(method, document | params)
    edit = {"range": whole, "text": target("behind")}
    wire.tell(
        "textDocument/didChange",
        {"textDocument": {"uri": uri, "version": 2}, "contentChanges": [edit]},
    )
    assert wire.targets(uri) == ["handlens_short", "handlens_behind"]


def test_the_text_is_what_its_edits_made_of_it_whatever_versions_they_name(wire: Wire) -> None:
    uri = "file:///canary/versions.py"
    wire.open(uri, target("a"), version=7)
    for version, name in ((3, "b"), (3, "c"), (-5, "d"), (2**31 - 1, "e")):
        wire.tell(
            "textDocument/didChange",
            {
                "textDocument": {"uri": uri, "version": version},
                "contentChanges": [{"text": target(name)}],
            },
        )
        assert wire.targets(uri) == [f"handlens_{name}"]
    # From behind to front, by a client that has mixed them up.
    start, end = {"line": 0, "character": 4}, {"line": 0, "character": 14}
    edit = {"range": {"start": end, "end": start}, "text": "handlens_z"}
    wire.tell(
        "textDocument/didChange",
        {"textDocument": {"uri": uri, "version": 9}, "contentChanges": [edit]},
    )
    assert wire.targets(uri) == ["handlens_z"]


def test_requests_before_initialize_and_after_shutdown_are_refused(tmp_path: Path) -> None:
    with Wire(tmp_path, initialized=False) as wire:
        for method in ("textDocument/hover", "shutdown", "handlens/report", "no/such"):
            assert wire.ask(method, None)["error"]["code"] in (NOT_INITIALIZED, INVALID_PARAMS)
        wire.open(CANARY, target("canary"))
        wire.tell("initialized", {})
        params = {"capabilities": {"experimental": {"handlens": 3}}, "initializationOptions": [[]]}
        assert "error" in wire.ask("initialize", {"capabilities": 3})
        assert "result" in wire.ask("initialize", params)
        assert wire.ask("initialize", params)["error"]["code"] == INVALID_REQUEST
        wire.open(CANARY, target("canary"))
        assert is_well(wire)
        assert wire.ask("shutdown", None)["result"] is None
        assert wire.ask("shutdown", None)["error"]["code"] == INVALID_REQUEST
        assert wire.ask("textDocument/hover", {})["error"]["code"] in (
            INVALID_REQUEST,
            INVALID_PARAMS,
        )
        wire.tell("exit", None)
        assert wire.ended() == 0


# -- sizes ------------------------------------------------------------------------------------------


def test_a_document_of_ten_megabytes_is_told_to_be_too_long_and_holds_up_nothing(
    wire: Wire,
) -> None:
    uri = "file:///canary/huge.py"
    text = target("huge") + "x = 1\n" * 1_700_000
    assert len(text) > 10 << 20 - 1
    wire.open(uri, text)
    edit = {"range": {"start": FAR, "end": FAR}, "text": "y = 2\n"}
    for version in range(2, 5):
        wire.tell(
            "textDocument/didChange",
            {"textDocument": {"uri": uri, "version": version}, "contentChanges": [edit]},
        )
        assert wire.targets(uri) == []
    wire.tell("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert is_well(wire)


def test_thousands_of_open_documents_are_each_their_own(wire: Wire) -> None:
    count = 2000
    for i in range(count):
        wire.open(f"file:///many/{i}.py", target(f"m{i}"))
    asked = {}
    for i in range(count):
        command = "handlens.server.showTargets"
        params = {"command": command, "arguments": [f"file:///many/{i * 7 % count}.py"]}
        asked[wire.request("workspace/executeCommand", params)] = i * 7 % count
    for identifier, i in asked.items():
        [found] = wire.answer(identifier)["result"]
        assert found["name"] == f"handlens_m{i}"
    for i in range(count):
        wire.tell("textDocument/didClose", {"textDocument": {"uri": f"file:///many/{i}.py"}})
    assert is_well(wire)


# -- whatever else ----------------------------------------------------------------------------------

URIS = st.one_of(
    st.sampled_from(
        [
            "file:///fuzz/a.py",
            "file:///fuzz/b.py",
            "untitled:Untitled-1",
            "vscode-notebook-cell:/fuzz/n.ipynb#1",
            "file:///fuzz/n.ipynb",
            "file:///fuzz/pyproject.toml",
            "file:///a%00b.py",
            "file:///\ud800.py",
            "file://[",
            "file://" + "/x" * 5000,
            "untitled:\0",
            "",
            "a",
        ]
    ),
    st.text(max_size=8),
)
NUMBERS = st.one_of(
    st.integers(0, 20), st.sampled_from([-1, 2**31 - 1, 2**31, 2**70, 1e300]), st.floats()
)
TEXTS = st.one_of(
    st.sampled_from(
        [
            target("fuzz"),
            "class A(nn.Module):\n def example_inputs(self): pass\n",
            "def handlens_(:",
            "x = 1  # handlens: ignore[HL101",
            "\f\x1c\u2028\r\n\ud800\0",
            "(" * 500,
            "",
        ]
    ),
    st.text(max_size=20),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, URIS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
POSITIONS = st.builds(
    lambda line, character: {"line": line, "character": character}, NUMBERS, NUMBERS
)
RANGES = st.builds(lambda start, end: {"start": start, "end": end}, POSITIONS, POSITIONS)

KNOWN: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "uri": URIS,
        "target": TEXTS,
        "handle": NUMBERS,
        "position": POSITIONS,
        "range": RANGES,
        "textDocument": st.fixed_dictionaries(
            {"uri": URIS, "languageId": st.just("python"), "version": NUMBERS, "text": TEXTS}
        ),
        "notebookDocument": st.fixed_dictionaries(
            {
                "uri": URIS,
                "version": NUMBERS,
                "notebookType": st.just("jupyter-notebook"),
                "cells": st.lists(
                    st.fixed_dictionaries({"kind": st.just(2), "document": URIS}), max_size=2
                ),
            }
        ),
        "cellTextDocuments": st.lists(
            st.fixed_dictionaries(
                {"uri": URIS, "languageId": st.just("python"), "version": NUMBERS, "text": TEXTS}
            ),
            max_size=2,
        ),
        "contentChanges": st.lists(
            st.one_of(
                st.fixed_dictionaries({"text": TEXTS}),
                st.fixed_dictionaries({"text": TEXTS, "range": RANGES}),
            ),
            max_size=3,
        ),
        "change": st.fixed_dictionaries(
            {
                "cells": st.fixed_dictionaries(
                    {"structure": st.just({"array": {"start": 0, "deleteCount": 1}})}
                )
            }
        ),
        "context": st.fixed_dictionaries({"diagnostics": st.just([])}),
        "changes": st.lists(st.fixed_dictionaries({"uri": URIS, "type": NUMBERS}), max_size=2),
        "settings": st.fixed_dictionaries({"handlens": JSON}),
        "command": st.sampled_from(
            [
                f"handlens.server.{each}"
                for each in ("rerun", "cancel", "restartWorker", "report", "show", "showTargets")
            ]
        ),
        "arguments": st.lists(st.one_of(URIS, JSON), max_size=5),
        "event": st.just({"added": [], "removed": []}),
        "id": st.one_of(st.integers(0, 1_000_100), TEXTS),
        "token": TEXTS,
        "value": JSON,
    }
)
"""Parameters that suit any method: each takes of them what it knows."""

METHODS = sorted(
    {
        *types.METHOD_TO_TYPES,
        "handlens/report",
        "handlens/op",
        "handlens/opsAt",
        "handlens/noSuchThing",
    }
    - {types.EXIT, types.SHUTDOWN}
)
OFTEN = [
    each
    for each in METHODS
    if each.startswith(("handlens/", "textDocument/did", "notebookDocument/did", "workspace/did"))
] + [
    "textDocument/hover",
    "textDocument/inlayHint",
    "textDocument/codeLens",
    "workspace/executeCommand",
]


@st.composite
def parameters(draw: st.DrawFn) -> Any:
    """Parameters, one part of which may be anything."""
    params = copy.deepcopy(draw(KNOWN))
    if draw(st.booleans()):
        place: Any = params
        while True:
            key = draw(
                st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
            )
            if not isinstance(place[key], (dict, list)) or not place[key] or draw(st.booleans()):
                break
            place = place[key]
        place[key] = draw(JSON)
    return draw(st.sampled_from([params] * 5 + [None])) if draw(st.booleans()) else params


MESSAGES = st.tuples(
    st.booleans(), st.one_of(st.sampled_from(OFTEN), st.sampled_from(METHODS)), parameters()
)


@bounded(120)
@given(st.lists(MESSAGES, min_size=1, max_size=8))
def test_every_request_is_answered_once_and_the_server_is_well_afterwards(
    wire: Wire, messages: Any
) -> None:
    asked = []
    for is_request, method, params in messages:
        if is_request:
            asked.append(wire.request(method, params))
        else:
            wire.tell(method, params)
    for identifier in asked:
        assert wire.answer(identifier)["id"] == identifier
    assert is_well(wire)


@bounded(60)
@given(st.lists(st.one_of(st.binary(max_size=40), st.just(SOUND), JSON), max_size=6))
def test_no_bytes_between_messages_cost_one(wire: Wire, pieces: Any) -> None:
    for piece in pieces:
        if isinstance(piece, bytes):
            wire.send(piece)
        else:
            wire.say(piece)
    assert is_well(wire)
