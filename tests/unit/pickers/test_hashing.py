"""Rendezvous and subsets: agreement, equal shares, and as little change as there can be."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdiscover import ClosedError, ConfigurationError, Discovery, Identity, NoPeersError, Peer, PeerSet
from peerdiscover.peers import View
from peerdiscover.pickers import Rendezvous, Subset
from peerdiscover.pickers._hashing import _RENDEZVOUS, _prefix, _weight
from tests.unit.tables import peer, peers

MIXED = PeerSet(
    "web",
    [
        Peer(key, "10.0.0.1", 80)
        for key in ("web-0", "web-1", "web-2", "db@10.0.0.7", "10.0.0.8:80", "[fd00::8]:80")
    ],
)
OWNERS: dict[str | bytes, str] = {
    "": "web-0",
    "a": "10.0.0.8:80",
    "b": "[fd00::8]:80",
    "user:1": "web-0",
    "user:2": "10.0.0.8:80",
    "ключ": "10.0.0.8:80",
    b"\x00\xff": "web-0",
    "x" * 1000: "10.0.0.8:80",
    "session/42": "web-1",
}
SUBSETS = {
    "client-1": {"[fd00::8]:80", "web-1"},
    "worker-7": {"db@10.0.0.7", "web-2"},
    "10.1.1.1": {"[fd00::8]:80", "web-0"},
    "": {"[fd00::8]:80", "web-2"},
}
"""Of two."""


def rendezvous(of: PeerSet, **view: Any) -> Rendezvous:
    picker = Rendezvous(include_self=True)
    picker.rebind(View(of, **view))
    return picker


def owners(picker: Rendezvous, keys: int = 300) -> list[str]:
    return [picker.pick(f"key {i}").key for i in range(keys)]


# the hash is an interface


def documented(peers: PeerSet, key: bytes) -> str:
    """The owner as docs/picking.md says it, in other words."""

    def weight(peer: Peer) -> tuple[bytes, str]:
        text = b"peerdiscover rendezvous 1\x00" + peer.key.encode()
        prefix = hashlib.blake2b(text, digest_size=16).digest()
        return hashlib.blake2b(prefix + key, digest_size=8).digest(), peer.key

    return max(peers, key=weight).key


def test_golden() -> None:
    """Pods of other releases go by these: where this test fails, the hash needs another number."""
    picker = rendezvous(MIXED)
    assert {key: picker.pick(key).key for key in OWNERS} == OWNERS
    assert {client: subset(MIXED, 2, client) for client in SUBSETS} == SUBSETS


def test_a_weight_as_another_program_makes_it() -> None:
    """With `b2sum -l 128` of PURPOSE, 0x00, "web-0", and `b2sum -l 64` of that and "a"."""
    prefix = _prefix(_RENDEZVOUS, peer(0))
    assert prefix.hex() == "ff704e7f6b27e710498031c143d39af5"
    assert _weight(prefix, b"a").hex() == "9821f70912e9ec34"


@given(st.sets(st.integers(0, 99), min_size=1, max_size=12), st.binary(max_size=300))
def test_it_is_the_documented_hash(numbers: set[int], key: bytes) -> None:
    there = peers(*numbers)
    assert rendezvous(there).pick(key).key == documented(there, key)


def test_of_equal_weights_the_greater_key_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerdiscover.pickers._hashing._weight", lambda prefix, key: b"equal")
    assert rendezvous(peers(2, 10, 1)).pick("a").key == "web-2"  # as texts: the set is in another order
    assert subset(peers(2, 10, 1), 1) == {"web-2"}


def test_texts_are_utf8() -> None:
    picker = rendezvous(peers(*range(9)))
    for text in "", "a", "ключ", "\N{GRINNING FACE}", "e\u0301":
        assert picker.pick(text) == picker.pick(text.encode())
    assert picker.pick("\udc80")  # a file's name that is no UTF-8 has an owner, too


@pytest.mark.parametrize("key", [1, None, 1.5, ("a",), bytearray(b"a")])
def test_other_keys_are_refused(key: Any) -> None:
    with pytest.raises(TypeError, match="expected a str or bytes key"):
        rendezvous(peers(0, 1)).pick(key)


# who owns what


@given(st.sets(st.integers(0, 50), min_size=1, max_size=12), st.randoms())
def test_everybody_agrees_whoever_asks(numbers: set[int], shuffle: Any) -> None:
    """Whatever its view has beside the keys: addresses, generation, oneself, suspects, the ejected."""
    ordered = list(numbers)
    shuffle.shuffle(ordered)
    mine = rendezvous(peers(*ordered))
    keys = frozenset(f"web-{i}" for i in ordered[::2])
    moved = [replace(p, address="10.9.9.9", addresses=("10.9.9.9",), port=81) for p in peers(*ordered)]
    others = [
        rendezvous(peers(*ordered, me=ordered[0], generation=7)),
        rendezvous(PeerSet("other", moved)),
        rendezvous(peers(*ordered), suspects=keys, before=2 * len(ordered)),
        rendezvous(peers(*ordered), suspects=keys, before=1),
        rendezvous(peers(*ordered), ejected=keys),
        rendezvous(peers(*ordered), half_open=keys, weights=dict.fromkeys(keys, 0.125)),
    ]
    for other in others:
        assert owners(other, 50) == owners(mine, 50)


def test_shares_are_equal() -> None:
    shares = Counter(owners(rendezvous(peers(*range(10))), 10_000))
    assert len(shares) == 10
    assert all(880 < share < 1120 for share in shares.values())


@given(st.sets(st.integers(0, 30), min_size=1, max_size=10), st.integers(31, 40))
def test_whoever_joins_takes_keys_and_no_other_key_moves(numbers: set[int], new: int) -> None:
    before, after = owners(rendezvous(peers(*numbers))), owners(rendezvous(peers(*numbers, new)))
    moved = [now for then, now in zip(before, after, strict=True) if then != now]
    assert set(moved) <= {f"web-{new}"}
    if len(numbers) < 5:
        assert moved


def test_the_keys_of_whoever_leaves_go_to_the_others_in_equal_parts() -> None:
    before = owners(rendezvous(peers(*range(6))), 12_000)
    after = owners(rendezvous(peers(*range(5))), 12_000)
    heirs = Counter(now for then, now in zip(before, after, strict=True) if then == "web-5")
    assert len(heirs) == 5
    assert all(320 < share < 480 for share in heirs.values())
    assert all(then == now for then, now in zip(before, after, strict=True) if then != "web-5")


def test_it_follows_the_set() -> None:
    picker = rendezvous(peers(0))
    assert picker.pick("a").ordinal == 0
    moved = replace(peer(0), address="10.9.9.9", addresses=("10.9.9.9",))
    picker.rebind(View(PeerSet("web", [moved])))
    assert picker.pick("a").address == "10.9.9.9"
    picker.rebind(View(peers()))
    with pytest.raises(NoPeersError, match="web: no peers available"):
        picker.pick("a")
    picker.rebind(View(peers(1)))
    assert picker.pick("a").ordinal == 1
    picker.after_fork()
    assert picker.pick("a").ordinal == 1
    picker.end(lambda: ClosedError("closed"))
    with pytest.raises(ClosedError):
        picker.pick("a")


def test_zones_have_owners_of_their_own() -> None:
    there = PeerSet("web", [replace(peer(i), zone="abc"[i % 3]) for i in range(9)], generation=1)
    for zone in "prefer", "only":
        picker = Rendezvous(True, zone)
        picker.rebind(View(there, frozenset({"web-0"}), 9, zone="a"))
        assert {picker.pick(str(i)).zone for i in range(100)} == {"a"}
        assert {picker.pick(str(i)).key for i in range(100)} == {"web-0", "web-3", "web-6"}
    picker.rebind(View(there, zone="z"))
    with pytest.raises(NoPeersError, match="no peer is in z"):
        picker.pick("a")


def test_a_discovery_includes_oneself_among_owners() -> None:
    with Discovery("static:web-0=10.0.0.1:80,web-1=10.0.0.2:80", me=Identity("web-0")) as web:
        assert web.rendezvous() is web.rendezvous(include_self=True)
        assert {web.rendezvous().pick(str(i)).key for i in range(40)} == {"web-0", "web-1"}
        assert {web.rendezvous(include_self=False).pick(str(i)).key for i in range(40)} == {"web-1"}


# subsets


def subset(of: PeerSet, k: int, client: str = "client", **view: Any) -> set[str]:
    """Whom a client with that name goes to."""
    picker = Subset(False, None, k, client)
    picker.rebind(View(of, **view))
    return taken(picker)


def taken(picker: Subset) -> set[str]:
    return {picker.pick().key for _ in range(200)}


def member(numbers: set[int], me: int, k: int) -> set[str]:
    return subset(peers(*numbers, me=me), k)


@given(st.sets(st.integers(0, 50), min_size=2, max_size=20), st.integers(1, 8))
def test_among_members_each_is_taken_by_exactly_k(numbers: set[int], k: int) -> None:
    k = min(k, len(numbers) - 1)
    chosen = [member(numbers, me, k) for me in numbers]
    assert all(len(few) == k for few in chosen)
    assert all(f"web-{me}" not in few for me, few in zip(numbers, chosen, strict=True))
    assert set(Counter(key for few in chosen for key in few).values()) == {k}


@given(st.sets(st.integers(0, 50), min_size=3, max_size=15), st.integers(51, 60), st.integers(1, 5))
def test_a_member_that_comes_or_goes_changes_k_others_by_one(numbers: set[int], other: int, k: int) -> None:
    without = {me: member(numbers, me, k) for me in numbers}
    with_it = {me: member(numbers | {other}, me, k) for me in numbers}
    changed = [me for me in numbers if without[me] != with_it[me]]
    assert len(changed) == min(k, len(numbers))
    for me in changed:
        assert with_it[me] - without[me] == {f"web-{other}"}
        assert len(without[me] - with_it[me]) <= 1


@given(st.sets(st.integers(0, 50), min_size=2, max_size=15), st.integers(51, 60), st.integers(1, 5))
def test_so_it_is_with_other_clients(numbers: set[int], other: int, k: int) -> None:
    for client in "a", "b", "c":
        without = subset(peers(*numbers), k, client)
        with_it = subset(peers(*numbers, other), k, client)
        assert len(without) == min(k, len(numbers))
        assert with_it - without <= {f"web-{other}"}
        assert len(without - with_it) <= 1
        if with_it == without:
            assert f"web-{other}" not in with_it


def test_other_clients_take_each_peer_with_the_same_chance() -> None:
    shares = Counter(key for c in range(1000) for key in subset(peers(*range(20)), 4, f"client-{c}"))
    assert len(shares) == 20
    assert all(150 < share < 250 for share in shares.values())  # 200 each, give or take four deviations


def test_a_client_takes_the_same_ones_again() -> None:
    """After a restart, whatever else its view has; another one takes others."""
    first = subset(peers(*range(20)), 5, "client-1")
    assert subset(peers(*reversed(range(20)), generation=9), 5, "client-1") == first
    assert subset(peers(*range(20)), 5, "client-2") != first


def test_it_takes_turns_among_them_and_keeps_its_place() -> None:
    picker = Subset(False, None, 3, "client-1")
    picker.rebind(View(peers(*range(10))))
    keys = [picker.pick().key for _ in range(9)]
    assert keys[:3] == keys[3:6] == keys[6:]
    assert len(set(keys)) == 3
    picker.rebind(View(peers(*range(9))))
    more = [picker.pick().key for _ in range(6)]
    assert all(a != b for a, b in pairwise(more))


def test_fewer_than_k_are_all_taken() -> None:
    assert subset(peers(0, 1), 5) == {"web-0", "web-1"}
    assert subset(peers(0, 1, 2, me=0), 5) == {"web-1", "web-2"}
    with pytest.raises(NoPeersError):
        subset(peers(), 5)


def test_with_oneself_it_begins_with_oneself() -> None:
    picker = Subset(True, None, 2, "client")
    picker.rebind(View(peers(0, 1, 2, 3, me=3)))
    assert taken(picker) == {"web-3", "web-0"}


def test_a_member_that_is_not_in_the_set_for_a_while_keeps_its_choice() -> None:
    picker = Subset(False, None, 2, "client")
    picker.rebind(View(peers(*range(10), me=4)))
    assert taken(picker) == {"web-5", "web-6"}
    picker.rebind(View(peers(*[i for i in range(10) if i != 4])))
    assert taken(picker) == {"web-5", "web-6"}


def test_peers_without_hostnames_have_an_order_too() -> None:
    there = [Peer(f"10.0.0.{i}:80", f"10.0.0.{i}", 80) for i in range(5)]
    chosen = [subset(PeerSet("web", [replace(p, is_self=p is me) for p in there]), 2) for me in there]
    assert set(Counter(key for few in chosen for key in few).values()) == {2}


def test_suspects_and_the_ejected_are_replaced_and_come_back() -> None:
    well = member(set(range(10)), 0, 3)
    assert well == {"web-1", "web-2", "web-3"}
    there = peers(*range(10), me=0)
    assert subset(there, 3, suspects=frozenset({"web-2"}), before=10) == {"web-1", "web-3", "web-4"}
    assert subset(there, 3, ejected=frozenset({"web-1"})) == {"web-2", "web-3", "web-4"}


def test_only_those_it_would_take_are_tried() -> None:
    there = peers(*range(10), me=0)
    picker = Subset(False, None, 3, "client")
    picker.rebind(View(there, half_open=frozenset({"web-2", "web-8"})))
    keys = [picker.pick().key for _ in range(50)]
    assert keys[0] == "web-2"
    assert keys.count("web-2") == 1
    assert set(keys[1:]) == {"web-1", "web-3", "web-4"}


def test_who_starts_slowly_has_a_share_of_turns() -> None:
    picker = Subset(False, None, 2, "client")
    picker.rebind(View(peers(0, 1, 2, me=0), weights={"web-1": 0.5}))
    assert Counter(picker.pick().key for _ in range(120)) == {"web-1": 40, "web-2": 80}


def test_zones() -> None:
    there = PeerSet("web", [replace(peer(i), zone="abc"[i % 3]) for i in range(9)], generation=1)
    picker = Subset(False, "prefer", 2, "client")
    picker.rebind(View(there, zone="a"))
    assert taken(picker) < {"web-0", "web-3", "web-6"}
    assert len(taken(picker)) == 2


@pytest.mark.parametrize("k", [0, -1, True, 2.5, "3", None, [1]])
def test_k_is_how_many(k: Any) -> None:
    with (
        Discovery("static:10.0.0.1:80") as web,
        pytest.raises(ConfigurationError, match="expected a number of peers"),
    ):
        web.subset(k)


NINE = "static:" + ",".join(f"web-{i}=10.0.0.{i + 1}:80" for i in range(9))


def few(k: int, me: Identity) -> set[str]:
    with Discovery(NINE, me=me) as web:
        assert web.subset(k) is web.subset(k)
        assert web.subset(k) is not web.subset(k + 1)
        assert web.subset(k) is not web.subset(k, include_self=True)
        return taken(web.subset(k))


def test_a_discovery_knows_its_client() -> None:
    """By its name, else by its address; without either it is nobody twice."""
    there = peers(*range(9))
    assert few(3, Identity("worker-7", ("10.1.1.1",))) == subset(there, 3, "worker-7")
    assert few(3, Identity(addresses=("10.1.1.1", "10.1.1.2"))) == subset(there, 3, "10.1.1.1")
    assert len({frozenset(few(3, Identity())) for _ in range(20)}) > 1
    assert few(3, Identity("web-7")) == {"web-8", "web-0", "web-1"}
