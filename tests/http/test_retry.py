"""The steps of a request, and the budget: told the time, no socket."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest

from peerdiscover import NoPeersError, Peer
from peerdiscover.http._retry import AttemptOutcome, Budget, FailedAttempt, RetryState, is_idempotent

PEERS = [Peer(f"web-{i}", f"10.0.0.{i}", 80) for i in range(3)]
PLENTY = 1.0


def steps(
    *, until: float = 100.0, attempts: int = 3, repeatable: bool = True, replayable: bool = True
) -> RetryState:
    return RetryState(
        Budget(PLENTY), until=until, attempts=attempts, repeatable=lambda: repeatable, replayable=replayable
    )


def tried(peer: Peer, fate: AttemptOutcome) -> FailedAttempt:
    return FailedAttempt(peer, "an error", 0.1, fate.sent)


def after(plan: RetryState, fate: AttemptOutcome, now: float = 0.0, peer: Peer = PEERS[0]) -> str | None:
    return plan.after(tried(peer, fate), fate, now)


def turns(*peers: Peer) -> Callable[[], Peer]:
    iterator = iter(peers)
    return lambda: next(iterator)


@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("replayable", [True, False])
@pytest.mark.parametrize("fate", list(AttemptOutcome))
def test_whether_there_is_another_attempt(fate: AttemptOutcome, repeatable: bool, replayable: bool) -> None:
    why = after(steps(repeatable=repeatable, replayable=replayable), fate)
    another = {
        AttemptOutcome.UNSENT: True,
        AttemptOutcome.BAD_CERTIFICATE: True,
        AttemptOutcome.POOL_TIMEOUT: True,
        AttemptOutcome.REFUSED: replayable,
        AttemptOutcome.MAYBE_PROCESSED: repeatable and replayable,
        AttemptOutcome.UNAVAILABLE: repeatable and replayable,
        AttemptOutcome.LOCAL_ERROR: False,
    }
    assert (why is None) is another[fate], why


@pytest.mark.parametrize("fate", list(AttemptOutcome))
def test_none_begins_after_the_time(fate: AttemptOutcome) -> None:
    assert after(steps(until=5.0), fate, now=5.0) is not None
    assert (after(steps(until=5.0), fate, now=4.9) is None) is (fate is not AttemptOutcome.LOCAL_ERROR)


def test_attempts_that_were_sent_are_limited() -> None:
    plan = steps(attempts=3)
    assert after(plan, AttemptOutcome.MAYBE_PROCESSED) is None
    for _ in range(20):
        assert after(plan, AttemptOutcome.UNSENT) is None  # these do not count
    assert after(plan, AttemptOutcome.MAYBE_PROCESSED) is None
    assert after(plan, AttemptOutcome.MAYBE_PROCESSED) == "3 attempts are the limit"


@pytest.mark.parametrize(
    ("method", "headers", "marked", "idempotent"),
    [
        *[(method, [], None, True) for method in ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "get")],
        *[(method, [], None, False) for method in ("POST", "PATCH", "CONNECT", "PURGE")],
        ("POST", [(b"idempotency-KEY", b"1")], None, True),
        ("POST", [(b"x", b"1")], True, True),
        ("GET", [], False, False),
        ("POST", [(b"Idempotency-Key", b"1")], False, False),
    ],
)
def test_what_is_idempotent(
    method: str, headers: list[tuple[bytes, bytes]], marked: bool | None, idempotent: bool
) -> None:
    assert is_idempotent(method, headers, marked) is idempotent


def choose(
    plan: RetryState,
    pick: Callable[[], Peer],
    others: Callable[[], Sequence[Peer]],
    in_doubt: Sequence[Peer] = (),
) -> Peer | None:
    return plan.choose(pick, others, lambda peer: peer in in_doubt)


def test_the_picker_is_asked_first() -> None:
    assert choose(steps(), turns(PEERS[2]), lambda: PEERS) is PEERS[2]


def test_tried_ones_are_passed_over() -> None:
    plan = steps()
    after(plan, AttemptOutcome.UNSENT, peer=PEERS[0])
    assert choose(plan, turns(PEERS[0], PEERS[0], PEERS[1]), lambda: PEERS) is PEERS[1]


def test_a_picker_that_insists_is_overruled() -> None:
    plan = steps()
    after(plan, AttemptOutcome.UNSENT, peer=PEERS[0])
    assert choose(plan, lambda: PEERS[0], lambda: PEERS) is PEERS[1]


def test_who_is_being_dialled_is_passed_over() -> None:
    zero, one, two = PEERS
    assert choose(steps(), turns(zero, one), lambda: PEERS, [zero]) is one
    plan = steps()
    after(plan, AttemptOutcome.UNSENT, peer=zero)
    assert choose(plan, turns(zero, one, two), lambda: PEERS, [one]) is two
    assert choose(plan, lambda: one, lambda: PEERS, [one]) is two  # the picker insists, and somebody failed


def test_who_is_being_dialled_is_taken_where_all_are() -> None:
    """Not the first one each time: many that begin together spread."""
    zero, one, two = PEERS
    pick, chosen = turns(*PEERS * 10), []
    for _ in PEERS:
        pick()  # as a request does at first, and finds that one in doubt
        chosen.append(choose(steps(), pick, lambda: PEERS, PEERS))
    assert set(chosen) == {zero, one, two}
    assert choose(steps(), lambda: one, lambda: PEERS, [one]) is one  # a picker may know the one alone
    plan = steps()
    after(plan, AttemptOutcome.UNSENT, peer=zero)
    assert choose(plan, lambda: one, lambda: PEERS, PEERS) is None  # who failed already waits for the others


def test_once_all_were_tried_one_dials_and_the_others_wait() -> None:
    plan = steps()
    for peer in PEERS:
        after(plan, AttemptOutcome.UNSENT, peer=peer)
    assert plan.pause(0.0, PEERS, lambda: 1.0) == 0.1
    assert choose(plan, lambda: PEERS[0], lambda: PEERS, PEERS) is None
    assert plan.pause(0.0, PEERS, lambda: 1.0) == 0.2
    assert choose(plan, turns(*PEERS), lambda: PEERS, PEERS[:2]) is PEERS[2]


def test_all_were_tried() -> None:
    plan = steps()
    for peer in PEERS:
        after(plan, AttemptOutcome.UNSENT, peer=peer)
    assert choose(plan, lambda: PEERS[0], lambda: PEERS) is None
    assert plan.pause(0.0, PEERS, lambda: 1.0) == 0.1
    new = Peer("web-9", "10.0.0.9", 80)
    assert choose(plan, lambda: PEERS[0], lambda: [*PEERS, new]) is new  # whoever is new comes first
    after(plan, AttemptOutcome.UNSENT, peer=new)
    assert choose(plan, lambda: PEERS[1], lambda: [*PEERS, new]) is PEERS[1]  # now all may be tried again
    after(plan, AttemptOutcome.UNSENT, peer=PEERS[1])
    assert choose(plan, lambda: PEERS[1], lambda: [PEERS[1]]) is None  # … once


@pytest.mark.parametrize(
    ("fate", "why"),
    [(AttemptOutcome.BAD_CERTIFICATE, "certificates"), (AttemptOutcome.POOL_TIMEOUT, "pools")],
)
def test_what_time_does_not_mend_is_not_tried_again(fate: AttemptOutcome, why: str) -> None:
    plan = steps()
    after(plan, fate, peer=PEERS[0])
    after(plan, AttemptOutcome.UNSENT, peer=PEERS[1])
    assert plan.pause(0.0, PEERS[:2], lambda: 1.0) is not None  # the other one may be there then
    assert choose(plan, lambda: PEERS[0], lambda: PEERS[:2]) is PEERS[0]
    after(plan, fate, peer=PEERS[0])
    after(plan, fate, peer=PEERS[1])
    assert plan.pause(0.0, PEERS, lambda: 1.0) is not None  # somebody was not tried: another is dialling
    assert plan.pause(0.0, PEERS[:2], lambda: 1.0) is None
    assert why in plan.over
    assert plan.pause(0.0, (), lambda: 1.0) is not None  # these pods left: others may come
    after(plan, AttemptOutcome.UNSENT, peer=PEERS[1])
    assert plan.pause(0.0, PEERS[:2], lambda: 1.0) is not None  # that is over with one of them


def test_patience_grows_with_each_time_that_all_were_tried() -> None:
    plan = steps()
    for patience in 1, 2, 4:
        for _ in range(3):
            plan.pause(0.0, PEERS, lambda: 1.0)
            if plan.failed:
                assert (
                    choose(plan, lambda: PEERS[0], lambda: PEERS, PEERS) is None
                )  # waiting alone changes nothing
        for _ in PEERS:
            peer = choose(plan, lambda: PEERS[0], lambda: PEERS)
            assert peer is not None
            assert plan.connect_timeout_factor == patience
            after(plan, AttemptOutcome.UNSENT, peer=peer)


def test_whoever_is_dialled_by_others_for_long_bars_nobody() -> None:
    """One pod failed once and is well again; of the other two both are dead, and others keep dialling one."""
    plan = steps()
    well, dead, dialled = PEERS
    after(plan, AttemptOutcome.MAYBE_PROCESSED, peer=well)
    after(plan, AttemptOutcome.UNSENT, peer=dead)
    assert choose(plan, lambda: well, lambda: PEERS, [dialled]) is None
    plan.pause(0.0, PEERS, lambda: 1.0)
    assert choose(plan, lambda: well, lambda: PEERS, [dialled]) is well


def test_pauses_grow() -> None:
    plan = steps(until=1000.0)
    assert [plan.pause(0.0, PEERS, lambda: 1.0) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert plan.pause(0.0, PEERS, lambda: 0.0) == 0.5
    assert plan.pause(999.8, PEERS, lambda: 1.0) == pytest.approx(0.2)
    assert plan.pause(1000.0, PEERS, lambda: 1.0) is None


def test_with_nobody_it_waits_for_all_its_time() -> None:
    def nobody() -> Peer:
        raise NoPeersError("nobody")

    plan = steps(until=7.0)
    assert choose(plan, nobody, list) is None
    assert plan.pause(2.0, (), lambda: 1.0) == 5.0
    assert plan.pause(7.0, (), lambda: 1.0) is None


def spent(budget: Budget, now: float, most: int = 10_000) -> int:
    return next((n for n in range(most) if not budget.spend(now)), most)


def test_the_budget_is_a_share_and_ten() -> None:
    budget = Budget(0.2)
    assert spent(budget, 0.0) == 10
    for _ in range(100):
        budget.request(0.0)
    assert spent(budget, 0.0) == 20


def test_the_budget_forgets() -> None:
    budget = Budget(0.2)
    for _ in range(1000):
        budget.request(0.0)
    assert spent(budget, 0.0) == 210
    assert spent(budget, 300.0) == 10  # a share of what was is none of what is


def test_the_budget_over_time() -> None:
    """A thousand seconds of a hundred requests, each wanting another attempt."""
    budget = Budget(0.2)
    again = 0
    for n in range(100_000):
        budget.request(n / 100)
        again += budget.spend(n / 100)
    assert 0.19 < again / 100_000 < 0.22


def test_no_budget_is_none() -> None:
    budget = Budget(0.0)
    budget.request(0.0)
    assert not budget.spend(0.0)


def test_an_exhausted_budget_ends_a_request() -> None:
    plan = RetryState(Budget(0.0), until=math.inf, attempts=3, repeatable=lambda: True, replayable=True)
    assert after(plan, AttemptOutcome.UNSENT) is None  # costs nothing
    assert after(plan, AttemptOutcome.REFUSED) is None
    assert after(plan, AttemptOutcome.MAYBE_PROCESSED) == "the budget for sending again is used up"


def test_who_waited_for_news_does_not_begin_with_everybody() -> None:
    plan = steps()
    assert plan.news(1.0, lambda: 1.0) == 0.0  # it did not wait
    plan.pause(2.0, (), lambda: 1.0)
    plan.pause(4.0, PEERS, lambda: 1.0)
    assert plan.news(7.0, lambda: 0.5) == 0.25
    assert plan.news(8.0, lambda: 1.0) == 0.0
    plan.pause(10.0, PEERS, lambda: 1.0)
    assert plan.news(99.0, lambda: 1.0) == 0.25  # never past the time
