"""Both kinds of channels, as a fixture; and what gRPC keeps for itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from ._callers import KINDS

HERE = Path(__file__).parent


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    param: str = request.param
    return param


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """gRPC keeps threads and descriptors of its own; `test_pods` looks for connections."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.may_leak)
