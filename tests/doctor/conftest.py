"""What the tests of this folder put back."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def the_log_is_the_tests_again() -> Iterator[None]:
    """`main` takes the library's log for its own process."""
    log = logging.getLogger("peerdiscover")
    handlers, level, propagates = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagates
    log.setLevel(level)
