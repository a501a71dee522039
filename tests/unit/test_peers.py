"""Peers, sets of them, changes, and who oneself is."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdiscover import (
    Change,
    ConfigurationError,
    Endpoint,
    Identity,
    NoPeersError,
    OrdinalNotFoundError,
    Peer,
    PeerSet,
)


def peer(name: str, address: str = "10.0.0.1", port: int = 80) -> Peer:
    return Peer(name, address, port, hostname=name)


def anonymous(address: str, port: int = 80) -> Peer:
    return Peer(f"{address}:{port}", address, port)


# a peer


def test_how_to_reach_it() -> None:
    p = Peer("web-1", "10.244.0.7", 8080, hostname="web-1", fqdn="web-1.web.prod.svc.cluster.local.")
    assert p.hostport == "10.244.0.7:8080"
    assert p.sockaddr == ("10.244.0.7", 8080)
    assert p.url() == "http://10.244.0.7:8080/"
    assert p.url("/healthz") == p.url("healthz") == "http://10.244.0.7:8080/healthz"
    assert p.url("/x?y=1", scheme="https") == "https://10.244.0.7:8080/x?y=1"
    assert p.addresses == ("10.244.0.7",)
    assert p.ordinal == 1
    assert repr(p) == "Peer(web-1, 10.244.0.7:8080)"
    assert repr(replace(p, is_self=True)) == "Peer(web-1, 10.244.0.7:8080, self)"


def test_ipv6_has_brackets_where_a_port_follows() -> None:
    p = Peer("[fd00::1]:80", "fd00::1", 80)
    assert p.hostport == "[fd00::1]:80"
    assert p.sockaddr == ("fd00::1", 80)
    assert p.url("/x") == "http://[fd00::1]:80/x"
    assert repr(p) == "Peer([fd00::1]:80)"


def test_equality_is_key_addresses_and_port() -> None:
    p = Peer("web-1", "10.0.0.1", 80, ("10.0.0.1", "fd00::1"), "web-1")
    same = replace(p, fqdn="web-1.x.", zone="a", node="n", is_self=True)
    assert p == same
    assert hash(p) == hash(same)
    assert p != replace(p, port=81)
    assert p != replace(p, addresses=("10.0.0.1",))
    assert p != replace(p, addresses=("fd00::1", "10.0.0.1"))
    assert p != replace(p, key="web-2")
    assert p != "web-1"  # type: ignore[comparison-overlap]
    assert len({p, same}) == 1


def test_peers_are_immutable_and_small() -> None:
    p = peer("web-1")
    with pytest.raises(FrozenInstanceError):
        p.port = 81  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        p.other = 1  # type: ignore[attr-defined]
    assert not hasattr(p, "__dict__")


def test_peers_cross_processes() -> None:
    p = Peer("web-1", "10.0.0.1", 80, ("10.0.0.1", "fd00::1"), "web-1", "web-1.x.", zone="a", is_self=True)
    for again in (copy.copy(p), copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert again == p
        assert (again.fqdn, again.zone, again.is_self, again.ordinal) == ("web-1.x.", "a", True, 1)


# a set


def test_order_is_by_ordinal_then_key() -> None:
    names = ["web-10", "web-2", "b", "db-2", "a", "web-0"]
    peers = PeerSet("web", [peer(name) for name in names])
    assert [p.key for p in peers] == ["web-0", "db-2", "web-2", "web-10", "a", "b"]


@given(st.permutations(["web-0", "web-1", "web-2", "x", "y"]))
def test_the_order_given_does_not_matter(names: list[str]) -> None:
    peers = PeerSet("web", [peer(name) for name in names])
    assert [p.key for p in peers] == ["web-0", "web-1", "web-2", "x", "y"]
    assert hash(peers) == hash(PeerSet("web", [peer(name) for name in sorted(names)]))


def test_it_is_a_sequence() -> None:
    a, b, c = peer("web-0"), peer("web-1", "10.0.0.2"), peer("web-2", "10.0.0.3")
    peers = PeerSet("web", [c, a, b])
    assert len(peers) == 3
    assert list(peers) == [a, b, c]
    assert list(reversed(peers)) == [c, b, a]
    assert peers[0] == a
    assert peers[-1] == c
    assert peers[1:] == (b, c)
    assert peers.index(b) == 1
    assert peers.count(b) == 1
    assert peers
    assert not PeerSet("web")
    with pytest.raises(IndexError):
        peers[3]


def test_membership_is_equality_not_the_key_alone() -> None:
    peers = PeerSet("web", [peer("web-0")])
    assert peer("web-0") in peers
    assert peer("web-0", "10.0.0.2") not in peers
    assert "web-0" not in peers  # type: ignore[comparison-overlap]


def test_equality_ignores_the_generation() -> None:
    one, two = PeerSet("web", [peer("web-0")], generation=1), PeerSet("web", [peer("web-0")], generation=2)
    assert one == two
    assert hash(one) == hash(two)
    assert one != PeerSet("db", [peer("web-0")])
    assert one != PeerSet("web", [peer("web-1")])
    assert one != [peer("web-0")]
    assert len({one, two}) == 1


def test_sets_are_immutable() -> None:
    peers = PeerSet("web", [peer("web-0")])
    with pytest.raises(AttributeError, match="immutable"):
        peers.generation = 7
    with pytest.raises(AttributeError, match="immutable"):
        del peers.service
    with pytest.raises(AttributeError):
        peers.other = 1
    with pytest.raises(TypeError):
        peers[0] = peer("x")  # type: ignore[index]


def test_sets_cross_processes() -> None:
    peers = PeerSet("web", [peer("web-0"), anonymous("10.0.0.2")], generation=7, kind="headless")
    for again in (copy.copy(peers), copy.deepcopy(peers), pickle.loads(pickle.dumps(peers))):
        assert again == peers
        assert hash(again) == hash(peers)
        assert (again.service, again.generation, again.kind) == ("web", 7, "headless")
        assert again.get("web-0") == peer("web-0")


def test_two_peers_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="two peers with one key"):
        PeerSet("web", [peer("web-0"), peer("web-0", "10.0.0.2")])


def test_get_and_by_key() -> None:
    peers = PeerSet("web", [peer("web-0"), anonymous("10.0.0.2")])
    assert peers.get("web-0") == peer("web-0")
    assert peers.get("10.0.0.2:80") == anonymous("10.0.0.2")
    assert peers.get("web-9") is None
    assert list(peers.by_key) == ["web-0", "10.0.0.2:80"]


def test_me_and_others() -> None:
    me, other = replace(peer("web-0"), is_self=True), peer("web-1")
    peers = PeerSet("web", [other, me])
    assert peers.me is me
    assert peers.others == (other,)
    assert PeerSet("web", [other]).me is None
    assert PeerSet("web", [other]).others == (other,)


def test_repr_is_bounded() -> None:
    few, many = (
        PeerSet("web", [peer("web-0")], generation=3),
        PeerSet("web", [peer(f"web-{i}") for i in range(1000)]),
    )
    assert repr(few) == "PeerSet('web', generation=3, 1 peers: [Peer(web-0, 10.0.0.1:80)])"
    assert len(repr(many)) < 500


# ordinals


def test_ordinals_need_not_start_at_0() -> None:
    peers = PeerSet("web", [peer(f"web-{i}") for i in (123, 124, 126)])
    assert peers.ordinal(124).key == "web-124"
    with pytest.raises(OrdinalNotFoundError) as caught:
        peers.ordinal(0)
    assert str(caught.value) == "web: no pod has ordinal 0; there are 123–124, 126"
    assert isinstance(caught.value, NoPeersError)


def test_an_ordinal_that_two_claim_names_both() -> None:
    peers = PeerSet("web", [peer("web-0"), peer("db-0"), peer("web-1")])
    with pytest.raises(OrdinalNotFoundError, match="ordinal 0 is claimed by db-0 and web-0"):
        peers.ordinal(0)
    assert peers.ordinal(1).key == "web-1"


@pytest.mark.parametrize("wrong", ["0", None, 1.0, "\x1b" * 100_000])
def test_an_ordinal_is_an_integer(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=r"ordinal\(.*\): expected an integer, such as 0") as caught:
        PeerSet("web", [peer("web-0")]).ordinal(wrong)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_an_ordinal_where_nobody_has_one() -> None:
    with pytest.raises(OrdinalNotFoundError, match="none of the 2 pods has one"):
        PeerSet("web", [anonymous("10.0.0.1"), anonymous("10.0.0.2")]).ordinal(0)
    with pytest.raises(OrdinalNotFoundError, match="the set is empty"):
        PeerSet("web").ordinal(0)


# a change


def test_a_change_has_added_removed_and_moved() -> None:
    before = PeerSet("web", [peer("web-0"), peer("web-1"), peer("web-2")])
    after = PeerSet("web", [peer("web-1"), peer("web-2", "10.0.0.9"), peer("web-3")], generation=1)
    change = Change.between(before, after)
    assert change.before is before
    assert change.after is after
    assert change.added == (peer("web-3"),)
    assert change.removed == (peer("web-0"),)
    assert change.moved == ((peer("web-2"), peer("web-2", "10.0.0.9")),)
    assert change
    assert str(change) == (
        "+Peer(web-3, 10.0.0.1:80), -Peer(web-0, 10.0.0.1:80), Peer(web-2, 10.0.0.1:80) is now at 10.0.0.9:80"
    )


def test_another_port_is_a_move() -> None:
    change = Change.between(PeerSet("web", [peer("web-0")]), PeerSet("web", [peer("web-0", port=81)]))
    assert change.moved == ((peer("web-0"), peer("web-0", port=81)),)


def test_a_peer_without_a_name_cannot_move() -> None:
    change = Change.between(PeerSet("web", [anonymous("10.0.0.1")]), PeerSet("web", [anonymous("10.0.0.2")]))
    assert (len(change.added), len(change.removed), change.moved) == (1, 1, ())


def test_no_change_is_false() -> None:
    change = Change.between(PeerSet("web", [peer("web-0")]), PeerSet("web", [peer("web-0")], generation=4))
    assert not change
    assert str(change) == "no change"
    with pytest.raises(FrozenInstanceError):
        change.added = ()  # type: ignore[misc]


def test_changes_are_equal_and_cross_processes() -> None:
    before, after = PeerSet("web"), PeerSet("web", [peer("web-0")], generation=1)
    change = Change.between(before, after)
    assert change == Change.between(before, after)
    assert hash(change) == hash(Change.between(before, after))
    assert pickle.loads(pickle.dumps(change)) == change


SETS = st.dictionaries(st.sampled_from(["a-0", "a-1", "b-0", "c"]), st.sampled_from(["10.0.0.1", "10.0.0.2"]))


@given(SETS, SETS)
def test_a_change_makes_the_one_set_of_the_other(before: dict[str, str], after: dict[str, str]) -> None:
    old, new = (PeerSet("x", [peer(k, a) for k, a in some.items()]) for some in (before, after))
    change = Change.between(old, new)
    kept = set(old) - set(change.removed) - {o for o, _ in change.moved}
    assert kept | set(change.added) | {n for _, n in change.moved} == set(new)
    assert bool(change) == (old != new)


# oneself


A, B = peer("web-0", "10.0.0.1"), peer("web-1", "10.0.0.2")


@pytest.mark.parametrize(
    ("me", "key"),
    [
        (Identity(), None),
        (Identity(name="web-1"), "web-1"),
        (Identity(addresses=("10.0.0.1",)), "web-0"),
        (Identity(name="web-1", addresses=("10.0.0.1",)), "web-1"),  # the name wins
        (Identity(name="other", addresses=("10.0.0.1",)), "web-0"),
        (Identity(name="other"), None),
        (Identity(addresses=("10.0.0.9", "10.0.0.2")), "web-1"),
        (Identity(addresses=("10.0.0.1", "10.0.0.2")), None),  # two that could be it: neither is
        (Identity(name=""), None),
    ],
)
def test_who_oneself_is(me: Identity, key: str | None) -> None:
    assert me.find([A, B]) == key


def test_behind_a_shared_hostname_the_address_tells() -> None:
    twins = [Peer(f"web@{a}", a, 80, hostname="web") for a in ("10.0.0.1", "10.0.0.2")]
    assert Identity(name="web", addresses=("10.0.0.2",)).find(twins) == "web@10.0.0.2"
    assert Identity(name="web").find(twins) is None
    assert Identity(name="web", addresses=("10.0.0.3",)).find([*twins, peer("x", "10.0.0.3")]) is None


def test_any_of_ones_addresses_counts_in_canonical_text() -> None:
    both = Peer("web-0", "10.0.0.1", 80, ("10.0.0.1", "fd00::1"), "web-0")
    assert Identity(addresses=("FD00:0::1",)).find([both]) == "web-0"
    assert Identity(addresses="10.0.0.1").addresses == ("10.0.0.1",)  # type: ignore[arg-type]


def test_an_identity_with_an_address_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match=r"'10\.0\.0\.300'"):
        Identity(addresses=("10.0.0.300",))
    wrong: tuple[dict[str, Any], ...] = ({"addresses": 5}, {"addresses": [5]}, {"name": 5})
    for options in wrong:
        with pytest.raises(ConfigurationError, match="5"):
            Identity(**options)


# endpoints


def test_endpoints_are_canonical_and_checked() -> None:
    assert Endpoint(("FD00::0:1",), 80).addresses == ("fd00::1",)
    assert Endpoint("10.0.0.1", 80) == Endpoint(("10.0.0.1",), 80)  # type: ignore[arg-type]
    assert Endpoint.parse("web-0=[fd00::1]:80") == Endpoint(("fd00::1",), 80, "web-0")
    for addresses, port in ((), 80), (("x",), 80), (("10.0.0.1",), 0), (("10.0.0.1",), 65536):
        with pytest.raises(ConfigurationError):
            Endpoint(addresses, port)
    with pytest.raises(ConfigurationError, match="True"):
        Endpoint(("10.0.0.1",), True)
