"""Zones over DNS on real sockets: what the question costs where the server keeps silent about it."""

from __future__ import annotations

import time

import pytest

from peerdiscover.sources._server import Server as Nameserver
from peerdiscover.sources.dns import DNS, _drivers
from peerdiscover.sources.dns._remembered import ServerStats
from peerdiscover.sources.dns._types import OPTIONAL_TIMEOUT
from tests.waiting import LONG, one_of_ten

from ._lookups import NAME
from ._server import Answers, Server, records
from .conftest import Look

PINNED = f"zone-a.pin._zone.{NAME}"
PODS = records(
    *[f"{NAME} SRV 0 33 8080 web-{i}.{NAME}" for i in range(3)],
    f"{PINNED} A 10.0.0.2",
    additional=tuple(f"web-{i}.{NAME} A 10.0.0.{i + 1}" for i in range(3)),
)


def zones(look: Look, source: DNS) -> list[str | None]:
    """The zone of each pod, as a lookup from zone-a finds it, which has more time than it needs."""
    return [endpoint.zone for endpoint in look(source, zone="zone-a", timeout=4 * LONG).endpoints]


def silent_about_zones(answers: Answers) -> Answers:
    return lambda query: [] if b"_zone" in query else answers(query)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zones are waited for, however busy the machine is."""
    monkeypatch.setattr(_drivers, "OPTIONAL_TIMEOUT", LONG)


@pytest.mark.usefixtures("patient")
def test_three_questions_at_once_tell_who_is_in_the_zone(look: Look) -> None:
    with Server(PODS) as server:
        assert zones(look, DNS([server.nameserver])) == [None, "zone-a", None]
    # By their texts: on a busy machine one is sent again, with another id.
    assert len({query[2:] for _, query, _ in server.queries}) == 3
    assert len({port for _, _, port in server.queries}) == len(server.queries)


def test_a_server_that_keeps_silent_about_zones_costs_half_a_second_now_and_then(look: Look) -> None:
    with Server(silent_about_zones(PODS)) as server:
        source = DNS([server.nameserver])
        began = time.monotonic()
        assert zones(look, source) == [None, None, None]
        took = time.monotonic() - began
        assert OPTIONAL_TIMEOUT - 0.01 <= took < LONG, "it does not wait for all the time that SRV has"
        asked = len(server.queries)
        assert zones(look, source) == [None, None, None]
        assert not any(b"_zone" in query for _, query, _ in server.queries[asked:])


@pytest.mark.usefixtures("patient")
def test_the_server_is_not_blamed_for_it(look: Look) -> None:
    """It goes on being asked first: what it does not say about zones makes it no worse than another."""

    def attempt() -> None:
        with Server(silent_about_zones(PODS)) as first, Server(PODS) as second:
            source = DNS([first.nameserver, second.nameserver])
            for _ in range(2):
                assert zones(look, source) == [None, "zone-a", None]  # the other one was asked about zones
        assert all(b"_zone" in query for _, query, _ in second.queries)

    one_of_ten(attempt)


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
