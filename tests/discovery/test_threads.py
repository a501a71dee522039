"""A Discovery for threads, in real threads."""

from __future__ import annotations

import copy
import inspect
import logging
import math
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any
from unittest.mock import create_autospec

import pytest

from peerdiscover import (
    DNS,
    Answer,
    AsyncDiscovery,
    Change,
    ClosedError,
    ConfigurationError,
    Discovery,
    Endpoint,
    LookupRequest,
    NoPeersError,
    OrdinalNotFoundError,
    Outcome,
    PeerSet,
    Policy,
    ResolutionTimeoutError,
    resolve,
)
from tests.waiting import LONG, eventually

from ._clock import SettableClock
from ._script import run_script
from ._sources import FAILED, NOT_FOUND, Script, Watch, pods, told

SLOW = 600.0
"""A TTL that no test lives to see the end of: what is asked, is asked for a reason."""


class Gate(Script):
    """A source whose lookups wait until the test lets them through."""

    def __init__(self, *says: Any) -> None:
        super().__init__(*says)
        self.open = threading.Semaphore(0)

    def lookup(self, ask: LookupRequest) -> Any:
        answer = super().lookup(ask)
        while not self.open.acquire(timeout=0.02):
            if ask.cancelled():
                return Answer.failed("cancelled")
        return answer


def patient(**more: Any) -> Policy:
    return Policy(max_refresh=SLOW, **more)


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40, thread_name_prefix="test") as pool:
        yield pool


def waiting(web: Discovery, count: int) -> None:
    """Until so many threads wait for news."""
    eventually(lambda: len(web._runtime.changed._waiters) >= count)  # type: ignore[attr-defined]


# Refreshing


def test_callers_that_wait_together_share_a_lookup() -> None:
    source = Gate(pods(0, ttl=SLOW))
    source.open.release()
    with Discovery("web", source=source, policy=patient()) as web, threads() as pool:
        first = pool.submit(web.refresh)
        source.wait_asked(2)
        # One is under way: it began before these, and may not count for them. They share the next.
        later = [pool.submit(web.refresh) for _ in range(20)]
        waiting(web, 21)
        source.say(pods(0, 1, ttl=SLOW))
        source.open.release()
        source.wait_asked(3)
        assert len(first.result(LONG)) == 1
        assert not any(future.done() for future in later)
        source.open.release()
        assert [len(future.result(LONG)) for future in later] == [2] * 20
        assert len(source.asks) == 3


def test_no_request_is_lost() -> None:
    source = Script(pods(0, ttl=SLOW))
    with Discovery("web", source=source, policy=patient()) as web, threads() as pool:

        def many() -> None:
            for _ in range(100):
                before = len(source.asks)
                web.refresh()
                assert len(source.asks) > before

        for future in [pool.submit(many) for _ in range(8)]:
            future.result(LONG)


def test_a_refresh_that_fails_returns_the_set() -> None:
    source = Script(pods(0, 1, ttl=SLOW), FAILED)
    with Discovery("web", source=source, policy=patient()) as web:
        assert len(web.refresh()) == 2
        assert web.status.stale
        assert web.status.outcome is Outcome.FAILED


def test_a_report_asks_again() -> None:
    source = Script(pods(0, 1, ttl=SLOW), pods(1, ttl=SLOW))
    with Discovery("web", source=source, policy=patient()) as web:
        changes = web.changes(timeout=LONG)
        next(changes)
        web.report_failure(web.peers[0], OSError("refused"))
        assert [peer.key for peer in next(changes).removed] == ["web-0"]


def test_a_suspect_that_fails_goes_at_once() -> None:
    source = Script(pods(0, 1, ttl=SLOW), NOT_FOUND)
    with Discovery("web", source=source, policy=patient()) as web:
        web.refresh()
        assert {peer.key for peer in web.status.suspects} == {"web-0", "web-1"}
        picker = web.round_robin()
        web.report_failure(web.peers[0])
        assert [peer.key for peer in web.peers] == ["web-1"]
        assert {picker.pick().key for _ in range(5)} == {"web-1"}


# Waiting


def test_wait_returns_when_they_are_there() -> None:
    source = Gate(pods(0, ttl=0.1), pods(0, 1, 2, ttl=SLOW))
    source.open.release()
    with Discovery("web", source=source, policy=patient()) as web, threads() as pool:
        future = pool.submit(web.wait, 3, LONG)
        alone = pool.submit(web.wait, 4, 0.05)
        with pytest.raises(ResolutionTimeoutError, match=r"1 of 4 peers after \d+\.\d s"):
            alone.result(LONG)
        source.open.release()
        assert len(future.result(LONG)) == 3
        with pytest.raises(TimeoutError, match="3 of 4 peers"):
            web.wait(4, timeout=0)
        assert web.wait(3, timeout=0) is web.peers
        assert web.wait(timeout=math.inf) is web.peers


def test_waiting_for_others_than_oneself() -> None:
    from peerdiscover import Identity

    source = Script(pods(0, ttl=SLOW))
    with Discovery("web", source=source, policy=patient(), me=Identity(name="web-0")) as web:
        with pytest.raises(ResolutionTimeoutError, match="0 of 1 other peers"):
            web.wait(1, timeout=0, include_self=False)
        assert web.peers.me == web.peers[0]
        with pytest.raises(NoPeersError, match="this pod is the only peer"):
            web.round_robin().pick()
        assert web.round_robin(include_self=True).pick() == web.peers[0]


def test_nobody_to_pick_says_what_the_last_answer_was() -> None:
    """As it was when it was picked, not when the picker was made."""
    name = "web.prod.svc.cluster.local."
    nobody = Answer(outcome=Outcome.NOT_FOUND, ttl=SLOW, name=name, servers=("10.96.0.10",))
    source = Script(nobody)
    with Discovery("web", source=source, policy=patient(min_peers=0)) as web:
        picker = web.round_robin()
        asked = rf"web: no peers are known yet; {name} not found \(asked 10\.96\.0\.10\), \d+\.\d s ago"
        for pick in (picker.pick, web.random().pick, lambda: next(picker)):
            with pytest.raises(NoPeersError, match=asked):
                pick()
        source.say(FAILED)
        web.refresh()
        with pytest.raises(
            NoPeersError, match=r"no peers are known yet; failed: the test says so, \d+\.\d s ago"
        ):
            picker.pick()
        with pytest.raises(OrdinalNotFoundError, match="the set is empty; failed: the test says so"):
            web.ordinal(0)


def test_entering_in_vain_leaves_nothing(clock: SettableClock) -> None:
    def fails_late(_: LookupRequest) -> Answer:
        clock.forward(60)
        return FAILED

    # Time runs out in the second lookup: what the first one said is known by then.
    policy = Policy(ready_timeout=60, retry_initial=0.001)
    web = Discovery("web", source=Script(FAILED, fails_late), policy=policy)
    with (
        pytest.raises(ResolutionTimeoutError, match=r"0 of 1 peers after \d+\.\d s; failed: the test says"),
        web,
    ):
        raise AssertionError
    with pytest.raises(ClosedError, match="closed"):
        web.wait()


def test_what_cannot_work_is_said_at_once() -> None:
    wrong = Script(Answer.failed(ConfigurationError("two ports: write one")))
    with pytest.raises(ConfigurationError, match="two ports"), Discovery("web", source=wrong):
        raise AssertionError


# Changes


def test_a_slow_reader_loses_nobody_and_close_ends_it() -> None:
    source = Script(pods(0, ttl=SLOW))
    with Discovery("web", source=source, policy=patient()) as web, threads() as pool:
        changes = web.changes()
        assert [peer.key for peer in next(changes).added] == ["web-0"]
        for answer in pods(0, 1), pods(0, 1, 2), pods(1, 2, 3), pods(1, 2, 3):
            source.say(answer.replace(ttl=SLOW))
            web.refresh()
        change = next(changes)
        assert {peer.key for peer in change.added} == {"web-1", "web-2", "web-3"}
        assert {peer.key for peer in change.removed} == {"web-0"}
        rest = pool.submit(list, changes)
        waiting(web, 2)
        web.close()
        assert rest.result(LONG) == []
        assert list(changes) == []


def test_what_changed_before_the_end_is_still_told() -> None:
    source = Script(pods(0, ttl=SLOW), pods(0, 1, ttl=SLOW))
    with Discovery("web", source=source, policy=patient()) as web:
        changes = web.changes()
        next(changes)
        web.refresh()
    assert [[peer.key for peer in change.added] for change in changes] == [["web-1"]]


def test_changes_wait_for_somebody_and_have_their_time() -> None:
    source = Script(NOT_FOUND)
    with Discovery("web", source=source, policy=patient(min_peers=0)) as web:
        assert list(web.changes(timeout=0.05)) == []
        changes = web.changes(timeout=LONG)
        source.say(pods(4, ttl=SLOW))
        assert [peer.key for peer in next(changes).added] == ["web-4"]


# Callbacks


def called(web: Discovery, source: Script, *answers: Answer) -> None:
    for answer in answers:
        source.say(answer.replace(ttl=SLOW))
        web.refresh()


def test_callbacks_come_from_the_refreshing_thread_until_unsubscribed() -> None:
    source = Script(pods(0, ttl=SLOW))
    got: list[tuple[threading.Thread, Change]] = []
    with Discovery("web", source=source, policy=patient()) as web:
        once = threading.Event()

        def callback(change: Change) -> None:
            got.append((threading.current_thread(), change))
            once.set()

        unsubscribe = web.on_change(callback)
        called(web, source, pods(0, 1))
        assert once.wait(LONG)
        unsubscribe()
        unsubscribe()
        again = threading.Event()
        web.on_change(lambda _: again.set())
        called(web, source, pods(0, 1, 2))
        assert again.wait(LONG)
        assert len(got) == 1
        thread, change = got[0]
        assert thread is web._runtime.thread
        assert [peer.key for peer in change.added] == ["web-1"]


def test_anything_may_be_called_from_a_callback(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "peerdiscover")
    source = Script(pods(0, ttl=SLOW))
    done = threading.Event()
    seen: list[object] = []

    def callback(change: Change) -> None:
        unsubscribe()
        source.say(pods(0, 1, 2, ttl=SLOW))
        before = len(source.asks)
        seen.append(len(web.refresh()))
        seen.append(len(source.asks) - before)
        seen.append(len(web.wait(3, timeout=LONG)))
        seen.append(len(web.broadcast(lambda peer: peer.key).results))
        seen.append(len(next(web.changes()).added))
        with pytest.raises(ResolutionTimeoutError):
            web.wait(4, timeout=0.1)
        seen.append(web.round_robin().pick().port)
        web.report_failure(web.peers[0])
        web.on_change(lambda _: None)
        seen.append(web.explain().count("web-2") > 0)
        for attempt in web.attempts(OSError):
            with attempt as peer:
                seen.append(peer.port)
        done.set()

    with Discovery("web", source=source, policy=patient()) as web:
        unsubscribe = web.on_change(callback)
        called(web, source, pods(0, 1))
        assert done.wait(LONG), caplog.text
        assert seen == [3, 1, 3, 3, 3, 80, True, 80]


def test_a_callback_that_waits_does_not_spin() -> None:
    source = Script(pods(0, ttl=SLOW))
    done = threading.Event()
    turns = 0

    def callback(_: Change) -> None:
        unsubscribe()
        web.refresh()  # leaves log lines behind, that nobody can write before this returns
        now, due = web._runtime.now, web._runtime._due

        def counting() -> Any:
            nonlocal turns
            turns += 1
            return due()

        web._runtime._due = counting  # type: ignore[method-assign]
        began = now()
        with pytest.raises(ResolutionTimeoutError):
            web.wait(9, timeout=0.3)
        assert now() - began >= 0.3
        done.set()

    with Discovery("web", source=source, policy=patient()) as web:
        unsubscribe = web.on_change(callback)
        called(web, source, pods(0, 1))
        assert done.wait(LONG)
        assert turns < 10


def test_close_from_a_callback() -> None:
    source = Script(pods(0, ttl=SLOW))
    done = threading.Event()

    def callback(_: Change) -> None:
        web.close()
        with pytest.raises(ClosedError):
            web.refresh()
        done.set()

    web = Discovery("web", source=source, policy=patient()).start()
    web.on_change(callback)
    source.say(pods(0, 1, ttl=SLOW))
    with suppress(ClosedError):  # it may be quicker than we are
        web.refresh()
    assert done.wait(LONG)
    web.close()
    assert len(web.peers) == 2


def test_what_a_callback_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    source = Script(pods(0, ttl=SLOW))
    other: list[Change] = []
    with Discovery("web", source=source, policy=patient()) as web:

        def bad(_: Change) -> None:
            raise ZeroDivisionError("a callback of the test")

        done = threading.Event()
        web.on_change(bad)
        web.on_change(other.append)
        web.on_change(lambda _: done.set())
        called(web, source, pods(0, 1))
        assert done.wait(LONG)
        assert len(other) == 1
        done.clear()
        called(web, source, pods(0, 1, 2))
        assert done.wait(LONG)
        assert len(other) == 2
    assert caplog.text.count("ZeroDivisionError: a callback of the test") == 2
    assert "callback" in caplog.records[-1].getMessage()


def test_no_lock_is_held_while_a_callback_runs() -> None:
    source = Script(pods(0, ttl=SLOW))
    done = threading.Event()
    with Discovery("web", source=source, policy=patient()) as web, threads() as pool:

        def callback(_: Change) -> None:
            pool.submit(web.explain).result(LONG)
            pool.submit(web.report_failure, web.peers[0]).result(LONG)
            pool.submit(web.on_change, print).result(LONG)()
            done.set()

        web.on_change(callback)
        called(web, source, pods(0, 1))
        assert done.wait(LONG)


def test_who_is_unsubscribed_by_an_earlier_callback_is_not_called() -> None:
    source = Script(pods(0, ttl=SLOW))
    got: list[str] = []
    done = threading.Event()
    with Discovery("web", source=source, policy=patient()) as web:

        def first(_: Change) -> None:
            got.append("first")
            unsubscribe()

        web.on_change(first)
        unsubscribe = web.on_change(lambda _: got.append("second"))
        web.on_change(lambda _: done.set())
        called(web, source, pods(0, 1))
        assert done.wait(LONG)
        assert got == ["first"]


def test_a_callback_is_a_plain_function() -> None:
    async def asynchronous(_: Change) -> None: ...

    with Discovery("web", source=Script(pods(0, ttl=SLOW))) as web:
        for wrong in asynchronous, None, 5:
            with pytest.raises(ConfigurationError, match="plain function"):
                web.on_change(wrong)  # type: ignore[arg-type]


def answer_of(call: Callable[[], object]) -> Callable[[LookupRequest], object]:
    return lambda _: call()


def test_a_source_that_waits_for_itself() -> None:
    source = Script(pods(0, ttl=SLOW))
    with Discovery("web", source=source, policy=patient(retry_initial=0.01)) as web:
        calls: list[Callable[[], object]] = [web.refresh, lambda: web.wait(5), lambda: list(web.changes())]
        for call in calls:
            source.say(answer_of(call))
            web.refresh()
            assert web.status.outcome is Outcome.FAILED
            assert "cannot wait" in str(web.status.error)
        source.say(pods(0, 1, ttl=SLOW))
        assert len(web.refresh()) == 2


# Everything at once


def test_many_threads_call_everything_while_the_set_changes() -> None:  # noqa: C901 - each has its part
    numbers = iter(range(1_000_000))

    def changing(_: LookupRequest) -> Answer:
        n = next(numbers)
        return pods(*range(1 + n % 7), *range(20, 20 + n % 3), ttl=SLOW)

    source = Script(changing)
    with Discovery("web", source=source, policy=patient(mass_removal=1)) as web, threads() as pool:
        stop = threading.Event()
        seen: list[int] = []
        last_seen: list[PeerSet] = []

        def generations_rise() -> None:
            last = 0
            while not stop.wait(0.0005):
                now = web.peers.generation
                assert now >= last
                last = now

        def picks() -> None:
            robin, anybody = web.round_robin(), web.random()
            while not stop.wait(0.0005):
                for _ in range(50):
                    assert robin.pick().port == anybody.pick().port == 80
                web.ordinal(0)

        def reads() -> None:
            at = web.peers
            for change in web.changes(timeout=LONG):
                if change.before.generation:
                    assert change.before == at
                at = change.after
                seen.append(change.after.generation)
            last_seen.append(at)

        def reports() -> None:
            while not stop.wait(0.0005):
                web.report_failure(web.peers[0])
                web.report_success(web.peers[0])
                status = web.status
                assert status.changes <= status.lookups
                web.explain()

        def subscribes() -> None:
            while not stop.wait(0.0005):
                web.on_change(lambda _: None)()

        def calls() -> None:
            while not stop.wait(0.0005):
                receipt = web.broadcast(lambda peer: peer.key)
                assert len(receipt.results) >= 1
                for attempt in web.attempts(OSError):
                    with attempt:
                        pass

        def refreshes() -> None:
            for _ in range(100):
                web.refresh()
                web.wait(1, timeout=LONG)

        readers = [pool.submit(reads) for _ in range(3)]
        others = [
            pool.submit(call) for call in (generations_rise, picks, picks, reports, subscribes, calls, calls)
        ]
        try:
            for future in [pool.submit(refreshes) for _ in range(4)]:
                future.result(LONG)
            stop.set()
            for future in others:
                future.result(LONG)
        finally:
            stop.set()
            web.close()
        for future in readers:
            future.result(LONG)
        assert seen
        assert last_seen == [web.peers] * 3, "what changed before the end is still reported"


# The beginning and the end


def calls_of(web: Discovery) -> list[Callable[[], object]]:
    return [
        web.refresh,
        web.wait,
        lambda: web.wait(0),
        web.changes,
        web.round_robin,
        web.random,
        lambda: web.ordinal(0),
        lambda: web.broadcast(print),
        lambda: web.attempts(OSError),
        lambda: web.on_change(print),
    ]


def test_before_the_start_and_after_the_end() -> None:
    source = Script(pods(0, 1, ttl=SLOW))
    web = Discovery("web", source=source, policy=patient())

    def refuses(text: str) -> None:
        for call in calls_of(web):
            with pytest.raises(ClosedError, match=text):
                call()

    assert (len(web.peers), web.peers.generation) == (0, 0)
    assert web.status.age == web.status.next_refresh == math.inf
    assert "not started" in web.explain()
    refuses("not started")
    with web:
        peer = web.peers[0]
        picker, anybody = web.round_robin(), web.random()
        assert web.is_open
        assert web.start() is web.start(wait=False) is web
        assert len(source.asks) == 1
    assert not web.is_open
    assert len(web.peers) == 2
    assert web.status.generation == 1
    assert web.status.next_refresh == math.inf
    assert web.explain().endswith("Next lookup: none is due: the discovery is closed")
    refuses("closed")
    for gone in picker, anybody:
        with pytest.raises(ClosedError, match="closed"):
            gone.pick()
        with pytest.raises(ClosedError, match="closed"):
            next(iter(gone))
    with pytest.raises(ClosedError, match="closed"):
        web.start()
    web.report_failure(peer, OSError())
    web.report_success(peer)
    web.close()
    assert len(web.peers) == 2


def test_closing_before_the_start() -> None:
    web = Discovery("web", source=Script(pods(0)))
    web.report_success(next(iter(pods(0).endpoints)))  # type: ignore[arg-type]  # before the start nobody looks
    web.close()
    with pytest.raises(ClosedError, match="closed"):
        web.start()


def test_start_and_close_without_with() -> None:
    web = Discovery("web", source=Script(pods(0, ttl=SLOW)))
    assert web.start() is web
    web.close()
    web.close()


def test_an_error_in_the_body_comes_out_as_itself() -> None:
    with (
        pytest.raises(ZeroDivisionError) as caught,
        Discovery("web", source=Script(pods(0, ttl=SLOW))) as web,
    ):
        raise ZeroDivisionError("the body")
    assert caught.value.__cause__ is None
    with pytest.raises(ClosedError):
        web.refresh()


def test_closing_ends_who_waits() -> None:
    source = Gate(pods(0, ttl=SLOW))
    source.open.release()
    with threads() as pool:
        with Discovery("web", source=source, policy=patient()) as web:
            waits = [pool.submit(web.refresh), pool.submit(web.wait, 5), pool.submit(web.wait, 5, 30)]
            source.wait_asked(2)
            waiting(web, 3)
        for future in waits:
            with pytest.raises(ClosedError, match="closed"):
                future.result(LONG)


def test_closing_by_many_at_once() -> None:
    for _ in range(20):
        web = Discovery("web", source=Script(pods(0, ttl=SLOW))).start()
        with threads() as pool:
            for future in [pool.submit(web.close) for _ in range(5)]:
                future.result(LONG)


def test_closing_during_a_lookup_that_looks_whether_it_is_cancelled() -> None:
    source = Gate(pods(0, ttl=SLOW))
    source.open.release()
    with Discovery("web", source=source, policy=patient(timeout=60)) as web, threads() as pool:
        refresh = pool.submit(web.refresh)
        source.wait_asked(2)
        began = time.monotonic()
        web.close()
        assert time.monotonic() - began < 60, "it does not wait for the lookup's time"
        assert source.asks[-1].cancelled()
        with pytest.raises(ClosedError):
            refresh.result(LONG)
    assert web.status.failures == 0  # what came after the end does not count


def test_closing_during_a_lookup_of_a_silent_server() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        source = DNS(nameservers=[f"127.0.0.1:{silent.getsockname()[1]}"])
        web = Discovery("web.prod:80", source=source, policy=Policy(timeout=60))
        with threads() as pool:
            entering = pool.submit(web.start)
            assert silent.recv(512)  # the question
            began = time.monotonic()
            web.close()
            assert time.monotonic() - began < 60, "it does not wait for the lookup's time"
            with pytest.raises(ClosedError):
                entering.result(LONG)


def test_closing_during_a_coroutine_that_never_ends() -> None:
    import asyncio

    asked = threading.Event()

    async def never() -> list[str]:
        asked.set()
        await asyncio.Event().wait()
        return []

    web = Discovery("web", source=never, policy=Policy(timeout=60))
    with threads() as pool:
        entering = pool.submit(web.start)
        assert asked.wait(LONG)
        began = time.monotonic()
        web.close()
        assert time.monotonic() - began < 60, "it does not wait for the lookup's time"
        with pytest.raises(ClosedError):
            entering.result(LONG)


def test_the_end_of_one_whose_lookups_may_take_longer_than_a_lock_can_wait() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow() -> list[str]:
        asked.set()
        go_on.wait(LONG)
        return []

    web = Discovery("web", source=slow, policy=Policy(timeout=1e300)).start(wait=False)
    assert asked.wait(LONG)
    threading.Timer(0.01, go_on.set).start()
    web.close()
    assert not web.is_open


def test_a_source_that_does_not_return_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()
    source = Script(pods(0, ttl=SLOW))
    with Discovery("web", source=source, policy=patient(timeout=0.001)) as web:
        source.say(lambda _: go_on.wait(LONG))
        web.report_failure(web.peers[0])
        source.wait_asked(2)
        eventually(lambda: web.status.stale)
        assert "has not returned" in str(web.status.error)
        web.close()
        assert "its thread is left behind" in caplog.text
        go_on.set()


# A source that tells by itself


def test_a_watch_is_believed_at_once_and_begun_again() -> None:
    source = Watch()
    source.tell(told(0, 1, 2, 3))
    with Discovery("web", source=source, policy=patient(retry_initial=0.01)) as web:
        changes = web.changes(timeout=LONG)
        assert len(next(changes).added) == 4
        source.tell(told())
        assert len(next(changes).removed) == 4
        source.tell(told(7), OSError("gone"))
        assert [peer.key for peer in next(changes).added] == ["web-7"]
        source.wait_begun(2)
        assert len(web.peers) == 1
        assert web.status.stale
        assert web.status.error == "OSError: gone"
        source.tell(told(7, 8))
        assert [peer.key for peer in next(changes).added] == ["web-8"]
        assert not web.status.stale
        assert web.status.next_refresh == math.inf


def test_a_watch_that_is_up_is_not_asked() -> None:
    source = Watch()
    source.tell(told(0, 1))
    with Discovery("web", source=source, policy=patient()) as web:
        for _ in range(3):
            assert len(web.refresh()) == 2
        for _ in range(10):
            web.report_failure(web.peers[0])
        turns, due = 0, web._runtime._due

        def counting() -> Any:
            nonlocal turns
            turns += 1
            return due()

        web._runtime._due = counting  # type: ignore[method-assign]
        with pytest.raises(ResolutionTimeoutError):
            web.wait(9, timeout=0.3)
        assert turns < 10, "it runs hot"
        assert source.begun == 1


def test_a_refresh_waits_for_a_watch_that_is_down() -> None:
    source = Watch()
    source.tell(told(0), FAILED)
    with Discovery("web", source=source, policy=patient()) as web, threads() as pool:
        eventually(lambda: web.status.stale)
        refresh = pool.submit(web.refresh)
        waiting(web, 2)
        source.tell(told(0, 1))
        assert len(refresh.result(LONG)) == 2


def test_closing_ends_a_watch() -> None:
    source = Watch()
    source.tell(told(0))
    with Discovery("web", source=source) as web:
        feeder = web._runtime.watch_thread
        assert feeder is not None
    assert not feeder.is_alive()


def test_an_iterator_that_is_no_generator_is_closed() -> None:
    class Answers:
        closed = False

        def __iter__(self) -> Answers:
            return self

        def __next__(self) -> Answer:
            return told(0)

        def close(self) -> None:
            self.closed = True

    answers = Answers()

    class Source:
        kind = "test"

        def watch(self, _ask: LookupRequest) -> Answers:
            return answers

    with Discovery("web", source=Source()) as web:
        assert len(web.peers) == 1
    assert answers.closed


# Callables


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_callable_is_a_source(asynchronous: bool) -> None:
    said = ["10.0.0.1:80", "web-2=10.0.0.2:80"]

    def plain() -> list[str]:
        return said

    async def coroutine() -> list[str]:
        return said

    with Discovery("web", source=coroutine if asynchronous else plain) as web:
        assert [peer.key for peer in web.peers] == ["web-2", "10.0.0.1:80"]
        said.append("[fd00::1]:80")
        assert len(web.refresh()) == 3
        said.clear()
        web.refresh()
        assert web.status.outcome is Outcome.EMPTY
        assert len(web.status.suspects) == 3


def test_arguments_are_checked_at_once() -> None:
    arguments: list[dict[str, Any]] = [{"policy": 5}, {"me": "web-0"}, {"source": 7}, {"source": DNS}]
    for wrong in arguments:
        with pytest.raises(ConfigurationError):
            Discovery("web", **wrong)
    with pytest.raises(ConfigurationError, match="static"):
        Discovery("static:10.0.0.1:80", source=Script(pods(0)))


def test_repr_says_how_it_is() -> None:
    web = Discovery("web", source=Script(pods(0, ttl=SLOW)))
    assert repr(web) == "<Discovery 'web', not started, 0 peers>"
    with web:
        assert repr(web) == "<Discovery 'web', open, 1 peers>"


# A discovery as an object


@pytest.mark.parametrize("kind", [Discovery, AsyncDiscovery])
def test_it_says_why_it_neither_pickles_nor_copies(kind: Any) -> None:
    web = kind("static:10.0.0.1:80")
    for give_away in pickle.dumps, copy.copy, copy.deepcopy:
        with pytest.raises(TypeError, match=r"^\w+ objects can be neither pickled nor copied") as caught:
            give_away(web)
        assert "\n" not in str(caught.value)


def test_peers_is_an_attribute_of_the_class() -> None:
    assert "never blocks" in (inspect.getdoc(Discovery.peers) or "")
    mock = create_autospec(Discovery, instance=True)
    mock.peers = ()
    assert mock.peers == ()
    assert "peers" in dir(Discovery)


@pytest.mark.parametrize("report", ["report_failure", "report_success"])
def test_a_report_of_what_is_no_peer(report: str) -> None:
    with Discovery("static:10.0.0.1:80") as web:
        with pytest.raises(ConfigurationError, match=rf"{report}\('x'\): expected a Peer") as caught:
            getattr(web, report)("x")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("timeout", [math.nan, "3", 10**400])
def test_a_timeout_that_is_no_number_of_seconds(timeout: Any) -> None:
    with Discovery("static:10.0.0.1:80") as web:
        calls: dict[str, Callable[[], Any]] = {
            "wait": lambda: web.wait(1, timeout),
            "changes": lambda: web.changes(timeout),
            "broadcast": lambda: web.broadcast(str, timeout=timeout),
            "resolve": lambda: resolve("static:10.0.0.1:80", timeout=timeout),
        }
        for name, call in calls.items():
            with pytest.raises(ConfigurationError, match=rf"{name}\(timeout=.*expected seconds") as caught:
                call()
            assert len(str(caught.value)) < 200


def test_pickers_pick_what_more_is_known_of_the_same_pods() -> None:
    zone: str | None = None
    with Discovery("web", source=lambda: [Endpoint(("10.0.0.1",), 80, "web-0", zone=zone)]) as web:
        picker = web.round_robin()
        assert picker.pick().zone is None
        zone = "a"
        web.refresh()
        assert (picker.pick().zone, web.peers.generation) == ("a", 1)


def test_an_argument_of_a_picker_that_cannot_be_hashed() -> None:
    """A picker that nothing rebinds would be empty for ever."""
    wrong: Any = []
    with Discovery("static:10.0.0.1:80") as web:
        with pytest.raises(ConfigurationError, match="zone="):
            web.round_robin(zone=wrong)
        with pytest.raises(TypeError, match="unhashable"):
            web.round_robin(include_self=wrong)


INTERRUPTED = """
import sys, threading
from peerdiscover import Discovery
from tests.interrupts import interrupt

web = Discovery("web.prod:80", source=lambda: ["10.0.0.1:80"]).start()
peer = web.peers[0]
calls = {
    "status": lambda: web.status,
    "report": lambda: (web.report_failure(peer), web.report_success(peer)),
    "picker": lambda: (web._runtime.pickers.__init__(web._runtime.view), web.round_robin()),
    "subscribe": lambda: web.on_change(print)(),
}
done = interrupt(calls[sys.argv[1]], web._runtime._rlock._is_owned)
other = threading.Thread(target=lambda: web.status, daemon=True)
other.start()
other.join(30)
web.close()
print(done > 100, other.is_alive(), threading.active_count())
"""


@pytest.mark.parametrize("call", ["status", "report", "picker", "subscribe"])
def test_a_signal_handler_that_raises_leaves_the_lock_free(call: str) -> None:
    """2,500 interrupts of each of four calls, at any instruction: the lock that is entered is C code."""
    assert run_script(INTERRUPTED, call) == "True False 1\n"
