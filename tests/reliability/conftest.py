"""The clients and models of the tests of the server."""

import pytest

from tests.server.conftest import capabilities, held, model, serving

__all__ = ["capabilities", "held", "model", "serving"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, help="How many processes are killed at random moments.")
