"""Zones over DNS: what is asked beside the rest, what is made of the replies, and when it is asked again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from peerdiscover.errors import Outcome
from peerdiscover.sources.dns._remembered import NameHistory
from peerdiscover.sources.dns._types import Reply
from peerdiscover.sources.dns._zonal import SKIP_FAILED, SKIP_MISSING

from ._lookups import AAAA, NAME, NODATA, NXDOMAIN, SILENCE, SRV, A, Run, Table, a, alias, srv

THREE = {"web-0": ["10.0.0.1"], "web-1": ["10.0.0.2"], "web-2": ["10.0.0.3"]}
ALL = srv(*THREE, glue=THREE)
PINNED = f"zone-a.pin._zone.{NAME}"


def zonal(
    reply: Reply | Sequence[Reply], reply6: Reply | Sequence[Reply] = NODATA, main: Reply = ALL
) -> Table:
    return {(NAME, SRV): main, (PINNED, A): reply, (PINNED, AAAA): reply6}


def zones(run: Run) -> list[str | None]:
    return [endpoint.zone for endpoint in run.answer.endpoints]


def aside(run: Run) -> list[list[str]]:
    """What each batch asked beside the rest."""
    return [[f"{q.kind.name} {q.name}" for q in batch.optional] for batch in run.batches]


def test_those_in_the_own_zone_are_asked_for_beside_the_first_question() -> None:
    run = Run("web.prod:8080", zonal(a("10.0.0.1", "10.0.0.3")), zone="zone-a")
    assert run.asked == [["SRV NAME"]]
    assert aside(run) == [[f"A {PINNED}", f"AAAA {PINNED}"]]
    assert zones(run) == ["zone-a", None, "zone-a"]


def test_without_an_own_zone_nothing_more_is_asked() -> None:
    run = Run("web.prod:8080", zonal(a("10.0.0.1")))
    assert aside(run) == [[]]
    assert zones(run) == [None, None, None]


@pytest.mark.parametrize("service", ["web.prod:8080", "web.prod", "web.prod:http"])
def test_each_way_to_write_the_port_tells_zones(service: str) -> None:
    table = {**zonal(a("10.0.0.2")), (f"_http._tcp.{NAME}", SRV): ALL}
    run = Run(service, table, zone="zone-a")
    assert zones(run) == [None, "zone-a", None]
    assert len(run.batches) == 1


def test_so_do_answers_by_address_alone() -> None:
    table = {
        (NAME, SRV): NODATA,
        (NAME, A): a("10.0.0.1", "10.0.0.2"),
        (NAME, AAAA): NODATA,
        (PINNED, A): a("10.0.0.2"),
        (PINNED, AAAA): NODATA,
    }
    history = NameHistory()
    runs = [Run("web.prod:8080", table, zone="zone-a", history=history) for _ in range(2)]
    for run in runs:
        assert zones(run) == [None, "zone-a"]
        assert [len(questions) for questions in aside(run)] == [2, *[0] * (len(run.batches) - 1)]
    assert runs[1].asked == [["A NAME", "AAAA NAME"]]  # SRV is not asked for any more


def test_pods_whose_name_could_not_be_asked_have_zones_too() -> None:
    table = {
        (NAME, SRV): SILENCE,
        (NAME, A): a("10.0.0.1", "10.0.0.9"),
        (NAME, AAAA): NODATA,
        (PINNED, A): a("10.0.0.9"),
        (PINNED, AAAA): NODATA,
    }
    run = Run("web.prod:8080", table, zone="zone-a", known={"web-0": ("10.0.0.1",)})
    assert [(e.addresses[0], e.zone) for e in run.answer.unnamed] == [("10.0.0.9", "zone-a")]
    assert zones(run) == [None]


def test_one_address_of_either_family_in_the_zone_is_enough() -> None:
    both = srv("web-0", "web-1", glue={"web-0": ["10.0.0.1", "fd00::1"], "web-1": ["10.0.0.2", "fd00::2"]})
    run = Run("web.prod:8080", zonal(NODATA, a("fd00::2"), main=both), zone="zone-a")
    assert zones(run) == [None, "zone-a"]
    run = Run("web.prod:8080", zonal(SILENCE, a("fd00::2"), main=both), zone="zone-a", family="ipv6")
    assert zones(run) == [None, "zone-a"]
    assert aside(run) == [[f"AAAA {PINNED}"]]


def test_a_zone_may_have_dots_and_what_cannot_stand_in_a_name_is_not_asked() -> None:
    dotted = f"corp.example.com.pin._zone.{NAME}"
    table = {(NAME, SRV): ALL, (dotted, A): a("10.0.0.1"), (dotted, AAAA): NODATA}
    assert zones(Run("web.prod:8080", table, zone="corp.example.com")) == ["corp.example.com", None, None]
    for zone in "a..b", "a.-b", ".".join(["a" * 60] * 4):
        assert aside(Run("web.prod:8080", {(NAME, SRV): ALL}, zone=zone)) == [[]]


def test_a_zone_with_capital_letters_is_asked_without_them_and_told_with_them() -> None:
    assert zones(Run("web.prod:8080", zonal(a("10.0.0.2")), zone="Zone-A")) == [None, "Zone-A", None]


def test_names_outside_the_cluster_have_no_zones() -> None:
    run = Run("web.example.:8080", {("web.example.", SRV): ALL}, zone="zone-a")
    assert aside(run) == [[] for _ in run.batches]


def test_a_second_opinion_is_about_who_is_there() -> None:
    run = Run("web.prod:8080", zonal(a("10.0.0.1")), zone="zone-a", second_opinion=True)
    assert aside(run) == [[]]


@pytest.mark.parametrize("reply", [NXDOMAIN, SILENCE, NODATA, alias("elsewhere.", A)])
def test_whatever_becomes_of_it_the_answer_is_the_same(reply: Reply) -> None:
    without = Run("web.prod:8080", zonal(reply, reply))
    run = Run("web.prod:8080", zonal(reply, reply), zone="zone-a")
    assert run.answer == without.answer
    assert zones(run) == [None, None, None]


def asks(table: Table, lookups: int, history: NameHistory | None = None) -> list[int]:
    """In which of so many lookups the zone was asked for."""
    history = history or NameHistory()
    runs = [Run("web.prod:8080", table, zone="zone-a", history=history) for _ in range(lookups)]
    return [i for i, run in enumerate(runs) if any(aside(run))]


def test_a_server_without_such_names_is_not_asked_again_for_some_minutes() -> None:
    assert asks(zonal(NXDOMAIN, NXDOMAIN), 2 * SKIP_MISSING) == [0, SKIP_MISSING + 1]


def test_one_that_had_them_is_asked_once_more() -> None:
    history = NameHistory()
    assert asks(zonal(a("10.0.0.1")), 3, history) == [0, 1, 2]
    assert asks(zonal(NXDOMAIN, NXDOMAIN), 10, history) == [0, 1]


def test_nobody_in_the_zone_is_an_answer_and_asked_again() -> None:
    assert asks(zonal(NODATA), 4) == [0, 1, 2, 3]


def test_silence_is_not_waited_for_each_time() -> None:
    assert asks(zonal(SILENCE, SILENCE), 7) == [0, SKIP_FAILED + 1, 2 * (SKIP_FAILED + 1)]


def test_one_family_that_answers_is_enough_to_ask_again() -> None:
    assert asks(zonal(a("10.0.0.1"), SILENCE), 3) == [0, 1, 2]


def test_where_nobody_is_there_the_names_are_not_there_either() -> None:
    """CoreDNS says NXDOMAIN for all of them while no pod is ready: that is no reason to give up."""
    history = NameHistory()
    run = Run("web.prod:8080", {}, zone="zone-a", history=history)
    assert run.answer.outcome is Outcome.NOT_FOUND
    assert asks(zonal(a("10.0.0.1")), 2, history) == [0, 1]


def test_each_zone_has_a_memory_of_its_own() -> None:
    history = NameHistory()
    assert asks(zonal(NXDOMAIN, NXDOMAIN), 2, history) == [0]
    other = f"zone-b.pin._zone.{NAME}"
    table = {(NAME, SRV): ALL, (other, A): a("10.0.0.1"), (other, AAAA): NODATA}
    run = Run("web.prod:8080", table, zone="zone-b", history=history)
    assert zones(run) == ["zone-b", None, None]
