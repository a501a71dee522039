"""Pickers: equal shares, their place when the set changes, suspects, oneself, nobody, threads."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdiscover import ClosedError, Discovery, NoPeersError, Peer, PeerSet, Picker
from peerdiscover.peers import View
from peerdiscover.pickers import Random, RoundRobin, pickable
from tests.unit.tables import EMPTY, Told, peer, peers, pods


def view(
    *numbers: int, suspects: tuple[int, ...] = (), before: int = 0, me: int | None = None, generation: int = 1
) -> View:
    return View(
        peers(*numbers, me=me, generation=generation), frozenset(f"web-{i}" for i in suspects), before
    )


def bound(picker: RoundRobin | Random, to: View) -> RoundRobin | Random:
    picker.rebind(to)
    return picker


# round-robin


def test_everybody_in_turn() -> None:
    picker = bound(RoundRobin(), view(0, 1, 2))
    got = [picker.pick().ordinal for _ in range(9)]
    first = got[0]
    assert first is not None
    assert got == [(first + i) % 3 for i in range(9)]


def test_it_begins_at_a_random_place() -> None:
    """So that a thousand processes do not begin on the same pod."""
    firsts = Counter(bound(RoundRobin(), view(*range(10))).pick().ordinal for _ in range(2000))
    assert len(firsts) == 10
    assert max(firsts.values()) < 300


def test_it_keeps_its_place_when_the_set_changes() -> None:
    picker = bound(RoundRobin(), view(0, 2, 4, 6))
    while picker.pick().ordinal != 2:
        pass
    picker.rebind(view(0, 1, 2, 3, 4, 5, 6))  # it was to be 4
    assert [picker.pick().ordinal for _ in range(4)] == [4, 5, 6, 0]
    picker.rebind(view(0, 2, 3))  # it was to be 1, which has gone
    assert picker.pick().ordinal == 2
    picker.rebind(view(0, 1))  # past the end: it goes round
    assert picker.pick().ordinal == 0


def test_the_same_set_again_changes_nothing() -> None:
    picker = bound(RoundRobin(), view(0, 1, 2))
    first = picker.pick().ordinal or 0
    for step in range(1, 10):
        picker.rebind(view(0, 1, 2, generation=step))
        assert picker.pick().ordinal == (first + step) % 3


def test_equal_shares_over_a_hundred_changes() -> None:
    """Two that stay are picked equally often, whoever else comes and goes between picks."""
    random.seed(7)
    picker = RoundRobin()
    shares: Counter[int | None] = Counter()
    for _ in range(100):
        others = random.sample(range(2, 20), 6)
        picker.rebind(view(0, 1, *others))
        for _ in range(8 * 5):
            shares[picker.pick().ordinal] += 1
    assert abs(shares[0] - 500) <= 1
    assert abs(shares[1] - 500) <= 1


@given(
    st.lists(st.tuples(st.sets(st.integers(0, 9), min_size=1), st.integers(0, 12)), min_size=1, max_size=30)
)
def test_no_change_lets_anybody_starve_or_take_two_turns_in_a_round(
    steps: list[tuple[set[int], int]],
) -> None:
    """Between two picks of one that stays, everybody else who stayed was picked exactly once."""
    picker = RoundRobin()
    picks: list[int] = []
    there_since: dict[int, int] = {}
    for members, count in steps:
        picker.rebind(view(*sorted(members)))
        there_since = {i: there_since.get(i, len(picks)) for i in members}
        for _ in range(count):
            got = picker.pick().ordinal
            assert got in members
            picks.append(got)
    for a, b in itertools.permutations(there_since, 2):
        since = max(there_since[a], there_since[b])
        turns = [i for i in picks[since:] if i in (a, b)]
        assert all(x != y for x, y in itertools.pairwise(turns))


def test_anonymous_peers_take_turns_in_the_order_of_the_set() -> None:
    peers = [Peer(f"10.0.0.{i}:80", f"10.0.0.{i}", 80) for i in range(3)]
    picker = bound(RoundRobin(), View(PeerSet("web", [*peers, peer(5)])))
    keys = [picker.pick().key for _ in range(4)]
    at = keys.index("web-5")
    assert keys[at:] + keys[:at] == ["web-5", "10.0.0.0:80", "10.0.0.1:80", "10.0.0.2:80"]


def test_a_peer_that_moved_is_picked_at_its_new_address() -> None:
    picker = bound(RoundRobin(), view(0))
    moved = replace(peer(0), address="10.9.9.9", addresses=("10.9.9.9",))
    picker.rebind(View(PeerSet("web", [moved])))
    assert picker.pick().address == "10.9.9.9"


def test_what_more_is_told_about_a_peer_is_picked_too() -> None:
    picker = bound(RoundRobin(include_self=True), view(0, 1))
    picker.rebind(view(0, 1, me=1))
    assert {p.is_self for p in (picker.pick(), picker.pick())} == {False, True}


# random


def test_random_has_equal_chances() -> None:
    random.seed(3)
    picker = bound(Random(), view(0, 1, 2, 3))
    shares = Counter(picker.pick().ordinal for _ in range(8000))
    assert set(shares) == {0, 1, 2, 3}
    assert all(1800 < n < 2200 for n in shares.values())


def test_random_follows_the_set() -> None:
    picker = bound(Random(), view(0))
    picker.rebind(view(1))
    assert {picker.pick().ordinal for _ in range(20)} == {1}


# all of them

KINDS = pytest.mark.parametrize("kind", [RoundRobin, Random])


@KINDS
def test_each_is_a_picker(kind: type[RoundRobin | Random]) -> None:
    assert isinstance(kind(), Picker)


@KINDS
def test_nobody_raises_from_pick_and_next_again_and_again(kind: type[RoundRobin | Random]) -> None:
    """An iterator over a picker never ends: a `for` over it does not stop in silence."""
    picker = bound(kind(), view(0))
    iterator = iter(picker)
    assert next(iterator).ordinal == 0
    picker.rebind(view())
    for _ in range(3):
        with pytest.raises(NoPeersError):
            picker.pick()
        with pytest.raises(NoPeersError):
            next(iterator)
        with pytest.raises(NoPeersError):
            list(itertools.islice(picker, 1))
    picker.rebind(view(3))
    assert next(iterator).ordinal == 3
    assert picker.pick().ordinal == 3


@KINDS
@pytest.mark.parametrize(
    ("nobody", "why"),
    [
        (view(generation=0), "web: no peers are known yet"),
        (view(generation=4), "web: no peers available"),
        (view(0, me=0), "this pod is the only peer; include_self=True would pick it"),
    ],
)
def test_nobody_says_why(kind: type[RoundRobin | Random], nobody: View, why: str) -> None:
    with pytest.raises(NoPeersError, match=why):
        bound(kind(), nobody).pick()


@KINDS
def test_before_it_is_bound_there_is_nobody(kind: type[RoundRobin | Random]) -> None:
    with pytest.raises(NoPeersError):
        kind().pick()


@KINDS
def test_oneself_is_left_out_unless_wanted(kind: type[RoundRobin | Random]) -> None:
    mine = view(0, 1, 2, me=1)
    assert {bound(kind(), mine).pick().ordinal for _ in range(60)} <= {0, 2}
    with_me = bound(kind(include_self=True), mine)
    assert {with_me.pick().ordinal for _ in range(100)} == {0, 1, 2}


@KINDS
def test_the_end(kind: type[RoundRobin | Random]) -> None:
    picker = bound(kind(), view(0))
    picker.end(lambda: ClosedError("closed"))
    for _ in range(2):
        with pytest.raises(ClosedError):
            picker.pick()
        with pytest.raises(ClosedError):
            next(picker)


@KINDS
def test_the_child_of_a_fork_goes_on_picking(kind: type[RoundRobin | Random]) -> None:
    picker = bound(kind(), view(0, 1, 2))
    picker.after_fork()
    assert {picker.pick().ordinal for _ in range(100)} == {0, 1, 2}
    empty = bound(kind(), view())
    empty.after_fork()
    with pytest.raises(NoPeersError):
        empty.pick()


def test_children_of_a_fork_begin_at_places_of_their_own() -> None:
    picker = bound(RoundRobin(), view(*range(10)))
    steps = set()
    for _ in range(200):
        before = picker.pick().ordinal or 0
        picker.after_fork()
        steps.add(((picker.pick().ordinal or 0) - before) % 10)
    assert len(steps) == 10


# suspects


@pytest.mark.parametrize(
    ("suspects", "before", "left"),
    [
        ((), 0, {0, 1, 2, 3}),
        ((3,), 4, {0, 1, 2}),
        ((2, 3), 4, {0, 1}),  # half as many as before: still enough
        ((1, 2, 3), 4, {0, 1, 2, 3}),  # below that the load of all would fall on few
        ((0, 1, 2, 3), 4, {0, 1, 2, 3}),
        ((2, 3), 5, {0, 1, 2, 3}),
    ],
)
def test_suspects_are_left_out_while_enough_others_are_there(
    suspects: tuple[int, ...], before: int, left: set[int]
) -> None:
    assert {p.ordinal for p in pickable(view(0, 1, 2, 3, suspects=suspects, before=before))} == left


def test_oneself_counts_among_the_confirmed() -> None:
    assert pickable(view(0, 1, suspects=(1,), before=2, me=0)) == ()
    assert [p.ordinal for p in pickable(view(0, 1, suspects=(1,), before=2, me=0), include_self=True)] == [0]


def test_a_lie_does_not_put_the_load_of_ten_on_one() -> None:
    told = Told().hears(pods(*range(10))).hears(pods(0), at=5)
    assert len(pickable(told.core.view)) == 10
    told = Told().hears(pods(*range(10))).hears(pods(*range(4), 20, 21), at=5)  # six confirmed, ten before
    assert [p.ordinal for p in pickable(told.core.view)] == [0, 1, 2, 3, 20, 21]


def test_nobody_at_all_is_no_reason_to_pick_nobody() -> None:
    told = Told().hears(pods(0, 1, 2)).hears(EMPTY, at=5)
    assert len(pickable(told.core.view)) == 3


def test_how_many_there_were_is_counted_before_the_first_suspect() -> None:
    told = Told().hears(pods(*range(10))).hears(pods(0, 1, 2, 3), at=5)
    for i in range(4, 8):
        told.core.report_failure(told.peer(i), 6)
    assert told.core.view.before == 10
    assert len(told.core.peers) == 6
    assert len(pickable(told.core.view)) == 6  # four of ten are still too few
    told.hears(pods(*range(10)), at=7)
    assert told.core.view.before == 0


def test_ordinals_keep_suspects() -> None:
    """Identity does not flicker."""
    told = Told().hears(pods(0, 1, 2, 3)).hears(pods(0), at=5)
    assert told.peer(3).ordinal == 3


# through a discovery


def test_the_same_arguments_give_the_same_picker() -> None:
    with Discovery("static:10.0.0.1:80,10.0.0.2:80") as web:
        assert web.round_robin() is web.round_robin()
        assert web.round_robin(include_self=True) is web.round_robin(include_self=True)
        assert web.round_robin() is not web.round_robin(include_self=True)
        assert web.random() is web.random()
        assert web.round_robin().pick() != web.round_robin().pick()
        picker = web.round_robin()
    with pytest.raises(ClosedError, match="closed"):
        picker.pick()
    with pytest.raises(ClosedError):
        web.round_robin()


def test_many_threads_pick_while_the_set_is_rebound() -> None:
    """Each pick gives somebody of one of the sets; none is lost in between, and shares stay equal."""
    picker = RoundRobin()
    sets = [view(0, 1, 2, 3), view(0, 1, 4), view(0, 1, 2, 5, 6)]
    picker.rebind(sets[0])
    over = threading.Event()
    results: list[Counter[int | None]] = []
    errors: list[BaseException] = []

    def pick() -> None:
        mine: Counter[int | None] = Counter()
        try:
            while not over.is_set():
                for _ in range(100):
                    mine[picker.pick().ordinal] += 1
        except BaseException as error:
            errors.append(error)
        results.append(mine)

    threads = [threading.Thread(target=pick) for _ in range(6)]
    for thread in threads:
        thread.start()
    for turn in range(3000):
        picker.rebind(sets[turn % 3])
    over.set()
    for thread in threads:
        thread.join()
    assert errors == []
    shares = sum(results, Counter[int | None]())
    assert set(shares) <= set(range(7))
    assert shares.total() >= 600
