"""A source that both tells and can be asked: who has the floor, and what that does to the set."""

from __future__ import annotations

import logging
import math

from peerdiscover import Answer, ConfigurationError, Policy
from peerdiscover.answers import Endpoint
from tests.unit.tables import FAILED, NOT_FOUND, Told, pods

INF = math.inf


def truth(*numbers: int) -> Answer:
    return pods(*numbers, ttl=None).replace(authoritative=True)


def both(policy: Policy | None = None) -> Told:
    """A watch has been begun at 0 and has said nothing yet."""
    told = Told(policy, can_watch=True, can_lookup=True)
    told.core.begin()
    assert told.core.watched
    return told


def says(told: Told, answer: Answer, at: float) -> None:
    told.now = at
    told.core.apply_watch(answer, at)


def logged(told: Told, level: int = logging.INFO) -> list[str]:
    lines = [text for at, text in told.core.pending_logs if at >= level]
    told.core.pending_logs.clear()
    return lines


def test_while_the_watch_works_nothing_is_asked() -> None:
    told = both()
    says(told, truth(0, 1), 1)
    assert told.keys == ["web-0", "web-1"]
    assert told.core.watched
    assert told.core.next_wakeup == INF
    assert told.core.explain(2).endswith("Next lookup: none is due: the source reports changes")


def test_when_it_fails_questions_take_over_at_once() -> None:
    told = both()
    says(told, truth(0, 1), 1)
    says(told, FAILED, 2)
    assert not told.core.watched
    assert told.core.next_wakeup == 2
    assert not told.status.stale  # nobody has failed to answer yet
    told.hears(pods(0, 1, 2, ttl=5))
    assert told.keys == ["web-0", "web-1", "web-2"]
    assert told.core.next_wakeup == 7
    assert not told.core.watched  # one watch is enough: it goes on trying


def test_a_watch_that_fails_again_and_again_hurries_no_lookup() -> None:
    told = both()
    says(told, FAILED, 0)
    told.hears(pods(0, ttl=30))
    says(told, FAILED, 3)
    assert told.core.next_wakeup == 30


def test_a_watch_that_works_again_has_the_floor() -> None:
    told = both()
    says(told, FAILED, 0)
    told.hears(pods(0))
    says(told, truth(0, 1), 3)
    assert told.core.watched
    assert told.core.next_wakeup == INF
    assert told.keys == ["web-0", "web-1"]


def test_it_is_said_once_that_the_watch_is_down_and_once_that_it_works_again() -> None:
    told = both()
    says(told, truth(0), 1)
    logged(told)
    for second in range(2, 30):
        says(told, FAILED, second)
        told.hears(pods(0))
    assert [line for line in logged(told) if "watch" in line] == [
        "web.prod:80: watch failed, falling back to lookups: nobody answered"
    ]
    assert "Watch failed, falling back to lookups: nobody answered" in told.core.explain(30)
    says(told, truth(0), 31)
    assert [line for line in logged(told) if "watch" in line] == ["web.prod:80: watch recovered"]
    assert "watch" not in told.core.explain(31)


def test_the_status_says_whether_the_watch_is_done_without_and_why() -> None:
    told = both()
    assert told.status.watch_error is None
    says(told, truth(0), 1)
    assert told.status.watch_error is None
    says(told, FAILED, 2)
    assert told.status.watch_error == "nobody answered"
    told.hears(pods(0))
    status = told.status
    assert (status.watch_error, status.error, status.stale) == ("nobody answered", None, False)
    told.core.on_watch_end(FAILED.replace(error="gone\nfor good"), 3)
    assert told.status.watch_error == "gone\nfor good"
    told.hears(pods(0), at=3)
    told.core.begin()
    assert told.core.watched
    assert told.status.watch_error == "gone\nfor good"  # it is tried, and has told nothing yet
    says(told, truth(0), 4)
    assert told.status.watch_error is None


def test_of_a_watch_alone_that_fails_the_status_has_an_error_and_no_other_way() -> None:
    told = Told(can_watch=True, can_lookup=False)
    told.core.begin()
    says(told, FAILED, 1)
    assert (told.status.error, told.status.watch_error) == ("nobody answered", None)


def test_a_watch_that_may_not_is_no_reason_to_give_up() -> None:
    told = both()
    says(told, FAILED.replace(error=ConfigurationError("forbidden\nROLE")), 1)
    assert told.core.journal.misconfigured is None
    assert logged(told) == ["web.prod:80: watch failed, falling back to lookups: forbidden"]
    told.hears(FAILED)
    assert "watch failed: forbidden" in told.core.journal.last_answer_summary(1)


def test_of_a_watch_alone_the_same_failure_is_told_at_once() -> None:
    told = Told(can_watch=True, can_lookup=False)
    told.core.begin()
    says(told, FAILED.replace(error=ConfigurationError("forbidden")), 1)
    assert told.core.journal.misconfigured is not None


def test_whoever_waits_for_a_question_is_answered_by_a_watch_that_works_again() -> None:
    told = both()
    says(told, FAILED, 0)
    told.core.begin()
    wanted = told.core.request(1)  # behind the one that is under way
    says(told, truth(0), 2)
    assert told.core.completed >= wanted


def test_where_the_watch_ended_a_question_goes_first_and_then_it_is_begun_anew() -> None:
    told = both()
    says(told, truth(0), 1)
    told.core.on_watch_end(FAILED, 2)
    assert told.core.next_wakeup == 2
    told.hears(pods(0, ttl=5), at=2)
    assert not told.core.watched
    told.core.begin()
    assert told.core.watched


def test_in_the_child_of_a_fork_the_watch_is_begun_anew() -> None:
    told = both()
    says(told, truth(0), 1)
    told.core.start(2)
    assert not told.core.watched
    told.core.begin()
    assert told.core.watched


def test_what_the_first_answer_lacks_is_held_until_a_second_one_agrees() -> None:
    """DNS may be a TTL older than what the watch said last."""
    told = both()
    says(told, truth(0, 1, 2), 1)
    says(told, FAILED, 2)
    told.hears(pods(0, 1, ttl=5))
    assert told.keys == ["web-0", "web-1", "web-2"]
    assert [peer.key for peer in told.status.suspects] == ["web-2"]
    told.hears(pods(0, 1, 2, ttl=5), at=3)
    assert told.status.suspects == ()


def test_what_two_answers_lack_goes() -> None:
    told = both()
    says(told, truth(0, 1, 2), 1)
    says(told, FAILED, 2)
    told.hears(pods(0, 1, ttl=5))
    told.hears(pods(0, 1, ttl=5), at=4)
    assert told.keys == ["web-0", "web-1", "web-2"]
    told.hears(pods(0, 1, ttl=5), at=7)
    assert told.keys == ["web-0", "web-1"]


def test_afterwards_answers_are_judged_as_ever() -> None:
    told = both()
    says(told, truth(0, 1, 2), 1)
    says(told, FAILED, 2)
    told.hears(pods(0, 1, 2, ttl=5))
    told.hears(pods(0, 1, ttl=5), at=7)
    assert told.keys == ["web-0", "web-1"]


def virtual() -> Answer:
    """What DNS says of a Service with a cluster IP."""
    return Answer.of([Endpoint(("10.96.0.7",), 80)], ttl=5).replace(kind="cluster-ip")


def test_a_virtual_address_does_not_replace_the_pods_that_the_watch_told_of() -> None:
    told = both()
    says(told, truth(0, 1).replace(kind="cluster-ip"), 1)
    says(told, FAILED, 2)
    told.hears(NOT_FOUND)
    told.hears(virtual(), at=2)
    assert told.keys == ["web-0", "web-1"]
    for at in 2, 7, 60:
        told.hears(virtual(), at=at)
        assert told.keys == ["web-0", "web-1"]
        assert told.status.stale
        assert told.status.age == at - 1
    says(told, truth(1).replace(kind="cluster-ip"), 61)
    assert told.keys == ["web-1"]
    assert not told.status.stale


def test_a_virtual_address_is_what_there_is_before_the_watch_worked() -> None:
    told = both()
    says(told, FAILED, 0)
    told.hears(virtual())
    assert told.keys == ["10.96.0.7:80"]
    told.hears(virtual(), at=5)
    assert not told.status.stale
    says(told, truth(0).replace(kind="cluster-ip"), 6)
    assert told.keys == ["web-0"]


def test_a_virtual_address_counts_once_dns_has_reported_the_pods_itself() -> None:
    """The Service was changed since: it is not what the watch knew."""
    told = both()
    says(told, truth(0), 1)
    says(told, FAILED, 2)
    told.hears(pods(0)).hears(virtual(), at=7)
    assert told.keys == ["10.96.0.7:80"]


def test_a_watch_without_lookups_is_started_again_after_its_end() -> None:
    told = Told(can_watch=True, can_lookup=False)
    told.core.begin()
    told.core.on_watch_end(FAILED, 1)
    told.core.begin()
    assert told.core.watched


def test_a_report_while_the_watch_works_plans_no_lookup() -> None:
    told = both()
    says(told, truth(0, 1), 1)
    told.core.report_failure(told.peer(0), 2)
    told.now = 1000
    assert (told.status.error, told.status.stale) == (None, False)  # none is overdue


def of_both_families(*numbers: int) -> Answer:
    """Pods of a Deployment, by the watch."""
    pairs = [Endpoint((f"10.0.0.{i}", f"fd00::{i}"), 80, zone=f"z{i}") for i in numbers]
    return Answer.of(pairs).replace(authoritative=True)


def of_one_family(*numbers: int) -> Answer:
    """The same, by DNS."""
    return Answer.of([Endpoint((f"10.0.0.{i}",), 80) for i in numbers], ttl=5)


def test_pods_of_both_families_do_not_move_when_dns_shows_one() -> None:
    told = both()
    says(told, of_both_families(1, 2), 1)
    says(told, FAILED, 2)
    for at in 2, 7:
        told.hears(of_one_family(1, 2), at=at)
        assert told.generation == 1
        assert [(p.addresses, p.zone) for p in told.core.peers] == [
            (("10.0.0.1", "fd00::1"), "z1"),
            (("10.0.0.2", "fd00::2"), "z2"),
        ]
    told.hears(of_one_family(1, 2, 3), at=12)
    assert told.generation == 2
    says(told, Answer.of(of_one_family(1).endpoints).replace(authoritative=True), 13)
    assert [p.addresses for p in told.core.peers] == [("10.0.0.1",)]
