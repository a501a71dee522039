"""What a request does next, given the time and without a socket."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from peerdiscover import NoPeersError, Peer
from peerdiscover.http._budget import RetryBudget
from peerdiscover.http._retry import AttemptOutcome, FailedAttempt, RetryState, is_idempotent

PEERS = [Peer(f"web-{i}", f"10.0.0.{i}", 80) for i in range(3)]
PLENTY = 1.0


def retry_state(
    *, deadline: float = 100.0, attempts: int = 3, idempotent: bool = True, replayable: bool = True
) -> RetryState:
    return RetryState(
        RetryBudget(PLENTY),
        deadline=deadline,
        attempts=attempts,
        is_idempotent=lambda: idempotent,
        replayable=replayable,
    )


def failed(peer: Peer, outcome: AttemptOutcome) -> FailedAttempt:
    return FailedAttempt(peer, "an error", 0.1, outcome.sent)


def after(state: RetryState, outcome: AttemptOutcome, now: float = 0.0, peer: Peer = PEERS[0]) -> str | None:
    return state.record(failed(peer, outcome), outcome, now)


def turns(*peers: Peer) -> Callable[[], Peer]:
    iterator = iter(peers)
    return lambda: next(iterator)


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("replayable", [True, False])
@pytest.mark.parametrize("outcome", list(AttemptOutcome))
def test_whether_there_is_another_attempt(
    outcome: AttemptOutcome, idempotent: bool, replayable: bool
) -> None:
    why = after(retry_state(idempotent=idempotent, replayable=replayable), outcome)
    another = {
        AttemptOutcome.UNSENT: True,
        AttemptOutcome.BAD_CERTIFICATE: True,
        AttemptOutcome.POOL_TIMEOUT: True,
        AttemptOutcome.NO_DESCRIPTORS: True,
        AttemptOutcome.NOT_TLS: True,
        AttemptOutcome.CLIENT_CERTIFICATE: True,
        AttemptOutcome.HEAD_TOO_LARGE: False,
        AttemptOutcome.REFUSED: replayable,
        AttemptOutcome.MAYBE_PROCESSED: idempotent and replayable,
        AttemptOutcome.UNAVAILABLE: idempotent and replayable,
        AttemptOutcome.LOCAL_ERROR: False,
    }
    assert (why is None) is another[outcome], why


@pytest.mark.parametrize("outcome", list(AttemptOutcome))
def test_none_begins_after_the_time(outcome: AttemptOutcome) -> None:
    assert after(retry_state(deadline=5.0), outcome, now=5.0) is not None
    goes_on = after(retry_state(deadline=5.0), outcome, now=4.9) is None
    assert goes_on is (outcome not in (AttemptOutcome.LOCAL_ERROR, AttemptOutcome.HEAD_TOO_LARGE))


def test_attempts_that_were_sent_are_limited() -> None:
    state = retry_state(attempts=3)
    assert after(state, AttemptOutcome.MAYBE_PROCESSED) is None
    for _ in range(20):
        assert after(state, AttemptOutcome.UNSENT) is None  # these do not count
    assert after(state, AttemptOutcome.MAYBE_PROCESSED) is None
    assert after(state, AttemptOutcome.MAYBE_PROCESSED) == "the limit is 3 attempts"


@pytest.mark.parametrize(
    ("method", "headers", "marked", "idempotent"),
    [
        *[(method, [], None, True) for method in ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "get")],
        *[(method, [], None, False) for method in ("POST", "PATCH", "CONNECT", "PURGE")],
        ("POST", ["idempotency-KEY"], None, True),
        ("POST", ["x", b"Idempotency-KEY"], None, True),  # as a program may give it to requests
        ("POST", ["x"], True, True),
        ("GET", [], False, False),
        ("POST", ["Idempotency-Key"], False, False),
    ],
)
def test_what_is_idempotent(
    method: str, headers: list[str | bytes], marked: bool | None, idempotent: bool
) -> None:
    assert is_idempotent(method, headers, marked) is idempotent


def choose(
    state: RetryState,
    pick: Callable[[], Peer],
    others: Callable[[], Sequence[Peer]],
    connecting: Sequence[Peer] = (),
) -> Peer | None:
    return state.choose(pick, others, lambda peer: peer in connecting)


def test_the_picker_is_asked_first() -> None:
    assert choose(retry_state(), turns(PEERS[2]), lambda: PEERS) is PEERS[2]


def test_tried_ones_are_passed_over() -> None:
    state = retry_state()
    after(state, AttemptOutcome.UNSENT, peer=PEERS[0])
    assert choose(state, turns(PEERS[0], PEERS[0], PEERS[1]), lambda: PEERS) is PEERS[1]


def test_backups_are_tried_in_the_order_of_their_priority() -> None:
    priorities = 10, 30, 20, 20
    peers = [Peer(f"db-{i}", f"10.0.0.{i}", 80, priority=priority) for i, priority in enumerate(priorities)]
    state, tried = retry_state(), list[int]()
    while (peer := choose(state, lambda: peers[0], lambda: peers)) is not None and len(tried) < 4:
        tried.append(peer.priority)
        after(state, AttemptOutcome.UNSENT, peer=peer)
    assert tried == [10, 20, 20, 30]


def test_a_picker_that_insists_is_overruled() -> None:
    state = retry_state()
    after(state, AttemptOutcome.UNSENT, peer=PEERS[0])
    assert choose(state, lambda: PEERS[0], lambda: PEERS) is PEERS[1]


def test_pods_that_others_connect_to_are_passed_over() -> None:
    zero, one, two = PEERS
    assert choose(retry_state(), turns(zero, one), lambda: PEERS, [zero]) is one
    state = retry_state()
    after(state, AttemptOutcome.UNSENT, peer=zero)
    assert choose(state, turns(zero, one, two), lambda: PEERS, [one]) is two
    assert choose(state, lambda: one, lambda: PEERS, [one]) is two  # the picker insists, and one failed


def test_pods_that_others_connect_to_are_taken_if_all_are_like_that() -> None:
    """Not the first one each time: many that begin together spread."""
    zero, one, two = PEERS
    pick, chosen = turns(*PEERS * 10), []
    for _ in PEERS:
        pick()  # as a request does at first, and finds that one in doubt
        chosen.append(choose(retry_state(), pick, lambda: PEERS, PEERS))
    assert set(chosen) == {zero, one, two}
    assert choose(retry_state(), lambda: one, lambda: PEERS, [one]) is one  # a picker may know the one alone
    state = retry_state()
    after(state, AttemptOutcome.UNSENT, peer=zero)
    assert (
        choose(state, lambda: one, lambda: PEERS, PEERS) is None
    )  # having failed once it waits for the others


def test_once_all_were_tried_one_connects_and_the_others_wait() -> None:
    state = retry_state()
    for peer in PEERS:
        after(state, AttemptOutcome.UNSENT, peer=peer)
    assert state.pause(0.0, PEERS, lambda: 1.0) == 0.1
    assert choose(state, lambda: PEERS[0], lambda: PEERS, PEERS) is None
    assert state.pause(0.0, PEERS, lambda: 1.0) == 0.2
    assert choose(state, turns(*PEERS), lambda: PEERS, PEERS[:2]) is PEERS[2]


def test_all_were_tried() -> None:
    state = retry_state()
    for peer in PEERS:
        after(state, AttemptOutcome.UNSENT, peer=peer)
    assert choose(state, lambda: PEERS[0], lambda: PEERS) is None
    assert state.pause(0.0, PEERS, lambda: 1.0) == 0.1
    new = Peer("web-9", "10.0.0.9", 80)
    assert choose(state, lambda: PEERS[0], lambda: [*PEERS, new]) is new  # a new one comes first
    after(state, AttemptOutcome.UNSENT, peer=new)
    assert choose(state, lambda: PEERS[1], lambda: [*PEERS, new]) is PEERS[1]  # now all may be tried again
    after(state, AttemptOutcome.UNSENT, peer=PEERS[1])
    assert choose(state, lambda: PEERS[1], lambda: [PEERS[1]]) is None  # … once


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (AttemptOutcome.BAD_CERTIFICATE, "certificates"),
        (AttemptOutcome.NOT_TLS, "TLS"),
        (AttemptOutcome.NO_DESCRIPTORS, "descriptors"),
        (AttemptOutcome.CLIENT_CERTIFICATE, "client certificate"),
    ],
)
def test_what_waiting_does_not_fix_is_not_tried_again(outcome: AttemptOutcome, why: str) -> None:
    state = retry_state()
    after(state, outcome, peer=PEERS[0])
    after(state, AttemptOutcome.UNSENT, peer=PEERS[1])
    assert state.pause(0.0, PEERS[:2], lambda: 1.0) is not None  # the other one may be there then
    assert choose(state, lambda: PEERS[0], lambda: PEERS[:2]) is PEERS[0]
    after(state, outcome, peer=PEERS[0])
    after(state, outcome, peer=PEERS[1])
    assert state.pause(0.0, PEERS, lambda: 1.0) is not None  # another request is connecting to the third
    assert state.pause(0.0, PEERS[:2], lambda: 1.0) is None
    assert why in state.end_reason
    assert state.pause(0.0, (), lambda: 1.0) is not None  # these pods left: others may come
    after(state, AttemptOutcome.UNSENT, peer=PEERS[1])
    assert state.pause(0.0, PEERS[:2], lambda: 1.0) is not None  # one of them is hopeless no longer


def test_a_round_ends_by_all_its_outcomes_together() -> None:
    state = retry_state()
    after(state, AttemptOutcome.POOL_TIMEOUT, peer=PEERS[0])
    assert state.pause(0.0, PEERS[:2], lambda: 1.0) is not None  # the other one was not tried
    after(state, AttemptOutcome.UNSENT, peer=PEERS[1])
    assert state.pause(0.0, PEERS[:2], lambda: 1.0) is None  # the pool was waited for, and the rest refuse
    assert "full, or their pods cannot be reached" in state.end_reason
    after(state, AttemptOutcome.BAD_CERTIFICATE, peer=PEERS[1])
    assert state.pause(0.0, PEERS[:2], lambda: 1.0) is None
    assert state.end_reason == "waiting does not fix certificates; all connection pools are full"


def test_full_ones_come_last() -> None:
    zero, one, two = PEERS
    full: list[Peer] = [zero]

    def choose_by(
        state: RetryState, pick: Callable[[], Peer], connecting: Sequence[Peer] = ()
    ) -> Peer | None:
        return state.choose(pick, lambda: PEERS, lambda peer: peer in connecting, lambda peer: peer in full)

    assert choose_by(retry_state(), turns(zero, one)) is one
    assert choose_by(retry_state(), lambda: zero) is one  # the picker insists
    assert choose_by(retry_state(), lambda: zero, [one, two]) is zero
    state = retry_state()
    after(state, AttemptOutcome.UNSENT, peer=one)
    assert choose_by(state, lambda: zero) is two
    after(state, AttemptOutcome.UNSENT, peer=two)
    assert choose_by(state, lambda: zero) is zero  # that is waited for, in the same round
    full[:] = PEERS
    assert choose_by(retry_state(), lambda: two) is two


def test_the_connect_timeout_grows_with_each_time_that_all_were_tried() -> None:
    state = retry_state()
    for factor in 1, 2, 4:
        for _ in range(3):
            state.pause(0.0, PEERS, lambda: 1.0)
            if state.failed:
                assert (
                    choose(state, lambda: PEERS[0], lambda: PEERS, PEERS) is None
                )  # waiting alone changes nothing
        for _ in PEERS:
            peer = choose(state, lambda: PEERS[0], lambda: PEERS)
            assert peer is not None
            assert state.connect_timeout_factor == factor
            after(state, AttemptOutcome.UNSENT, peer=peer)


def test_a_pod_that_others_connect_to_for_long_bars_no_other() -> None:
    """One pod failed once and is well again; of the other two both are dead, and others connect to one."""
    state = retry_state()
    well, dead, connecting = PEERS
    after(state, AttemptOutcome.MAYBE_PROCESSED, peer=well)
    after(state, AttemptOutcome.UNSENT, peer=dead)
    assert choose(state, lambda: well, lambda: PEERS, [connecting]) is None
    state.pause(0.0, PEERS, lambda: 1.0)
    assert choose(state, lambda: well, lambda: PEERS, [connecting]) is well
    assert state.connect_timeout_factor == 1  # not all were tried


def test_pauses_grow() -> None:
    state = retry_state(deadline=1000.0)
    assert [state.pause(0.0, PEERS, lambda: 1.0) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert state.pause(0.0, PEERS, lambda: 0.0) == 0.5
    assert state.pause(999.8, PEERS, lambda: 1.0) == pytest.approx(0.2)
    assert state.pause(1000.0, PEERS, lambda: 1.0) is None


def test_with_no_pods_it_waits_for_all_its_time() -> None:
    def no_pods() -> Peer:
        raise NoPeersError("none")

    state = retry_state(deadline=7.0)
    assert choose(state, no_pods, list) is None
    assert state.pause(2.0, (), lambda: 1.0) == 5.0
    assert state.pause(7.0, (), lambda: 1.0) is None


def test_an_exhausted_budget_ends_a_request() -> None:
    state = RetryState(
        RetryBudget(0.0), deadline=math.inf, attempts=3, is_idempotent=lambda: True, replayable=True
    )
    assert after(state, AttemptOutcome.UNSENT) is None  # costs nothing
    assert after(state, AttemptOutcome.REFUSED) is None
    assert after(state, AttemptOutcome.MAYBE_PROCESSED) == "the retry budget is used up"


def test_requests_that_waited_do_not_all_begin_at_once() -> None:
    state = retry_state()
    assert state.spread(1.0, lambda: 1.0) == 0.0  # it did not wait
    state.pause(2.0, (), lambda: 1.0)
    state.pause(4.0, PEERS, lambda: 1.0)
    assert state.spread(7.0, lambda: 0.5) == 0.25
    assert state.spread(8.0, lambda: 1.0) == 0.0
    state.pause(10.0, PEERS, lambda: 1.0)
    assert state.spread(99.0, lambda: 1.0) == 0.25  # never past the time
