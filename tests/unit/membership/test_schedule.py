"""When the next question is due: exact waits, with chance at either end."""

from __future__ import annotations

import logging
import math

import pytest

from peerdiscover import Answer, Policy
from peerdiscover.membership.schedule import Schedule
from tests.unit.tables import EMPTY, FAILED, NOT_FOUND, Told, pods, texts

INF = math.inf


def test_the_first_question_is_due_at_the_start() -> None:
    told = Told()
    assert told.wait == 0
    told.core.begin()
    assert told.wait == INF  # nothing is due while one is under way
    assert told.status.next_refresh == 0


@pytest.mark.parametrize(
    ("ttl", "least"),
    [(None, 5), (0, 5), (0.3, 1), (1, 1), (7, 7), (30, 30), (31, 30), (2**32 - 1, 30)],
)
def test_after_somebody_was_seen_the_ttl_counts_between_floor_and_ceiling(
    ttl: float | None, least: float
) -> None:
    assert Told(chance=0).hears(pods(0, ttl=ttl)).wait == least
    assert Told(chance=1).hears(pods(0, ttl=ttl)).wait == pytest.approx(least * 1.2)


def test_floor_ceiling_and_jitter_are_the_policys() -> None:
    policy = Policy(min_refresh=2, max_refresh=10, jitter=0.5)
    assert Told(policy).hears(pods(0, ttl=1)).wait == 2
    assert Told(policy, chance=1).hears(pods(0, ttl=60)).wait == 15


def test_an_infinite_ttl_means_never() -> None:
    told = Told(chance=1).hears(pods(0, ttl=INF))
    assert told.wait == INF
    assert told.status.next_refresh == INF
    assert told.core.explain(0).endswith("Next lookup: none is due")


def test_a_static_list_can_still_be_asked_by_hand() -> None:
    told = Told().hears(pods(0, ttl=INF))
    told.core.request(5)
    assert told.core.next_wakeup == 5


@pytest.mark.parametrize("nobody", [EMPTY, NOT_FOUND], ids=["empty", "not found"])
def test_an_empty_set_is_asked_every_second_never_later(nobody: Answer) -> None:
    """A pod that starts before its peers must see them within a second or two, whatever the TTL."""
    soon, late = Told(chance=1), Told(chance=0)
    for second in range(100):
        for told, wait in ((soon, 0.8), (late, 1.0)):
            assert told.hears(nobody.replace(ttl=2.0**32 - 1), at=second).wait == wait
            assert told.asked_twice == bool(second % 2), "every other one is a second opinion"


def test_nobody_yet_after_failures_is_asked_within_a_second() -> None:
    told = Told(chance=1)
    for second in range(0, 300, 30):
        told.hears(FAILED, at=second)
    assert told.hears(NOT_FOUND, at=301).wait == 0.8
    assert told.hears(FAILED, at=302).wait == 1


def test_failures_double_with_full_jitter() -> None:
    most, least = Told(chance=1).hears(pods(0)), Told(chance=0).hears(pods(0))
    for second, wait in enumerate([1, 2, 4, 8, 16, 30, 30, 30]):
        assert most.hears(FAILED, at=second).wait == wait
        assert least.hears(FAILED, at=second).wait == round(wait * 0.05, 9)


@pytest.mark.parametrize("before", [(), (EMPTY,), (pods(0), EMPTY, EMPTY)], ids=["at start", "empty", "gone"])
def test_while_nobody_is_known_failures_double_to_five_seconds_only(before: tuple[Answer, ...]) -> None:
    """Who waits for the first peers, 60 s at most, must not miss servers that are back at 50 s."""
    told = Told(Policy(hold=0), chance=1)
    for answer in before:
        told.hears(answer)
    assert [told.hears(FAILED).wait for _ in range(6)] == [1, 2, 4, 5, 5, 5]
    told.hears(pods(0))
    assert [told.hears(FAILED).wait for _ in range(6)] == [1, 2, 4, 8, 16, 30]


def test_a_set_that_is_held_is_somebody() -> None:
    told = Told(chance=1).hears(pods(0)).hears(EMPTY, at=1)
    assert [told.hears(FAILED, at=2).wait for _ in range(5)] == [1, 2, 4, 8, 16]


def test_the_ceiling_while_nobody_is_known_is_within_the_policys_own_times() -> None:
    assert [Told(Policy(retry_initial=8), chance=1).hears(FAILED).wait] == [8]
    told = Told(Policy(retry_max=2), chance=1)
    assert [told.hears(FAILED).wait for _ in range(4)] == [1, 2, 2, 2]


def test_a_thousand_failures_overflow_nothing() -> None:
    told = Told(chance=1).hears(pods(0))
    for second in range(2000):
        told.hears(FAILED, at=second)
    assert told.wait == 30


def test_retry_times_are_the_policys() -> None:
    told = Told(Policy(retry_initial=0.5, retry_max=3), chance=1)
    assert [told.hears(FAILED).wait for _ in range(5)] == [0.5, 1, 2, 3, 3]


def test_any_evidence_ends_the_doubling() -> None:
    for evidence in (pods(0), EMPTY, pods(0).replace(authoritative=True)):
        told = Told(chance=1)
        for second in range(8):
            told.hears(FAILED, at=second)
        assert told.hears(evidence, at=10).hears(FAILED, at=11).wait == 1


def test_while_held_the_doubling_ends_at_the_ceiling_and_the_hold() -> None:
    told = Told(Policy(hold=1000, max_refresh=10)).hears(pods(0)).hears(EMPTY).hears(EMPTY)
    waits = [told.wait]
    for _ in range(5):
        told.hears(EMPTY, at=told.now + told.wait)
        waits.append(told.wait)
    assert waits == [1, 2, 4, 8, 10, 10]


def test_jitter_while_held_is_added() -> None:
    assert Told(chance=1).hears(pods(0)).hears(EMPTY).hears(EMPTY).wait == pytest.approx(1.2)


def test_kept_for_ever_is_asked_at_the_ceiling() -> None:
    told = Told(Policy(on_empty="keep")).hears(pods(0)).hears(EMPTY, at=1).hears(EMPTY)
    for _ in range(50):
        told.hears(EMPTY, at=told.now + told.wait)
        assert 1 <= told.wait <= 30
    assert told.wait in (1, 30)


def test_who_becomes_a_suspect_during_a_hold_wants_a_second_opinion_too() -> None:
    told = Told().hears(pods(0, 1)).hears(EMPTY, at=0).hears(pods(0, 1, 2), at=2).hears(EMPTY, at=8)
    assert told.wait == 0
    assert told.hears(EMPTY).asked_twice
    assert told.wait == 1


def test_a_second_opinion_that_fails_is_not_asked_at_once_again() -> None:
    told = Told(chance=1).hears(pods(0)).hears(EMPTY, at=5).hears(FAILED)
    assert told.asked_twice
    assert told.wait == 1
    assert not told.hears(EMPTY, at=6).asked_twice


def test_who_is_kept_for_ever_is_asked_for_at_the_ceiling() -> None:
    told = Told(Policy(on_empty="keep", max_refresh=16)).hears(pods(0)).hears(EMPTY, at=1).hears(EMPTY)
    waits = []
    for _ in range(9):
        waits.append(told.wait)
        told.hears(EMPTY, at=told.core.next_wakeup)
    assert waits == [1, 2, 4, 8, 15, 16, 16, 16, 16]  # 15: at 31 another answer could settle it


def test_settling_waits_for_the_floor() -> None:
    """A suspect that can be settled now is no reason to ask sooner than the floor."""
    told = Told(Policy(hold=1, min_refresh=4, max_refresh=30)).hears(pods(0), at=0)
    told.hears(EMPTY, at=5).hears(EMPTY, at=5)
    assert told.wait >= 1
    told = Told(Policy(hold=1, min_refresh=4)).hears(pods(*range(10))).hears(pods(0)).hears(pods(0))
    assert told.wait == 4


def test_peers_end_the_doubling_of_waits_for_a_set_that_is_held() -> None:
    schedule = Schedule(Policy(jitter=0), lambda: 0.0)
    for wait in 1, 2, 4:
        schedule.on_empty(0.0, held=True)
        assert schedule.due == wait
    schedule.on_peers(0.0, 5.0)
    schedule.on_empty(0.0, held=True)
    assert schedule.due == 1


# requests and reports


def test_a_request_asks_at_once() -> None:
    told = Told().hears(pods(0, ttl=30))
    told.core.request(3)
    assert told.core.next_wakeup == 3


def test_a_request_never_delays_what_is_due() -> None:
    told = Told().hears(pods(0, ttl=1))
    told.core.request(20)
    assert told.core.next_wakeup == 1


@pytest.mark.parametrize("answer", [pods(0), EMPTY, FAILED, texts("10.0.0.9:80"), pods(0, ttl=INF)])
def test_a_request_during_a_lookup_is_answered_by_the_next_one(answer: Answer) -> None:
    """What is under way may have read the records of before."""
    told = Told().hears(pods(0, ttl=30))
    told.core.begin()
    wanted = told.core.request(1)
    assert told.core.next_wakeup == INF
    told.core.apply(answer, 2)
    assert told.core.completed < wanted
    assert told.core.next_wakeup <= 2
    told.hears(pods(0), at=2)
    assert told.core.completed == wanted


def test_requests_that_come_together_share_a_lookup() -> None:
    told = Told().hears(pods(0))
    assert told.core.request(1) == told.core.request(1.5) == told.core.request(1.9)


def test_a_request_is_used_up_by_its_lookup() -> None:
    told = Told().hears(pods(0, ttl=30))
    told.core.begin()
    told.core.request(1)
    told.core.apply(pods(0, ttl=30), 2)
    told.hears(pods(0, ttl=30), at=2)
    assert told.wait == 30


def test_reports_ask_at_most_once_a_second() -> None:
    told = Told().hears(pods(0, 1, ttl=30))
    asked = []
    for tenth in range(50):
        now = tenth / 10
        if told.core.next_wakeup <= now:
            asked.append(now)
            told.hears(pods(0, 1, ttl=30), at=now)
        told.core.report_failure(told.peer(0), now)
        if told.core.next_wakeup <= now:
            asked.append(now)
            told.hears(pods(0, 1, ttl=30), at=now)
    assert asked == [0, 1, 2, 3, 4]


def test_a_report_during_a_lookup_asks_again_after_it() -> None:
    told = Told().hears(pods(0, ttl=30))
    told.core.begin()
    told.core.report_failure(told.peer(0), 1)
    told.core.apply(pods(0, ttl=30), 2)
    assert told.core.next_wakeup <= 2


def test_reports_during_a_lookup_delay_none_after_it() -> None:
    told = Told().hears(pods(0, ttl=30))
    told.core.begin()
    told.core.report_failure(told.peer(0), 1)
    told.core.report_failure(told.peer(0), 1.5)
    told.core.apply(pods(0, ttl=30), 2)
    told.hears(pods(0, ttl=30), at=2)
    told.core.report_failure(told.peer(0), 2.5)
    assert told.core.next_wakeup == 2.5


def test_a_report_does_not_delay_what_is_due_sooner() -> None:
    told = Told().hears(pods(0, ttl=1))
    told.core.report_failure(told.peer(0), 0)
    told.hears(pods(0, ttl=1), at=0)
    told.core.report_failure(told.peer(0), 0.5)
    assert told.core.next_wakeup == 1


def test_a_report_whose_question_another_one_made_needless_delays_none() -> None:
    told = Told().hears(pods(0, ttl=30))
    told.core.report_failure(told.peer(0), 0)
    told.hears(pods(0, ttl=30), at=0)
    told.core.report_failure(told.peer(0), 0.2)
    assert told.core.next_wakeup == 1
    told.core.request(0.3)
    told.hears(pods(0, ttl=30), at=0.3)
    told.core.report_failure(told.peer(0), 0.4)
    assert told.core.next_wakeup == pytest.approx(1.4)


def test_a_lookup_that_does_not_come_back_makes_the_set_stale() -> None:
    """Its time is over, and the second that a source has on top of it."""
    told = Told(Policy(timeout=5)).hears(pods(0))
    told.core.begin()  # due at 5
    assert [told.core.status(now).stale for now in (5, 10, 11, 11.1, 500)] == [False] * 3 + [True] * 2
    assert told.core.status(11).error is None
    assert told.core.status(500).error == "the source has not returned from a lookup for 495.0 s"
    assert "No answer now: the source has not returned" in told.core.explain(500)
    told.core.apply(pods(0), 501)
    assert not told.core.status(501).stale
    assert not told.core.status(511).stale, "nothing is in flight, and the next one is not late"


def _warnings(told: Told) -> list[str]:
    texts = [text for level, text in told.core.pending_logs if level == logging.WARNING]
    told.core.pending_logs.clear()
    return texts


def test_a_lookup_that_does_not_start_makes_the_set_stale_and_is_a_warning_once() -> None:
    """As with a refreshing thread that never runs: whatever the reason, a frozen set is not silent."""
    told = Told(Policy(timeout=5)).hears(pods(0, ttl=10))
    assert told.core.overdue_at == 15
    for now in 10, 15:
        assert (told.core.status(now).stale, told.core.status(now).error) == (False, None)
    assert _warnings(told) == []
    text = "a lookup was due 6.0 s ago and has not started: nothing refreshes the set"
    assert (told.core.status(16).stale, told.core.status(16).error) == (True, text)
    assert f"No answer now: {text}" in told.core.explain(16)
    told.core.status(99)
    assert _warnings(told) == [f"web.prod:80: {text}"]
    told.hears(pods(0, ttl=10), at=100)
    assert _warnings(told) == ["web.prod:80: lookups run again: resolved, 1 endpoint"]
    assert not told.status.stale
    told.core.status(116)
    assert len(_warnings(told)) == 1


def test_the_first_lookup_can_be_late_too() -> None:
    told = Told(Policy(timeout=5))
    assert not told.core.status(5).stale
    assert told.core.status(5.1).stale


def test_a_source_that_does_not_return_is_a_warning_too() -> None:
    told = Told(Policy(timeout=5)).hears(pods(0))
    told.core.begin()
    told.core.status(20)
    assert _warnings(told) == ["web.prod:80: the source has not returned from a lookup for 15.0 s"]


def test_what_is_never_due_is_never_late() -> None:
    told = Told().hears(pods(0, ttl=INF))
    assert not told.core.status(1e9).stale
    ended = Told().hears(pods(0))
    ended.core.end()
    assert not ended.core.status(1e9).stale
    assert ended.core.overdue_at == INF


def test_a_question_of_one_that_is_never_asked_again_can_be_overdue_too() -> None:
    told = Told().hears(pods(0, ttl=INF))
    told.core.request(50)
    told.core.begin()
    assert [told.core.status(now).stale for now in (56, 57)] == [False, True]


def test_the_child_of_a_fork_asks_at_once() -> None:
    told = Told().hears(pods(0, ttl=30))
    told.core.begin()
    told.core.start(7)
    assert told.core.next_wakeup == 7
    assert told.status.next_refresh == 7
    told.hears(pods(0), at=7)
    assert told.core.completed == 2


# while a watch is up


def _watched(*answers: Answer, policy: Policy | None = None) -> Told:
    told = Told(policy, can_watch=True, can_lookup=False)
    told.core.begin()
    assert told.core.watched
    for answer in answers:
        told.core.apply_watch(answer, 0)
    return told


TRUTH = pods(0, 1).replace(authoritative=True)


def test_a_watch_that_is_up_is_not_asked() -> None:
    told = _watched(TRUTH)
    assert told.wait == INF
    assert told.status.next_refresh == INF
    assert told.core.request(1) <= told.core.completed  # it has told everything already
    told.core.report_failure(told.peer(0), 2)
    assert told.wait == INF


@pytest.mark.parametrize("answers", [(), (FAILED,), (TRUTH, FAILED)])
def test_of_a_watch_that_has_said_nothing_or_fails_the_next_word_counts(answers: tuple[Answer, ...]) -> None:
    told = _watched(*answers)
    assert told.wait == INF
    wanted = told.core.request(1)
    assert told.core.completed < wanted
    told.core.apply_watch(TRUTH, 2)
    assert told.core.completed >= wanted


def test_max_stale_counts_while_a_watch_fails() -> None:
    told = _watched(TRUTH, policy=Policy(max_stale=60))
    assert told.wait == INF
    told.core.apply_watch(FAILED, 10)
    assert told.core.next_wakeup == 60
    told.core.expire(59)
    assert len(told.core.peers) == 2
    told.core.expire(60)
    assert len(told.core.peers) == 0
    assert told.generation == told.core.status(60).changes == 2
    assert told.core.next_wakeup == INF


def test_a_watch_that_ended_is_begun_again_after_the_wait_of_a_failure() -> None:
    told = _watched(TRUTH)
    told.core.on_watch_end(FAILED, 10)
    assert not told.core.watched
    assert 10 < told.core.next_wakeup <= 11
    assert told.numbers == [0, 1]


def test_with_no_peers_known_every_other_lookup_is_a_second_opinion() -> None:
    """The nameserver that is asked first may be the one that is wrong, and may stay so."""
    told = Told()
    asked = [told.hears(answer).asked_twice for answer in (NOT_FOUND, EMPTY, FAILED, NOT_FOUND, pods(0))]
    assert asked == [False, True, False, False, True]
    assert not told.hears(pods(0), at=5).asked_twice
