"""Zones: who is picked when the own zone is preferred, or is the only one; whose zone is known."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdiscover import (
    Answer,
    AsyncDiscovery,
    ConfigurationError,
    Discovery,
    Endpoint,
    Identity,
    NoPeersError,
    Peer,
    PeerSet,
    Policy,
)
from peerdiscover.peers import View
from peerdiscover.pickers import Random, RoundRobin, pickable
from tests.unit.tables import FAILED, NOT_FOUND, Told, endpoint, peer

KINDS = pytest.mark.parametrize("kind", [RoundRobin, Random])


def view(
    *zones: str | None, own: str | None = "a", me: int | None = None, suspects: tuple[int, ...] = ()
) -> View:
    """A set of web-0, web-1, … in these zones."""
    there = [replace(peer(i, me=i == me), zone=zone) for i, zone in enumerate(zones)]
    return View(
        PeerSet("web", there, generation=1),
        frozenset(f"web-{i}" for i in suspects),
        len(there) if suspects else 0,
        zone=own,
    )


def numbers(peers: tuple[Peer, ...]) -> list[int | None]:
    return [peer.ordinal for peer in peers]


# who may be picked


@pytest.mark.parametrize(
    ("zones", "picked"),
    [
        ("aabbcc", [0, 1]),
        ("abbcc", [0]),  # a zone has 5/3 on average; one is more than half of that
        ("abbccc", [0]),  # 2 on average: one is half, and enough
        ("abbbccc", [0, 1, 2, 3, 4, 5, 6]),  # 7/3 on average: one is too few
        ("aabbbbbb", [0, 1]),  # 4 on average
        ("aabbbbbbb", list(range(9))),  # 4.5
        ("aaaa", [0, 1, 2, 3]),
        ("bbcc", [0, 1, 2, 3]),  # none there
    ],
)
def test_the_own_zone_comes_first_while_it_has_half_of_what_a_zone_has(zones: str, picked: list[int]) -> None:
    assert numbers(pickable(view(*zones), zone="prefer")) == picked


@pytest.mark.parametrize(
    ("own", "others", "enough"), [(1, 3, True), (1, 4, False), (25, 75, True), (24, 76, False)]
)
def test_those_whose_zone_is_not_known_count_as_one_zone(own: int, others: int, enough: bool) -> None:
    """So it is over DNS, which tells those in the own zone alone: it takes a quarter of all."""
    chosen = pickable(view(*["a"] * own, *[None] * others), zone="prefer")
    assert len(chosen) == (own if enough else own + others)


def test_only_the_own_zone_be_they_ever_so_few() -> None:
    assert numbers(pickable(view(*"abbbbbbbbb"), zone="only")) == [0]
    assert pickable(view(*"bbb"), zone="only") == ()


@pytest.mark.parametrize("zone", ["prefer", "only", None])
def test_an_own_zone_that_is_not_known(zone: Any) -> None:
    """It is no zone that peers without one could be in."""
    chosen = pickable(view("a", None, None, own=None), zone=zone)
    assert numbers(chosen) == ([] if zone == "only" else [0, 1, 2])


def test_oneself_is_left_out_before_zones_are_counted() -> None:
    mine = view(*"aabbcc", me=0)
    assert numbers(pickable(mine, zone="prefer")) == [1]
    assert numbers(pickable(mine, include_self=True, zone="prefer")) == [0, 1]
    alone = view(*"abc", me=0)
    assert numbers(pickable(alone, zone="prefer")) == [1, 2]
    assert pickable(alone, zone="only") == ()


def test_suspects_are_left_out_before_zones_are_counted() -> None:
    assert numbers(pickable(view(*"aabbcc", suspects=(0,)), zone="prefer")) == [1]
    assert numbers(pickable(view(*"aabbcc", suspects=(0, 1)), zone="prefer")) == [2, 3, 4, 5]
    assert numbers(pickable(view(*"aabbcc", suspects=(0,)), zone="only")) == [1]


def test_a_suspect_of_the_own_zone_is_better_than_nobody() -> None:
    assert numbers(pickable(view(*"aabbcc", suspects=(0, 1)), zone="only")) == [0, 1]


@given(st.lists(st.sampled_from([*"abcd", None]), min_size=1, max_size=40))
def test_nobody_gets_more_than_twice_its_share_from_its_own_zone(zones: list[str | None]) -> None:
    """Where callers are spread evenly over the zones, and those that cannot prefer theirs call everybody."""
    there = set(zones)
    load: Counter[int | None] = Counter()
    for own in there - {None}:
        chosen = pickable(view(*zones, own=own), zone="prefer")
        assert chosen
        assert {p.zone for p in chosen} in ({own}, there)
        if {p.zone for p in chosen} == {own}:
            for p in chosen:
                load[p.ordinal] += len(zones) / len(there) / len(chosen)  # type: ignore[assignment]
    assert all(share <= 2 + 1e-9 for share in load.values())


@KINDS
def test_pickers_go_by_it(kind: type[RoundRobin | Random]) -> None:
    picker = kind(zone="prefer")
    picker.rebind(view(*"aabbcc"))
    assert {picker.pick().zone for _ in range(100)} == {"a"}
    picker.rebind(view(*"bbbcc"))
    assert {picker.pick().zone for _ in range(100)} == {"b", "c"}
    only = kind(zone="only")
    only.rebind(view(*"aabbcc"))
    assert {only.pick().ordinal for _ in range(100)} == {0, 1}


# nobody


@KINDS
@pytest.mark.parametrize(
    ("there", "why"),
    [
        (view(*"bbc"), 'web: zone="only": no peer is in a; there are 2 in b, 1 in c'),
        (view("b", None), "no peer is in a; there are 1 in an unknown zone, 1 in b"),
        (view(None, None), "no peer's zone is known: none is in a, or the source reports no zones"),
        (view(*"abc", own=None), "this pod's zone is not known; set PEERDISCOVER_ZONE, or give Identity"),
        (view(*"abc", me=0), "no peer is in a; there are 1 in b, 1 in c"),
        (view(), "web: no peers available"),
        (view("a", me=0), "this pod is the only peer"),
        (replace(view(), peers=PeerSet("web")), "no peers are known yet"),
    ],
)
def test_nobody_says_which_zone_and_why(kind: type[RoundRobin | Random], there: View, why: str) -> None:
    picker = kind(zone="only")
    picker.rebind(there)
    with pytest.raises(NoPeersError) as raised:
        picker.pick()
    assert why in str(raised.value)


@KINDS
@pytest.mark.parametrize("zone", ["Prefer", "", "a", 1, True, ["only"]])
def test_another_choice_is_refused_with_the_choices(kind: type[RoundRobin | Random], zone: Any) -> None:
    with pytest.raises(ConfigurationError, match="use one of 'prefer', 'only', None"):
        kind(zone=zone)
    with Discovery("static:10.0.0.1:80") as web:
        method = web.round_robin if kind is RoundRobin else web.random
        with pytest.raises(ConfigurationError, match="use one of 'prefer', 'only', None"):
            method(zone=zone)


def test_the_same_zone_gives_the_same_picker() -> None:
    with Discovery("static:10.0.0.1:80") as web:
        assert web.round_robin(zone="only") is web.round_robin(zone="only", include_self=False)
        assert web.round_robin(zone="only") is not web.round_robin(zone="prefer")
        assert web.round_robin() is web.round_robin(zone=None)


# whose zone is known


def placed(*zones: str | None) -> Answer:
    """A complete answer with web-0, web-1, … in these zones."""
    return Answer.of([replace(endpoint(i), zone=zone) for i, zone in enumerate(zones)], ttl=5.0)


def told_zones(told: Told) -> list[str | None]:
    return [peer.zone for peer in told.core.peers]


def test_zones_are_told_by_the_source() -> None:
    told = Told().hears(placed("a", "b", None))
    assert told_zones(told) == ["a", "b", None]
    assert told.generation == told.hears(placed("a", "b", "c"), at=5).generation
    assert told_zones(told) == ["a", "b", "c"]


def test_an_answer_that_tells_nobodys_zone_takes_none_away() -> None:
    told = Told().hears(placed("a", "b", "c")).hears(placed(None, None, None, None), at=5)
    assert told_zones(told) == ["a", "b", "c", None]


def test_an_answer_that_tells_some_is_believed_about_the_others() -> None:
    told = Told().hears(placed("a", "b", "c")).hears(placed("a", None, None), at=5)
    assert told_zones(told) == ["a", None, None]


def test_a_pod_at_another_address_may_be_anywhere() -> None:
    moved = Answer.of([endpoint(0, "10.0.0.9"), endpoint(1)])
    told = Told().hears(placed("a", "b")).hears(moved, at=5)
    assert told_zones(told) == [None, "b"]


def test_nodes_are_kept_like_zones() -> None:
    first = Answer.of([replace(endpoint(0), zone="a", node="one")])
    told = Told().hears(first).hears(placed(None), at=5)
    assert told.peer(0).node == "one"


def test_zones_outlive_a_family_that_could_not_be_asked() -> None:
    both = Answer.of([Endpoint(("10.0.0.1", "fd00::1"), 80, "web-0", zone="a")])
    one = Answer.of([Endpoint(("10.0.0.1",), 80, "web-0")]).replace(failed_families=frozenset({6}))
    told = Told().hears(both).hears(one, at=5)
    assert told.peer(0).addresses == ("10.0.0.1", "fd00::1")
    assert told_zones(told) == ["a"]


# the own zone


def test_the_identity_says_it_and_the_source_is_asked_with_it() -> None:
    told = Told(me=Identity("web-0", zone="z")).hears(placed("a", "b"))
    assert told.ask is not None
    assert told.ask.zone == "z"
    assert told.core.view.zone == "z"


def test_else_it_is_that_of_the_peer_that_is_oneself() -> None:
    told = Told(me=Identity("web-1")).hears(placed("a", "b"))
    assert told.ask is not None
    assert told.ask.zone is None
    assert told.core.view.zone == "b"
    told.hears(placed("a", "b"), at=5)
    assert told.ask.zone == "b"


def test_it_is_known_while_one_is_not_in_the_set() -> None:
    """A pod that is not ready is not in the set, and has not moved."""
    told = Told(me=Identity("web-1")).hears(placed("a", "b")).hears(placed("a"), at=5)
    assert told.core.view.zone == "b"
    told.hears(NOT_FOUND, at=10).hears(FAILED, at=15)
    assert told.core.view.zone == "b"


def test_the_set_may_know_better_later() -> None:
    """The peer that is oneself may at first be the pod from before a restart, elsewhere."""
    told = Told(me=Identity("web-1")).hears(placed("a", "b")).hears(placed("a", "c"), at=5)
    assert told.core.view.zone == "c"


def test_without_any_of_them_it_is_not_known() -> None:
    told = Told(me=Identity("other")).hears(placed("a", "b"))
    assert told.core.view.zone is None
    assert told.core.reconciler.zone is None


def test_it_is_explained() -> None:
    told = Told(me=Identity("web-1")).hears(placed("a", "b", None))
    lines = told.core.explain(0).splitlines()
    assert "  web-0 at 10.0.0.0:80 (a): in: the last answers have it" in lines
    assert "  web-1 at 10.0.0.1:80 (self, b): in: the last answers have it" in lines
    assert "  web-2 at 10.0.0.2:80: in: the last answers have it" in lines
    assert "  zone of this pod: b" in lines
    assert "zone of this pod" not in Told().hears(placed("a")).core.explain(0)


@pytest.mark.parametrize("zone", ["eu-west-1a", "corp.example.com", "Zone_A", "a", "a" * 63])
def test_a_zone_is_what_a_label_can_say(zone: str) -> None:
    assert Identity(zone=zone).zone == zone


@pytest.mark.parametrize("zone", ["-a", "a-", "a b", "a/b", "a" * 64, "ä", "a\n", 5])
def test_what_no_label_can_say_is_refused(zone: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Identity\(zone=…\): .*: a zone is what a node"):
        Identity(zone=zone)


def test_a_node_without_a_zone_gives_an_empty_text() -> None:
    assert Identity(zone="").zone is None


# through a discovery


class Zoned:
    """A source that tells zones, and notes what it was asked."""

    kind = "zoned"

    def __init__(self, *zones: str | None) -> None:
        self.answer = placed(*zones)
        self.asked: list[str | None] = []

    def lookup(self, ask: Any) -> Answer:
        self.asked.append(ask.zone)
        return self.answer


def test_the_environment_says_the_own_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERDISCOVER_ZONE", "b")
    source = Zoned("a", "b", "b")
    for me in None, Identity("web-9"):
        with Discovery("web", source=source, me=me) as web:
            assert {web.round_robin(zone="only").pick().ordinal for _ in range(4)} == {1, 2}
    with Discovery("web", source=source, me=Identity(zone="a")) as web:
        assert web.round_robin(zone="only").pick().ordinal == 0
    assert source.asked == ["b", "b", "a"]
    monkeypatch.setenv("PEERDISCOVER_ZONE", "no zone")
    with (
        pytest.raises(ConfigurationError, match="PEERDISCOVER_ZONE='no zone'"),
        Discovery("web", source=source),
    ):
        pass


def test_resolving_once_asks_with_the_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    from peerdiscover import resolve

    monkeypatch.setenv("PEERDISCOVER_ZONE", "b")
    source = Zoned("b")
    assert resolve("web", source=source)[0].zone == "b"
    assert source.asked == ["b"]


@contextmanager
def warned(caplog: pytest.LogCaptureFixture, count: int, text: str = "") -> Iterator[None]:
    """So many warnings about zones, each with that text."""
    with caplog.at_level(logging.WARNING, logger="peerdiscover"):
        yield
    about = [r.getMessage() for r in caplog.records if "prefer" in r.getMessage()]
    assert len(about) == count
    assert all(text in line for line in about)


def test_preferring_a_zone_that_is_not_known_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    warning = 'web: zone="prefer" picks from all zones: this pod\'s zone is not known'
    here = Discovery("web", source=Zoned("a", "b"), me=Identity("other"))
    with warned(caplog, 1, warning), here as web:
        assert {web.round_robin(zone="prefer").pick().ordinal for _ in range(4)} == {0, 1}
        web.random(zone="prefer")
        web.round_robin(zone="prefer", include_self=True)
        web.refresh()


def test_so_does_a_source_that_tells_no_zones(caplog: pytest.LogCaptureFixture) -> None:
    warning = "or the source reports no zones (over DNS it takes CoreDNS's option zonal)"
    here = Discovery("web", source=Zoned(None, None), me=Identity(zone="a"))
    with warned(caplog, 1, warning), here as web:
        web.round_robin(zone="prefer").pick()


def test_nobody_who_prefers_no_zone_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    with warned(caplog, 0):
        with Discovery("web", source=Zoned("a", "b"), me=Identity("other")) as web:
            web.round_robin().pick()
            web.round_robin(zone=None).pick()
        with Discovery("web", source=Zoned("a", "b"), me=Identity("web-0")) as web:
            web.round_robin(zone="prefer").pick()


def test_an_empty_set_is_no_reason_to_warn_but_the_first_peers_may_be(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Zoned()
    with warned(caplog, 0), Discovery("web", source=source, policy=Policy(min_peers=0)) as web:
        picker = web.round_robin(zone="prefer")
        web.refresh()
    with warned(caplog, 1), Discovery("web", source=source, policy=Policy(min_peers=0)) as web:
        picker = web.round_robin(zone="prefer")
        source.answer = placed("a", "b")
        web.refresh()
        picker.pick()


@pytest.mark.anyio
async def test_the_async_twin_prefers_and_warns(caplog: pytest.LogCaptureFixture) -> None:
    with warned(caplog, 1):
        async with AsyncDiscovery("web", source=Zoned("a", "b"), me=Identity("other")) as web:
            web.round_robin(zone="prefer").pick()
        async with AsyncDiscovery("web", source=Zoned("a", "b"), me=Identity("web-1")) as web:
            assert web.random(zone="prefer", include_self=True).pick().zone == "b"
