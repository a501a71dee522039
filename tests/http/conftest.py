"""The flavors of clients, as a fixture."""

from __future__ import annotations

import pytest

from ._flavors import FLAVORS


@pytest.fixture(params=FLAVORS)
def flavor(request: pytest.FixtureRequest) -> str:
    param: str = request.param
    return param
