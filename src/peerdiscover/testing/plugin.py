"""The pytest plugin: the fixture `headless_service`.

pytest loads it in every run if peerdiscover is installed, so it imports nothing until a test asks for
the fixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from . import HeadlessService


@pytest.fixture
def headless_service() -> Iterator[Callable[..., HeadlessService]]:
    """Return a function that starts headless Services, which are closed after the test.

    It takes the arguments of `peerdiscover.testing.HeadlessService` and returns a running one:

        def test_all_are_asked(headless_service):
            svc = headless_service("web-headless.prod", replicas=3, ports={"http": 8080})
            with Discovery("web-headless.prod:http", source=svc.source) as web:
                assert len(web.peers) == 3
    """
    from . import HeadlessService

    with ExitStack() as stack:

        def make(*args: object, **kwargs: object) -> HeadlessService:
            return stack.enter_context(HeadlessService(*args, **kwargs))  # type: ignore[arg-type]

        yield make
