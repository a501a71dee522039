"""The ways to send, as a fixture."""

from __future__ import annotations

import pytest

from ._flavors import WAYS


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    param: str = request.param
    return param
