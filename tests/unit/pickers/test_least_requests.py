"""Least requests: what is under way is counted, and who has less of it is chosen."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdiscover import ClosedError, Discovery, NoPeersError, Peer, PeerSet, Picker
from peerdiscover.peers import View
from peerdiscover.pickers import LeastRequests
from tests.unit.tables import peer, peers


def bound(*numbers: int, **more: object) -> LeastRequests:
    picker = LeastRequests()
    picker.rebind(View(peers(*numbers), **more))  # type: ignore[arg-type]
    return picker


def leased(picker: LeastRequests, stack: ExitStack) -> Peer:
    return stack.enter_context(picker.lease())


def under_way(picker: LeastRequests) -> dict[str, int]:
    return {key: len(requests) for key, requests in picker._in_flight.items()}


def test_a_request_counts_until_its_with_ends() -> None:
    picker = bound(0, 1)
    with picker.lease() as one:
        assert under_way(picker) == {"web-0": 0, "web-1": 0} | {one.key: 1}
        with picker.lease() as other:
            assert other != one  # of two, the one that has less
    assert under_way(picker) == {"web-0": 0, "web-1": 0}


def test_however_it_ends() -> None:
    picker = bound(0)
    for error in OSError, KeyboardInterrupt, GeneratorExit:
        with pytest.raises(error), picker.lease():
            raise error
    assert under_way(picker) == {"web-0": 0}


def test_it_chooses_when_it_is_entered() -> None:
    picker = bound(0)
    lease = picker.lease()
    picker.rebind(View(peers(1)))
    with lease as chosen:
        assert chosen.ordinal == 1


def test_a_lease_is_for_one_request() -> None:
    lease = bound(0, 1).lease()
    with lease, pytest.raises(RuntimeError, match=r"call lease\(\) for each"):
        lease.__enter__()
    with lease as chosen:  # one after the other is none of anybody's business
        assert chosen


def test_there_is_no_pick() -> None:
    picker = bound(0)
    assert not isinstance(picker, Picker)
    assert not hasattr(picker, "pick")
    with pytest.raises(TypeError):
        iter(picker)  # type: ignore[call-overload]


def test_equal_peers_get_equal_shares() -> None:
    random.seed(5)
    picker, shares = bound(*range(5)), Counter[int | None]()
    for _ in range(5000):
        with picker.lease() as chosen:
            shares[chosen.ordinal] += 1
    assert all(900 < share < 1100 for share in shares.values())


def test_the_most_loaded_is_never_chosen() -> None:
    picker = bound(*range(4))
    picker._in_flight["web-2"].append(None)
    assert {_chosen(picker) for _ in range(200)} == {0, 1, 3}


@given(st.integers(2, 12), st.integers(0, 2**32))
def test_what_is_in_flight_stays_even(count: int, seed: int) -> None:
    """Two choices: with nobody finishing, nobody is more than a few ahead of the mean."""
    random.seed(seed)
    picker = bound(*range(count))
    with ExitStack() as stack:
        for _ in range(50 * count):
            leased(picker, stack)
        counts = under_way(picker).values()
        assert max(counts) - 50 <= 6
        assert min(counts) >= 30
    assert set(under_way(picker).values()) == {0}


def test_a_slow_pod_is_given_less() -> None:
    """One of ten takes ten times as long: round robin would give it a tenth of all."""
    random.seed(11)
    picker, shares = bound(*range(10)), Counter[int | None]()
    pending: list[tuple[int, ExitStack]] = []
    for now in range(20_000):
        for _, ended in [p for p in pending if p[0] <= now]:
            ended.close()
        pending = [p for p in pending if p[0] > now]
        stack = ExitStack()
        chosen = leased(picker, stack)
        shares[chosen.ordinal] += 1
        pending.append((now + (100 if chosen.ordinal == 0 else 10), stack))
    for _, stack in pending:
        stack.close()
    assert shares[0] < 0.05 * 20_000
    assert all(share > 0.09 * 20_000 for i, share in shares.items() if i)


# the set changes


def test_counts_outlive_a_change_of_the_set_and_of_an_address() -> None:
    picker = bound(0, 1)
    with ExitStack() as stack:
        while under_way(picker)["web-0"] < 1:
            leased(picker, stack)
        before = under_way(picker)
        moved = replace(peer(0), address="10.9.9.9", addresses=("10.9.9.9",))
        picker.rebind(View(PeerSet("web", [moved, peer(1), peer(2)])))
        assert under_way(picker) == before | {"web-2": 0}
    assert under_way(picker) == {"web-0": 0, "web-1": 0, "web-2": 0}


def test_so_they_do_one_of_the_whole_set() -> None:
    picker = bound(0)
    with picker.lease():
        picker.rebind(View(peers()))
        picker.rebind(View(peers(1, 2)))
        picker.rebind(View(peers(0, 1)))
        assert under_way(picker)["web-0"] == 1
        with picker.lease() as chosen:
            assert chosen.ordinal == 1
    assert under_way(picker) == {"web-0": 0, "web-1": 0}


def test_those_who_are_gone_for_good_are_forgotten() -> None:
    picker = bound(0)
    for i in range(1, 50):
        with picker.lease():
            picker.rebind(View(peers(i)))
    picker.rebind(View(peers(50)))
    assert len(under_way(picker)) <= 2


def test_the_child_of_a_fork_has_nothing_in_flight() -> None:
    picker = bound(0, 1)
    with picker.lease(), picker.lease():
        assert sum(under_way(picker).values()) == 2
        picker.after_fork()
        assert under_way(picker) == {"web-0": 0, "web-1": 0}
    assert under_way(picker) == {"web-0": 0, "web-1": 0}
    empty = bound()
    empty.after_fork()
    with pytest.raises(NoPeersError), empty.lease():
        pass


def test_nobody_and_the_end() -> None:
    picker = bound()
    for _ in range(2):
        with pytest.raises(NoPeersError, match="web: no peers available"), picker.lease():
            pass
    picker.rebind(View(peers(0)))
    with picker.lease():
        picker.end(lambda: ClosedError("closed"))
        with pytest.raises(ClosedError), picker.lease():
            pass


# health


def test_who_is_on_trial_is_chosen_once_at_once() -> None:
    picker = bound(0, 1, 2, half_open=frozenset({"web-1"}))
    with picker.lease() as first:
        assert first.ordinal == 1
        assert under_way(picker)["web-1"] == 1
    assert all(_chosen(picker) != 1 for _ in range(50))


def _chosen(picker: LeastRequests) -> int | None:
    with picker.lease() as chosen:
        return chosen.ordinal


def test_who_starts_slowly_has_its_share() -> None:
    random.seed(2)
    picker = bound(0, 1, 2, 3, weights={"web-3": 0.25})
    shares = Counter(_chosen(picker) for _ in range(13_000))
    assert 800 < shares[3] < 1200
    assert all(3700 < shares[i] < 4300 for i in range(3))


def test_of_those_by_share_the_one_with_less_in_flight_is_chosen_too() -> None:
    random.seed(3)
    picker = bound(0, 1, weights={"web-1": 0.5})
    with ExitStack() as stack:
        for _ in range(300):
            leased(picker, stack)
        counts = under_way(picker)
    assert counts["web-0"] > counts["web-1"] > 130  # drawn half as often, but rather than the other


# threads


@contextmanager
def switching(seconds: float) -> Iterator[None]:
    """Threads give way to each other much more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def test_no_count_is_lost_between_threads() -> None:
    picker, sets = bound(0, 1, 2), [View(peers(0, 1, 2)), View(peers(0, 1)), View(peers(0, 2, 3))]
    errors: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            while not done.is_set():
                with picker.lease(), picker.lease():
                    pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    with switching(1e-6):
        for thread in threads:
            thread.start()
        for turn in range(3000):
            picker.rebind(sets[turn % 3])
        done.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert not any(under_way(picker).values())


# through a discovery


def test_a_discovery_has_one_for_each_set_of_arguments() -> None:
    with Discovery("static:10.0.0.1:80,10.0.0.2:80") as web:
        assert web.least_requests() is web.least_requests()
        assert web.least_requests() is not web.least_requests(include_self=True)
        assert web.least_requests() is not web.least_requests(zone="prefer")
        with web.least_requests().lease() as one, web.least_requests().lease() as other:
            assert {one, other} == set(web.peers)
        picker = web.least_requests()
    with pytest.raises(ClosedError), picker.lease():
        pass
