"""How pickers follow health: who is ejected, on trial, or starts slowly."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from peerdiscover.peers import Peer, View
from peerdiscover.pickers import LeastRequests, Random, RoundRobin, Subset, pickable
from tests.unit.tables import peers

MANY = 4000


def keys(picker: RoundRobin | Random, picks: int) -> list[str]:
    return [picker.pick().key for _ in range(picks)]


def bound(kind: Callable[[], RoundRobin | Random], view: View) -> RoundRobin | Random:
    picker = kind()
    picker.rebind(view)
    return picker


BOTH = pytest.mark.parametrize("kind", [RoundRobin, Random])


@BOTH
def test_who_is_ejected_is_left_out_and_comes_back(kind: Callable[[], RoundRobin | Random]) -> None:
    web = peers(0, 1, 2)
    picker = bound(kind, View(web, ejected=frozenset({"web-1"})))
    assert set(keys(picker, 100)) == {"web-0", "web-2"}
    picker.rebind(View(web))
    assert set(keys(picker, 100)) == {"web-0", "web-1", "web-2"}


@BOTH
def test_below_half_all_are_tried(kind: Callable[[], RoundRobin | Random]) -> None:
    picker = bound(kind, View(peers(0, 1, 2), ejected=frozenset({"web-1"}), half_open=frozenset({"web-2"})))
    assert set(keys(picker, 200)) == {"web-0", "web-1", "web-2"}


@pytest.mark.parametrize("kind", [RoundRobin, LeastRequests, partial(Subset, k=100)])
def test_many_half_open_peers_are_not_compared_with_each_other(
    kind: Callable[[], RoundRobin | LeastRequests], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand pods half may fail at once, and the lock is held meanwhile."""
    web = peers(*range(200))
    half = [peer.key for peer in web][::2]
    compared = 0
    is_equal = Peer.__eq__

    def count(one: Peer, other: object) -> bool:
        nonlocal compared
        compared += 1
        return is_equal(one, other)

    picker = kind()
    monkeypatch.setattr(Peer, "__eq__", count)
    for half_open in (half[:-1], half):
        picker.rebind(View(web, half_open=frozenset(half_open)))
    assert compared < 10 * len(web)


def test_suspects_and_ejections_add_up() -> None:
    view = View(peers(*range(8)), frozenset({"web-0", "web-1"}), 8, frozenset({"web-2", "web-3", "web-4"}))
    assert [peer.ordinal for peer in pickable(view)] == [5, 6, 7]
    view = View(
        peers(*range(8)), frozenset({"web-0", "web-1"}), 8, frozenset({"web-2", "web-3", "web-4", "web-5"})
    )
    assert [peer.ordinal for peer in pickable(view)] == [2, 3, 4, 5, 6, 7]


@BOTH
def test_who_is_on_trial_gets_one_call_at_once(kind: Callable[[], RoundRobin | Random]) -> None:
    web = peers(0, 1, 2, 3)
    picker = bound(kind, View(web, ejected=frozenset({"web-1"})))
    picker.rebind(View(web, half_open=frozenset({"web-1"})))
    picks = keys(picker, 300)
    assert picks[0] == "web-1"
    assert "web-1" not in picks[1:]
    picker.rebind(View(web, half_open=frozenset({"web-1", "web-2"})))
    picks = keys(picker, 300)
    assert picks[0] == "web-2"
    assert not {"web-1", "web-2"} & set(picks[1:])
    picker.rebind(View(web))
    assert set(keys(picker, 300)) == {"web-0", "web-1", "web-2", "web-3"}


def test_who_is_on_trial_and_picked_from_anyway_gets_no_call_beside_that() -> None:
    view = View(peers(0, 1, 2), ejected=frozenset({"web-1"}), half_open=frozenset({"web-2"}))
    for _ in range(50):  # each begins at a random place
        assert len(set(keys(bound(RoundRobin, view), 3))) == 3


@pytest.mark.parametrize("eighths", range(1, 8))
def test_round_robin_gives_who_starts_slowly_its_share_spread_out(eighths: int) -> None:
    picker = bound(RoundRobin, View(peers(0, 1, 2), weights={"web-2": eighths / 8}))
    picks = keys(picker, 8 * 2 + eighths)
    assert Counter(picks) == {"web-0": 8, "web-1": 8, "web-2": eighths}
    picks = keys(picker, (8 * 2 + eighths) * 10)
    places = [i for i, key in enumerate(picks) if key == "web-2"]
    assert max(b - a for a, b in itertools.pairwise(places)) <= 3 * (8 / eighths + 1)


def test_random_gives_who_starts_slowly_its_share() -> None:
    picker = bound(Random, View(peers(0, 1), weights={"web-1": 1 / 8}))
    assert MANY / 9 * 0.7 < Counter(keys(picker, MANY))["web-1"] < MANY / 9 * 1.3


def test_a_change_of_weight_is_a_change() -> None:
    web = peers(0, 1)
    picker = bound(RoundRobin, View(web, weights={"web-1": 1 / 8}))
    picker.rebind(View(web))
    assert Counter(keys(picker, 100)) == {"web-0": 50, "web-1": 50}


@BOTH
def test_oneself_on_trial_gets_no_call_unless_oneself_is_picked_from(
    kind: Callable[..., RoundRobin | Random],
) -> None:
    view = View(peers(0, 1, 2, 3, me=1), half_open=frozenset({"web-1"}))
    picker = kind()
    picker.rebind(view)
    assert "web-1" not in keys(picker, 100)
    picker = kind(include_self=True)
    picker.rebind(view)
    assert keys(picker, 100).count("web-1") == 1
