"""Both libraries, as a fixture."""

from __future__ import annotations

import pytest

from ._sessions import LIBRARIES


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    param: str = request.param
    return param
