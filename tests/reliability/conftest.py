"""The clients and models of the tests of the server."""

import pytest

from tests.server.conftest import capabilities, client, held, model, serving

__all__ = ["capabilities", "client", "held", "model", "serving"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, help="How many processes are killed at random moments.")
