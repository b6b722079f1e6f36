"""A run without torch stays without it."""

import pytest

from tests.conftest import TESTS, TORCH_MODULES, NoTorch


@pytest.mark.parametrize("name", ["torch", "torchao"])
def test_an_import_of_torch_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(ImportError, match=f"imports {name}: mark it"):
        NoTorch().find_spec(name, None)
    assert NoTorch().find_spec("torchlike", None) is None


def test_what_needs_torch_is_where_it_is_said_to_be() -> None:
    assert [each for each in TORCH_MODULES if not (TESTS / each).exists()] == []


def test_a_run_without_torch_has_not_imported_it(request: pytest.FixtureRequest) -> None:
    if "not torch" not in request.config.option.markexpr:
        pytest.skip("this run has torch")
    with pytest.raises(ImportError, match="mark it"):
        __import__("torch")
