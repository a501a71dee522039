"""What the tests on real sockets share."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.names import ServiceName
from peerdiscover.sources.dns import DNS

Look = Callable[..., Answer]


@pytest.fixture(params=["threads", "asyncio", "trio"])
def look(request: pytest.FixtureRequest) -> Look:
    """One lookup, by each of the three drivers: `look(source, service, timeout=…, zone=…)`."""

    def found(source: DNS, service: str = "web.prod:8080", **ask: object) -> Answer:
        question = LookupRequest(ServiceName.parse(service), **ask)  # type: ignore[arg-type]
        if request.param == "threads":
            return source.lookup(question)
        return anyio.run(source.alookup, question, backend=request.param)

    return found
