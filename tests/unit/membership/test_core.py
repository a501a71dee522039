"""What a set says of itself: status, explanation, log lines, the errors of those who waited in vain."""

from __future__ import annotations

import copy
import logging
import math
import pickle
from collections.abc import Iterator

import pytest

from peerdiscover import (
    Answer,
    ConfigurationError,
    Endpoint,
    Identity,
    NameNotFoundError,
    NoPeersError,
    Outcome,
    Peer,
    PeerSet,
    Policy,
    ResolutionTimeoutError,
)
from tests.unit.tables import EMPTY, FAILED, NOT_FOUND, Told, partial, pods, texts


def test_status_before_the_first_answer() -> None:
    status = Told().status
    assert (status.generation, status.stale, status.outcome, status.error) == (0, False, None, None)
    assert status.age == math.inf
    assert status.next_refresh == 0
    assert (status.suspects, status.lookups, status.failures, status.changes) == ((), 0, 0, 0)


def test_age_counts_from_the_last_answer_that_confirmed() -> None:
    told = Told().hears(pods(0, 1, 2, 3), at=10)
    assert told.core.status(13).age == 3
    told.hears(FAILED, at=20)
    assert told.status.age == 10
    told.hears(EMPTY, at=30)
    assert told.status.age == 20  # a held empty one confirms nothing
    told.hears(partial(0), at=40)
    assert told.status.age == 0
    assert told.core.status(5).age == 0  # never negative


def test_an_empty_set_is_confirmed_by_nobody() -> None:
    told = Told().hears(NOT_FOUND, at=3)
    assert told.core.status(5).age == 2


def test_stale_while_the_last_answer_failed_or_somebody_is_held() -> None:
    told = Told().hears(pods(0, 1))
    assert not told.status.stale
    assert told.hears(FAILED, at=1).status.stale
    assert not told.hears(pods(0, 1), at=2).status.stale
    assert told.hears(EMPTY, at=3).status.stale
    assert not told.hears(pods(0, 1), at=4).status.stale
    assert not told.hears(partial(0), at=5).status.stale


def test_suspects_are_peers_in_the_order_of_the_set() -> None:
    told = Told().hears(pods(*range(12))).hears(pods(0, 1), at=1)
    assert told.status.suspects == tuple(told.core.peers)[2:]


def test_counters() -> None:
    told = Told().hears(FAILED).hears(pods(0)).hears(FAILED).hears(pods(0)).hears(pods(1))
    status = told.status
    assert (status.lookups, status.failures, status.changes, status.generation) == (5, 2, 2, 2)


def test_error_is_that_of_the_last_answer() -> None:
    told = Told().hears(Answer.failed("10.0.0.10: SERVFAIL"))
    assert told.status.error == "10.0.0.10: SERVFAIL"
    told.hears(Answer.failed(ConfigurationError("two ports")))
    assert told.status.error == "two ports"
    told.hears(Answer(outcome=Outcome.FAILED))
    assert told.status.error == "no reason was given"
    assert told.hears(pods(0)).status.error is None


def test_changes_count_what_reports_removed_too() -> None:
    told = Told().hears(pods(0, 1)).hears(EMPTY)
    told.core.report_failure(told.peer(0), 1)
    assert told.status.changes == told.generation == 2


def test_waiting_for_peers() -> None:
    told = Told(me=Identity(name="web-0"))
    assert not told.core.satisfies(0)
    told.hears(pods(0, 1))
    assert told.core.satisfies(2)
    assert not told.core.satisfies(2, include_self=False)
    assert told.core.satisfies(1, include_self=False)
    assert len(told.core.peers.others) == 1


def test_the_error_of_who_waited_in_vain_says_how_many_there_were_and_the_last_answer() -> None:
    told = Told(me=Identity(name="web-0")).hears(pods(0, 1))
    told.hears(
        Answer.failed("10.0.0.10: timed out").replace(
            name="web.prod.svc.cluster.local.", servers=("10.0.0.10",)
        ),
        at=5,
    )
    error = told.core.journal.timeout_error(told.core.peers, 3, True, 6.0, 7)
    assert isinstance(error, ResolutionTimeoutError)
    assert str(error) == (
        "web.prod:80: 2 of 3 peers after 6.0 s; web.prod.svc.cluster.local. failed: 10.0.0.10: timed out "
        "(asked 10.0.0.10), 2.0 s ago"
    )
    assert (error.service, error.name) == ("web.prod:80", "web.prod.svc.cluster.local.")
    assert (error.servers, error.outcome) == (("10.0.0.10",), Outcome.FAILED)
    assert "1 of 3 other peers" in str(told.core.journal.timeout_error(told.core.peers, 3, False, 6.0, 7))


def test_the_error_before_any_answer() -> None:
    core = Told().core
    error = core.journal.timeout_error(core.peers, 1, True, 60.0, 60)
    assert str(error) == "web.prod:80: 0 of 1 peers after 60.0 s; no answer yet"
    assert isinstance(error, ResolutionTimeoutError)
    assert error.outcome is None


def test_a_hint_is_part_of_not_found() -> None:
    told = Told().hears(NOT_FOUND.replace(hint="web.stage has pods", name="web.prod.svc.cluster.local."))
    error = told.core.journal.not_found_error(0)
    assert isinstance(error, NameNotFoundError)
    assert str(error).endswith("; web.stage has pods")
    assert error.outcome is Outcome.NOT_FOUND


def test_a_hint_outlives_an_answer_that_did_not_look_for_one() -> None:
    told = Told().hears(NOT_FOUND.replace(hint="web.stage has pods")).hears(NOT_FOUND)
    assert told.core.journal.last_answer_summary(0).endswith("; web.stage has pods")
    assert "web.stage" not in told.hears(NOT_FOUND).core.journal.last_answer_summary(0)
    told.hears(NOT_FOUND.replace(hint="web.stage has pods")).hears(EMPTY)
    assert "web.stage" not in told.core.journal.last_answer_summary(0)


def test_nobody_to_pick() -> None:
    error = Told().hears(EMPTY).core.journal.no_peers_error(1.0)
    assert type(error) is NoPeersError
    assert str(error) == "web.prod:80: no peers available; empty, 1.0 s ago"


def test_what_cannot_be_asked_as_it_is_ends_the_waiting_only_before_any_evidence() -> None:
    told = Told().hears(Answer.failed(ConfigurationError("two ports")))
    assert isinstance(told.core.journal.misconfigured, ConfigurationError)
    told.hears(pods(0)).hears(Answer.failed(ConfigurationError("two ports")))
    assert told.core.journal.misconfigured is None
    assert told.numbers == [0]
    assert told.status.stale


def _logged(told: Told) -> list[tuple[str, str]]:
    notes = [(logging.getLevelName(level), text) for level, text in told.core.pending_logs]
    told.core.pending_logs.clear()
    return [note for note in notes if note[0] != "DEBUG"]


def test_a_failure_is_logged_once_per_state_and_so_is_recovery() -> None:
    told = Told().hears(pods(0))
    assert _logged(told) == [("INFO", "web.prod:80: 1 peer: +Peer(web-0, 10.0.0.0:80)")]
    for _ in range(5):
        told.hears(FAILED)
    assert _logged(told) == [("WARNING", "web.prod:80: lookup failed, keeping 1 peer: nobody answered")]
    told.hears(pods(0)).hears(pods(0))
    assert _logged(told) == [("WARNING", "web.prod:80: lookup recovered: resolved, 1 endpoint")]


def test_nobody_yet_is_logged_once() -> None:
    told = Told().hears(NOT_FOUND).hears(NOT_FOUND)
    assert _logged(told) == [("INFO", "web.prod:80: no peers yet (not found)")]


def test_peers_that_are_kept_although_none_are_reported_are_a_warning() -> None:
    told = Told().hears(pods(0))
    _logged(told)
    told.hears(NOT_FOUND, at=1).hears(FAILED, at=2).hears(EMPTY, at=3)
    assert [text for level, text in _logged(told) if level == "WARNING" and "lookup" not in text] == [
        "web.prod:80: no peers reported (not found), keeping 1 peer for up to 30 s"
    ]
    told.hears(pods(0), at=4).hears(pods(0), at=5)
    assert _logged(told) == [("WARNING", "web.prod:80: peers reported again: resolved, 1 endpoint")]


def test_keeping_them_without_a_limit_says_so() -> None:
    told = Told(Policy(on_empty="keep")).hears(pods(0)).hears(EMPTY)
    assert _logged(told)[-1] == ("WARNING", "web.prod:80: no peers reported (empty), keeping 1 peer")


def test_a_set_that_becomes_empty_is_a_warning_and_so_are_the_first_peers_after_that() -> None:
    told = Told(Policy(on_empty="accept")).hears(pods(0))
    assert _logged(told) == [("INFO", "web.prod:80: 1 peer: +Peer(web-0, 10.0.0.0:80)")]
    told.hears(EMPTY)
    assert _logged(told) == [("WARNING", "web.prod:80: no peers left: -Peer(web-0, 10.0.0.0:80)")]
    told.hears(pods(0)).hears(pods(0, 1))
    assert _logged(told) == [
        ("WARNING", "web.prod:80: 1 peer: +Peer(web-0, 10.0.0.0:80)"),
        ("INFO", "web.prod:80: 2 peers: +Peer(web-1, 10.0.0.1:80)"),
    ]


def test_a_flood_of_one_level_drops_nothing_of_another() -> None:
    told = Told().hears(pods(0).replace(warnings=("mind this",)))
    told.hears(pods(0).replace(dropped=[f"10.9.{i // 256}.{i % 256}: outside" for i in range(5000)]))
    told.hears(pods(0).replace(warnings=("and this",)))
    assert [text for level, text in _logged(told) if level == "WARNING"] == [
        "web.prod:80: mind this",
        "web.prod:80: and this",
    ]
    assert len(told.core.pending_logs) == 0


def test_a_thousand_noisy_warnings_do_not_silence_every_later_one() -> None:
    told = Told()
    for i in range(1500):
        told.hears(pods(0).replace(warnings=(f"noise {i}",)), at=i // 100)
    assert len(told.core.journal._logged[logging.WARNING]) == 1000, "what is remembered has a bound"
    assert ("WARNING", "web.prod:80: noise 1499") not in _logged(told), "nor is each of them logged"
    told.hears(pods(0).replace(warnings=("the port is wrong",)), at=300)
    assert _logged(told) == [("WARNING", "web.prod:80: the port is wrong")]
    told.hears(pods(0).replace(warnings=("the port is wrong",)), at=600)
    assert _logged(told) == []


def test_what_others_wrote_colours_no_terminal_and_forges_no_row() -> None:
    nasty = "a\x1b]0;title\x07\nweb-9 at 10.9.9.9:80: in"
    endpoint = Endpoint(("10.0.0.1",), 80, nasty, zone=nasty)
    answer = Answer.of([endpoint]).replace(warnings=(nasty,), dropped=(nasty,), servers=(nasty,))
    told = Told(me=Identity(zone="a")).hears(answer).hears(Answer.failed(nasty), at=1)
    told.hears(EMPTY, at=2)
    for text in [*told.core.explain(3).splitlines(), *(text for _, text in told.core.pending_logs)]:
        assert text.isprintable()
        assert not text.startswith(("  web-9", "web-9"))
    assert repr(told.core.peers).isprintable()
    assert told.core.peers[0].zone == nasty, "only what is shown is escaped"


def test_what_crosses_processes() -> None:
    told = Told().hears(pods(0, 1)).hears(EMPTY, at=3)
    for value in (told.status, told.core.peers, pods(0), Identity("web-0")):
        for twin in pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value):
            assert repr(twin) == repr(value)


def test_each_answer_is_logged_for_debugging() -> None:
    told = Told().hears(pods(0)).hears(FAILED)
    lines = [text for level, text in told.core.pending_logs if level == logging.DEBUG]
    assert lines == ["web.prod:80: resolved, 1 endpoint in 0.0 ms", "web.prod:80: failed in 0.0 ms"]


def test_warnings_and_what_was_dropped_are_said_once() -> None:
    told = Told()
    for _ in range(3):
        told.hears(pods(0).replace(warnings=("a ClusterIP Service",), dropped=("0.0.0.0: no pod",)))
    assert sorted(_logged(told)) == [
        ("INFO", "web.prod:80: 0.0.0.0: no pod"),
        ("INFO", "web.prod:80: 1 peer: +Peer(web-0, 10.0.0.0:80)"),
        ("WARNING", "web.prod:80: a ClusterIP Service"),
    ]


def test_max_stale_is_said_in_the_log() -> None:
    told = Told(Policy(max_stale=60)).hears(pods(0)).hears(FAILED, at=59)
    _logged(told)
    told.hears(FAILED, at=61)
    level, text = _logged(told)[-1]
    assert level == "WARNING"
    assert "set emptied without evidence: no answer within max_stale=60 s" in text


def test_notes_are_bounded() -> None:
    told = Told()
    for second in range(5000):
        told.hears(pods(second % 3), at=second)
    assert len(told.core.pending_logs) <= 1000


def test_explain_reads_well() -> None:
    told = Told(me=Identity(name="web-9", addresses=("10.9.9.9",)))
    told.hears(pods(*range(6)).replace(servers=("10.0.0.10:53",)))
    told.hears(
        pods(0, 1).replace(servers=("10.0.0.10:53",), dropped=("0.0.0.0: no pod",), warnings=("mind this",)),
        at=10,
    )
    told.hears(FAILED, at=12)
    assert told.core.explain(13).splitlines() == [
        "web.prod:80: headless, 6 peers, generation 1, confirmed 3.0 s ago, stale",
        "",
        "Peers:",
        "  web-0 at 10.0.0.0:80: in: the last answers have it",
        "  web-1 at 10.0.0.1:80: in: the last answers have it",
        *(
            f"  web-{i} at 10.0.0.{i}:80: held: missing from 1 answer, first 3.0 s ago; "
            "removed if a complete answer in 2.0 s or later agrees"
            for i in range(2, 6)
        ),
        "  none of them is this pod; compared: hostname web-9, address 10.9.9.9",
        "",
        "Last answers:",
        "  1.0 s ago: failed, in 0.0 ms: nobody answered",
        "  3.0 s ago: resolved, 2 endpoints, TTL 5 s, from 10.0.0.10:53, in 0.0 ms",
        "  13.0 s ago: resolved, 6 endpoints, TTL 5 s, from 10.0.0.10:53, in 0.0 ms",
        "",
        "Next lookup: now",
    ]


def test_what_is_to_be_done_about_a_failure_is_said_once() -> None:
    """It can be many lines: the log has the first one, and `explain()` all of the newest failure's."""
    forbidden = FAILED.replace(error=ConfigurationError("forbidden.\nTo allow it:\nkind: Role"))
    told = Told().hears(pods(0)).hears(forbidden, at=5).hears(forbidden, at=9)
    logged = [text for level, text in told.core.pending_logs if level >= logging.WARNING]
    assert logged == ["web.prod:80: lookup failed, keeping 1 peer: forbidden."]
    text = told.core.explain(9)
    assert text.count("forbidden.") == 2
    assert text.count("kind: Role") == 1
    assert text.index("kind: Role") < text.index("4.0 s ago: failed")
    assert told.status.error == "forbidden.\nTo allow it:\nkind: Role"


def test_explain_says_what_is_not_believed_who_went_and_why() -> None:
    told = (
        Told()
        .hears(pods(0, 1))
        .hears(pods(0).replace(dropped=("0.0.0.0: no pod",), warnings=("mind",)), at=1)
    )
    text = told.core.explain(2)
    assert "Recently removed:\n  web-1 at 10.0.0.1:80: a complete answer lacked it, 1.0 s ago" in text
    assert "Dropped from the last answer:\n  0.0.0.0: no pod" in text
    assert "Warnings:\n  mind" in text


def test_explain_before_the_first_answer() -> None:
    assert Told().core.explain(0).splitlines() == [
        "web.prod:80: unknown, 0 peers, generation 0, never confirmed",
        "",
        "Peers:",
        "  none",
        "",
        "Last answers:",
        "  none yet",
        "",
        "Next lookup: now",
    ]


def test_explain_tells_chances_and_families() -> None:
    told = Told().hears(pods(*range(4))).hears(partial(0, 1).replace(failed_families=frozenset({6})), at=1)
    text = told.core.explain(1)
    assert "web-2 at 10.0.0.2:80: in: missing from 1 partial answer, by chance with probability 0.5" in text
    assert "no answer for IPv6" in text


def test_explain_goes_through_the_set_as_often_however_large_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is held meanwhile."""
    few, many = Told().hears(pods(*range(3))), Told().hears(pods(*range(50)))
    times = 0
    go_through = PeerSet.__iter__

    def count(peers: PeerSet) -> Iterator[Peer]:
        nonlocal times
        times += 1
        return go_through(peers)

    monkeypatch.setattr(PeerSet, "__iter__", count)
    assert few.core.explain(1)
    for_few, times = times, 0
    assert many.core.explain(1)
    assert times == for_few


def test_memory_of_answers_is_bounded() -> None:
    told = Told()
    for second in range(100):
        told.hears(pods(*range(second % 7)), at=second)
    assert told.core.explain(100).count("TTL") <= 10


def test_oneself_is_found_in_each_answer() -> None:
    told = Told(me=Identity(addresses=("10.0.0.1",))).hears(texts("10.0.0.1:80", "10.0.0.2:80"))
    assert told.core.peers.me is not None
    assert told.core.peers.me.key == "10.0.0.1:80"
    assert told.hears(texts("10.0.0.2:80"), at=5).core.peers.me is None


def test_the_ask_carries_service_timeout_and_what_is_known() -> None:
    told = Told().hears(
        Answer.of([Endpoint(("10.0.0.1", "fd00::1"), 80, "web-0"), Endpoint(("10.0.0.2",), 80)])
    )
    told.hears(pods(0))
    assert told.ask is not None
    assert str(told.ask.service) == "web.prod:80"
    assert told.ask.timeout == 5
    assert told.ask.known == {"web-0": ("10.0.0.1", "fd00::1")}
    assert not told.ask.cancelled()


@pytest.mark.parametrize("outcome", [Outcome.EMPTY, Outcome.NOT_FOUND])
def test_the_kind_outlives_nobody(outcome: Outcome) -> None:
    told = Told().hears(pods(0)).hears(Answer(outcome=outcome))
    assert told.core.peers.kind == "headless"


def test_an_answer_without_a_kind_leaves_the_kind_as_it_was() -> None:
    """At first that of the source, whose own answers need not repeat it."""
    told = Told(kind="file").hears(Answer.of([Endpoint(("10.0.0.1",), 80)]))
    assert told.core.peers.kind == "file"
    told.hears(pods(0)).hears(Answer.of([Endpoint(("10.0.0.1",), 80)]))
    assert told.core.peers.kind == "headless"
    told.hears(pods(0).replace(kind="unknown"))
    assert told.core.peers.kind == "unknown"


def test_a_cut_is_said_once() -> None:
    told = Told().hears(pods(0, 1)).hears(partial(0), at=5).hears(partial(1), at=10)
    said = [text for level, text in told.core.pending_logs if level == logging.WARNING]
    assert said == ["web.prod:80: the answer was truncated: it lists only some of the pods"]
