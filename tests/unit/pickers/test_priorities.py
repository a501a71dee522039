"""SRV priorities (RFC 2782): backups are in the set, and picked only while no peer before them can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from peerdiscover import Answer, Endpoint, Peer, PeerSet, Policy
from peerdiscover.peers import View
from peerdiscover.pickers import LeastRequests, Random, Rendezvous, RoundRobin, Subset, pickable
from tests.unit.tables import Told, peer


def view(*priorities: int, zones: str = "", own: str | None = None, **state: Any) -> View:
    """A set of web-0, web-1, … with these priorities."""
    there = [
        replace(peer(i), priority=priority, zone=zones[i] if zones else None)
        for i, priority in enumerate(priorities)
    ]
    keys: dict[str, Any] = {name: frozenset(f"web-{i}" for i in numbers) for name, numbers in state.items()}
    before = len(there) if "suspects" in state else 0
    plain = View(PeerSet("web", there, generation=1), before=before, zone=own)
    return replace(plain, **keys)


def picked(choice: View, **how: Any) -> list[int | None]:
    return [peer.ordinal for peer in pickable(choice, **how)]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (view(0, 0, 0), [0, 1, 2]),
        (view(10, 10, 20), [0, 1]),
        (view(20, 10, 30), [1]),
        (view(10, 10, 20, ejected=[0]), [1]),
        (view(10, 10, 20, ejected=[0, 1]), [2]),
        (view(10, 20, 30, ejected=[0], half_open=[1]), [2]),
        (view(10, 20, suspects=[0]), [1]),
        (view(10, 10, 20, ejected=[0, 1, 2]), [0, 1]),  # without a healthy one all of the first are tried
    ],
)
def test_the_lowest_priority_that_has_a_peer_to_pick(choice: View, expected: list[int]) -> None:
    assert picked(choice) == expected


def test_a_zone_is_a_choice_among_peers_of_one_priority() -> None:
    assert picked(view(10, 10, 20, zones="aba", own="a"), zone="prefer") == [0]
    assert picked(view(10, 10, 20, zones="bba", own="a"), zone="prefer") == [0, 1]
    assert picked(view(10, 10, 20, 30, zones="bbaa", own="a"), zone="only") == [2]


@pytest.mark.parametrize("kind", [RoundRobin, Random, Subset])
def test_backups_take_over_and_give_back(kind: type[RoundRobin | Random | Subset]) -> None:
    picker = kind()
    picker.rebind(view(10, 20))
    assert {picker.pick().ordinal for _ in range(20)} == {0}
    picker.rebind(view(10, 20, ejected=[0]))
    assert {picker.pick().ordinal for _ in range(20)} == {1}
    picker.rebind(view(10, 20, half_open=[0]))  # the probe that may bring it back
    assert [picker.pick().ordinal for _ in range(4)] == [0, 1, 1, 1]
    picker.rebind(view(10, 20))
    assert {picker.pick().ordinal for _ in range(20)} == {0}


def test_a_half_open_backup_gets_no_call_while_it_is_not_needed() -> None:
    picker = RoundRobin()
    picker.rebind(view(10, 10, 20, half_open=[2]))
    assert {picker.pick().ordinal for _ in range(20)} == {0, 1}


def test_least_requests_follows() -> None:
    picker = LeastRequests()
    picker.rebind(view(10, 20))
    with picker.lease() as first, picker.lease() as second:
        assert (first.ordinal, second.ordinal) == (0, 0)


def test_owners_are_of_the_first_priority_whatever_fails() -> None:
    """All pods have to agree on an owner, and do not see the same failures."""
    picker = Rendezvous(include_self=True)
    for choice in view(10, 10, 20), view(10, 10, 20, ejected=[0, 1]), view(10, 10, 20, suspects=[0, 1]):
        picker.rebind(choice)
        assert {picker.pick(str(i)).ordinal for i in range(50)} == {0, 1}


def backed(*priorities: int) -> Answer:
    return Answer.of(
        [Endpoint((f"10.0.0.{i}",), 80, f"web-{i}", priority=p) for i, p in enumerate(priorities)]
    )


def fail(told: Told, *numbers: int) -> list[int | None]:
    for i in numbers:
        told.core.report_failure(told.peer(i), 0)
    return picked(told.core.view)


def test_all_of_the_first_may_be_ejected_while_there_is_a_backup() -> None:
    """`max_ejected` protects peers from the load of others; here the backups are there to take it."""
    told = Told(Policy(max_ejected=0.5)).hears(backed(10, 10, 10, 20))
    assert fail(told) == [0, 1, 2]
    assert fail(told, 0) == [1, 2]
    assert fail(told, 1, 2) == [3]
    assert fail(told, 3) == [3]


def test_explain_calls_backups_so() -> None:
    told = Told().hears(backed(10, 20))
    assert [p.priority for p in told.core.peers] == [10, 20]
    lines = told.core.explain(0).splitlines()
    assert "  web-0 at 10.0.0.0:80: in: the last answers have it" in lines
    assert "  web-1 at 10.0.0.1:80 (backup, priority 20): in: the last answers have it" in lines


def test_priorities_are_no_part_of_equality() -> None:
    one = Peer("web-0", "10.0.0.1", 80)
    assert replace(one, priority=7) == one
    told = Told().hears(backed(10, 20)).hears(backed(20, 10), at=5)
    assert told.generation == 1
    assert picked(told.core.view) == [1]
