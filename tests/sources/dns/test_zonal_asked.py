"""Zones over DNS on real sockets: what the question costs where the server keeps silent about it."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import pytest

from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.names import ServiceName
from peerdiscover.sources._server import Server as Nameserver
from peerdiscover.sources.dns import DNS
from peerdiscover.sources.dns._server_stats import ServerStats
from peerdiscover.sources.dns._types import OPTIONAL_TIMEOUT

from ._lookups import NAME
from ._server import Answers, Server, records

Look = Callable[[DNS], Answer]
PINNED = f"zone-a.pin._zone.{NAME}"
PODS = records(
    *[f"{NAME} SRV 0 33 8080 web-{i}.{NAME}" for i in range(3)],
    f"{PINNED} A 10.0.0.2",
    additional=tuple(f"web-{i}.{NAME} A 10.0.0.{i + 1}" for i in range(3)),
)


@pytest.fixture(params=["threads", "asyncio", "trio"])
def look(request: pytest.FixtureRequest) -> Look:
    """One lookup from zone-a, in each of the three worlds."""
    question = LookupRequest(ServiceName.parse("web.prod:8080"), zone="zone-a")

    def found(source: DNS) -> Answer:
        if request.param == "threads":
            return source.lookup(question)
        return anyio.run(source.alookup, question, backend=request.param)

    return found


def zones(answer: Answer) -> list[str | None]:
    return [endpoint.zone for endpoint in answer.endpoints]


def silent_about_zones(answers: Answers) -> Answers:
    return lambda query: [] if b"_zone" in query else answers(query)


def test_three_questions_at_once_tell_who_is_in_the_zone(look: Look) -> None:
    with Server(PODS) as server:
        answer = look(DNS([server.nameserver]))
    assert zones(answer) == [None, "zone-a", None]
    assert len({port for _, _, port in server.queries}) == len(server.queries) == 3


def test_a_server_that_keeps_silent_about_zones_costs_half_a_second_now_and_then(look: Look) -> None:
    with Server(silent_about_zones(PODS)) as server:
        source = DNS([server.nameserver])
        began = time.monotonic()
        assert zones(look(source)) == [None, None, None]
        assert OPTIONAL_TIMEOUT - 0.01 <= time.monotonic() - began < 2  # SRV alone may take 2.5 s
        asked = len(server.queries)
        assert zones(look(source)) == [None, None, None]
        assert len(server.queries) == asked + 1


def test_the_server_is_not_blamed_for_it(look: Look) -> None:
    """It goes on being asked first: what it does not say about zones makes it no worse than another."""
    with Server(silent_about_zones(PODS)) as first, Server(PODS) as second:
        source = DNS([first.nameserver, second.nameserver])
        for _ in range(2):
            assert zones(look(source)) == [None, "zone-a", None]  # the other one was asked about zones
    assert all(b"_zone" in query for _, query, _ in second.queries)


def test_what_is_remembered_apart_is_nobody_elses_concern() -> None:
    one, two = Nameserver("10.0.0.1"), Nameserver("10.0.0.2")
    stats = ServerStats()
    stats.mark_down(one)
    apart = stats.snapshot()
    assert apart.order([one, two]) == [two, one]
    apart.mark_down(two)
    apart.mark_up(one)
    apart.no_tcp[one] = True
    assert stats.order([one, two]) == [two, one]
    assert not stats.no_tcp
