"""Broadcast: who is called, how many at once, what is late, and the receipt; in threads and in tasks."""

from __future__ import annotations

import asyncio
import copy
import functools
import math
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from peerdiscover import (
    AsyncDiscovery,
    Change,
    ConfigurationError,
    Discovery,
    Identity,
    Peer,
    PeerSet,
    Policy,
)
from peerdiscover.discovery._drivers import call_in_tasks, call_in_threads
from peerdiscover.discovery.broadcast import Broadcast, Receipt, RollingBroadcast
from tests.unit.tables import peer, peers
from tests.waiting import LONG

from ._clock import Run

QUICK = Policy(min_refresh=0.05, max_refresh=0.1)
NAMES = ("web-0=10.0.0.10:80", "web-1=10.0.0.11:80", "web-2=10.0.0.12:80")


class Changing:
    """Addresses that a test changes while a discovery asks for them."""

    def __init__(self, *entries: str) -> None:
        self.entries = entries

    def __call__(self) -> tuple[str, ...]:
        return self.entries

    def replace_the_second(self) -> None:
        self.entries = (self.entries[0], "web-1=10.0.0.99:80", "web-7=10.0.0.77:80")


# the steps


def test_each_is_called_once_and_stands_in_the_receipt_once() -> None:
    steps: Broadcast[int] = Broadcast(peers(0, 1, 2, generation=7))
    called = []
    while (one := steps.next()) is not None:
        called.append(one.ordinal)
    assert called == [0, 1, 2]
    steps.returned(peer(1), 11)
    steps.returned(peer(0), 10)
    assert not steps.done
    steps.raised(peer(2), OSError("refused"))
    assert steps.done
    receipt = steps.receipt(peers(0, 1, 2, generation=7), None)
    assert receipt.results == {peer(0): 10, peer(1): 11}
    assert list(receipt.results) == [peer(0), peer(1)]  # in the order of the set
    assert [type(e) for e in receipt.errors.values()] == [OSError]
    assert receipt.generation == 7
    assert (receipt.joined, receipt.left) == ((), ())
    assert not receipt.complete


def test_what_is_not_done_is_a_timeout() -> None:
    steps: Broadcast[int] = Broadcast(peers(0, 1))
    steps.next()
    receipt = steps.receipt(peers(0, 1), 2.5)
    assert set(receipt.errors) == {peer(0), peer(1)}
    assert all(type(e) is TimeoutError and "2.5 s" in str(e) for e in receipt.errors.values())
    assert steps.next() is None


def test_a_late_result_is_discarded() -> None:
    steps: Broadcast[int] = Broadcast(peers(0, 1))
    receipt = steps.receipt(peers(0, 1), 1)
    steps.returned(peer(0), 5)
    steps.raised(peer(1), OSError())
    assert receipt.results == {}
    assert all(type(e) is TimeoutError for e in receipt.errors.values())


def test_once_it_is_over_no_result_counts() -> None:
    """Between the end of the time and the receipt something may still come in."""
    steps: Broadcast[int] = Broadcast(peers(0, 1))
    steps.returned(peer(0), 5)
    steps.closed = True
    steps.returned(peer(1), 6)
    assert steps.next() is None
    assert steps.receipt(peers(0, 1), 1).results == {peer(0): 5}


def test_joined_left_and_moved() -> None:
    steps: Broadcast[int] = Broadcast(peers(0, 1, 2))
    moved = replace(peer(1), address="10.9.9.9", addresses=("10.9.9.9",))
    after = PeerSet("web", [peer(0), moved, peer(3)], generation=2)
    receipt = steps.receipt(after, None)
    assert receipt.joined == (moved, peer(3))
    assert receipt.left == (peer(1), peer(2))
    assert receipt.generation == 1


def test_complete_is_no_error_and_nobody_joined() -> None:
    def after(then: PeerSet) -> bool:
        steps: Broadcast[int] = Broadcast(peers(0, 1))
        steps.returned(peer(0), 0)
        steps.returned(peer(1), 1)
        return steps.receipt(then, None).complete

    assert after(peers(0, 1))
    assert after(peers(0))  # who left was called all the same
    assert not after(peers(0, 1, 2))


def test_oneself_is_left_out_unless_wanted() -> None:
    assert Broadcast[int](peers(0, 1, me=0)).next() == peer(1)
    assert Broadcast[int](peers(0, 1, me=0), include_self=True).next() == peer(0)
    alone: Broadcast[int] = Broadcast(peers(0, me=0))
    assert alone.done
    assert alone.width == 0
    assert alone.receipt(peers(0, me=0), None).complete


def test_oneself_neither_joins_nor_leaves() -> None:
    steps: Broadcast[int] = Broadcast(peers(1))
    steps.returned(peer(1), 1)
    receipt = steps.receipt(peers(0, 1, me=0), None)
    assert receipt.joined == ()
    assert receipt.complete


@pytest.mark.parametrize("limit", [0, -1, "3", 2.5])
def test_a_limit_below_one(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match="at least one call at a time"):
        Broadcast(peers(0), limit=limit)


def test_a_peer_that_joins_while_the_next_round_is_chosen() -> None:
    """The refreshing thread reports it, whatever the broadcasting one is doing."""

    class Joining(PeerSet):
        def __contains__(self, one: object) -> bool:
            steps.on_change(Change.between(peers(0, 1), peers(0, 1, 2)))
            return super().__contains__(one)

    now = Joining("web", peers(0, 1))
    steps: RollingBroadcast[int] = RollingBroadcast(lambda: now, 32, False)
    first = steps.step(0, 1)
    assert isinstance(first, Broadcast)
    assert (first.next(), first.next(), first.next()) == (peer(0), peer(1), None)
    assert steps.receipt().joined == (peer(0), peer(1), peer(2))


def _finished(step: object) -> Receipt[int]:
    """The receipt of a round in which all return."""
    assert isinstance(step, Broadcast)
    while (one := step.next()) is not None:
        step.returned(one, 0)
    receipt: Receipt[int] = step.receipt(peers(), None)
    return receipt


def test_rounds_end_with_the_time_and_after_a_lookup_without_a_change() -> None:
    now = peers(0, 2, me=2)
    steps: RollingBroadcast[int] = RollingBroadcast(lambda: now, 32, False, deadline=10.0)
    steps.on_change(Change.between(peers(), now))
    steps.record(_finished(steps.step(0, 5)))
    assert steps.step(1, 5) == 5  # until the next lookup
    assert steps.step(9, 5) == 1  # no longer than there is time
    assert steps.step(10, 5) is None
    now = peers(0, 1, 2, me=2, generation=2)
    steps.refreshed()
    steps.record(_finished(steps.step(2, 5)))
    assert steps.step(2, 5) == 5
    steps.refreshed()
    assert steps.step(2, 5) is None
    assert (list(steps.receipt().results), steps.receipt().joined) == ([peer(0), peer(1)], ())


def test_raise_errors() -> None:
    steps: Broadcast[int] = Broadcast(peers(0, 1, 2))
    steps.returned(peer(0), 0)
    steps.raised(peer(1), OSError("refused"))
    steps.raised(peer(2), ValueError("what"))
    receipt = steps.receipt(peers(0, 1, 2), None)
    with pytest.raises(ExceptionGroup, match="2 of 3 peers failed in a broadcast") as caught:
        receipt.raise_errors()
    assert [type(e) for e in caught.value.exceptions] == [OSError, ValueError]
    assert caught.value.exceptions[0].__notes__ == ["broadcast to Peer(web-1, 10.0.0.1:80)"]
    with pytest.raises(FrozenInstanceError):
        receipt.generation = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        receipt.errors[peer(1)] = OSError()  # type: ignore[index]


def test_no_errors_raise_nothing() -> None:
    steps: Broadcast[int] = Broadcast(peers(0))
    steps.returned(peer(0), 0)
    steps.receipt(peers(0), None).raise_errors()


def test_a_receipt_pickles_and_copies() -> None:
    steps: Broadcast[int] = Broadcast(peers(0, 1))
    steps.returned(peer(0), 7)
    steps.raised(peer(1), OSError("refused"))
    receipt = steps.receipt(peers(0, 1), None)
    for twin in pickle.loads(pickle.dumps(receipt)), copy.copy(receipt), copy.deepcopy(receipt):
        assert twin.results == {peer(0): 7}
        assert [repr(e) for e in twin.errors.values()] == ["OSError('refused')"]
        assert (twin.generation, twin.joined, twin.left) == (receipt.generation, (), ())
        with pytest.raises(TypeError):
            twin.results[peer(1)] = 8  # type: ignore[index]


# in threads


def test_threads_call_everybody() -> None:
    with Discovery("web", source=Changing(*NAMES), me=Identity(name="web-1")) as web:
        receipt = web.broadcast(lambda p: p.port + (p.ordinal or 0))
        assert {p.key: value for p, value in receipt.results.items()} == {"web-0": 80, "web-2": 82}
        assert receipt.complete
        assert receipt.generation == web.peers.generation
        everybody = web.broadcast(lambda p: p.is_self, include_self=True)
        assert [p.key for p, me in everybody.results.items() if me] == ["web-1"]


@pytest.mark.parametrize("limit", [1, 3])
def test_threads_keep_the_limit_and_use_it(limit: int) -> None:
    together = threading.Barrier(limit, timeout=LONG)  # nobody passes unless so many run at once
    running, most, lock = 0, 0, threading.Lock()

    def call(_: Peer) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait()
        with lock:
            running -= 1

    steps: Broadcast[None] = Broadcast(peers(*range(9)), limit=limit)
    call_in_threads(steps, call, None)
    assert steps.receipt(peers(*range(9)), None).complete
    assert most == limit


def test_threads_collect_whatever_is_raised() -> None:
    def call(p: Peer) -> None:
        raise (ValueError, SystemExit, KeyboardInterrupt)[p.ordinal or 0]

    steps: Broadcast[None] = Broadcast(peers(0, 1, 2))
    call_in_threads(steps, call, None)
    receipt = steps.receipt(peers(0, 1, 2), None)
    assert [type(e) for e in receipt.errors.values()] == [ValueError, SystemExit, KeyboardInterrupt]
    with pytest.raises(BaseExceptionGroup):
        receipt.raise_errors()


@contextmanager
def stuck() -> Iterator[threading.Event]:
    """Lets calls that wait for it end with the test."""
    release, before = threading.Event(), set(threading.enumerate())
    try:
        yield release
    finally:
        release.set()
        for thread in set(threading.enumerate()) - before:
            thread.join(LONG)


def test_threads_discard_what_comes_late() -> None:
    done = threading.Event()

    def call(p: Peer) -> str:
        if p.ordinal == 0:
            release.wait(LONG)
            done.set()
        return p.key

    with stuck() as release:
        steps: Broadcast[str] = Broadcast(peers(0, 1, 2))
        call_in_threads(steps, call, 1)
        receipt = steps.receipt(peers(0, 1, 2), 1)
        release.set()
        assert done.wait(LONG)
    assert set(receipt.errors) == {peer(0)}
    assert type(receipt.errors[peer(0)]) is TimeoutError
    assert receipt.results == {peer(1): "web-1", peer(2): "web-2"}


@pytest.mark.parametrize("timeout", [math.inf, 1e300])
def test_threads_without_an_end(timeout: float) -> None:
    """More seconds than a lock can wait for."""
    with Discovery(f"static:{','.join(NAMES)}") as web:
        begun = threading.Event()
        threading.Timer(0.05, begun.set).start()
        assert web.broadcast(lambda _: begun.wait(LONG), timeout=timeout).complete


def test_threads_begin_nobody_after_the_timeout() -> None:
    called = []

    def call(p: Peer) -> None:
        called.append(p.ordinal)
        release.wait(LONG)

    with stuck() as release:
        steps: Broadcast[None] = Broadcast(peers(0, 1, 2), limit=1)
        call_in_threads(steps, call, 1)
        receipt = steps.receipt(peers(0, 1, 2), 1)
    assert called == [0]
    assert len(receipt.errors) == 3


def test_threads_say_who_joined_left_and_moved_meanwhile() -> None:
    source = Changing(*NAMES)

    def call(p: Peer) -> None:
        if p.ordinal == 0:
            source.replace_the_second()
            web.refresh()

    with Discovery("web", source=source) as web:
        before = web.peers
        receipt = web.broadcast(call)
        assert [p.hostport for p in receipt.joined] == ["10.0.0.99:80", "10.0.0.77:80"]
        assert [p.hostport for p in receipt.left] == ["10.0.0.11:80", "10.0.0.12:80"]
        assert receipt.generation == before.generation == web.peers.generation - 1
        assert set(receipt.results) == set(before)
        assert not receipt.complete


def test_threads_call_late_peers_too() -> None:
    source = Changing(NAMES[0])
    called: list[str] = []

    def call(p: Peer) -> str:
        if not called:
            source.entries = NAMES
            web.refresh()
        called.append(p.key)
        return p.key

    with Discovery("web", source=source, policy=QUICK) as web:
        receipt = web.broadcast(call, late="include", timeout=20)
        assert sorted(called) == sorted(receipt.results.values()) == ["web-0", "web-1", "web-2"]
        assert receipt.complete
        with pytest.raises(ConfigurationError, match="late='maybe': expected 'report' or 'include'"):
            web.broadcast(call, late="maybe")  # type: ignore[arg-type]


NAMES_AT_80 = "static:10.0.0.1:80,10.0.0.2:80"


async def _awaited(p: Peer) -> int:
    return p.port


class _Awaited:
    async def __call__(self, p: Peer) -> int:
        return p.port


@pytest.mark.parametrize("call", [_awaited, functools.partial(_awaited), _Awaited()])
@pytest.mark.parametrize("late", ["report", "include"])
def test_threads_refuse_a_coroutine_function(call: Any, late: Any) -> None:
    """It would report `complete` without having called any peer."""
    refused = pytest.raises(ConfigurationError, match="a coroutine function; use AsyncDiscovery")
    with Discovery("web", source=Changing(*NAMES)) as web, refused:
        web.broadcast(call, late=late)


@pytest.mark.anyio
async def test_tasks_say_that_a_plain_function_cannot_be_awaited() -> None:
    shown = "the call returned 80: expected a coroutine; use Discovery for plain functions"
    plain: Any = lambda p: p.port  # noqa: E731
    async with AsyncDiscovery(NAMES_AT_80) as web:
        receipt = await web.broadcast(plain)
        assert {str(error) for error in receipt.errors.values()} == {shown}
        with pytest.raises(ConfigurationError, match=shown):
            await web.call(plain, on=OSError)


def test_threads_refuse_what_is_no_function() -> None:
    not_called: Any = 80
    with Discovery(NAMES_AT_80) as web:
        with pytest.raises(ConfigurationError, match=r"broadcast\(80\): expected a function"):
            web.broadcast(not_called)
        with pytest.raises(ConfigurationError, match=r"call\(80\): expected a function"):
            web.call(not_called, on=OSError)


@pytest.mark.anyio
async def test_tasks_refuse_what_is_no_function() -> None:
    not_called: Any = 80
    async with AsyncDiscovery(NAMES_AT_80) as web:
        with pytest.raises(ConfigurationError, match=r"broadcast\(80\): expected a function"):
            await web.broadcast(not_called)
        with pytest.raises(ConfigurationError, match=r"call\(80\): expected a function"):
            await web.call(not_called, on=OSError)


def test_threads_and_a_coroutine_that_nothing_awaits() -> None:
    with Discovery("web", source=Changing(*NAMES)) as web:
        receipt = web.broadcast(lambda p: _awaited(p) if p.port else None)
        assert receipt.results == {}
        assert {type(error) for error in receipt.errors.values()} == {ConfigurationError}


def test_threads_call_suspects_too() -> None:
    source = Changing(*NAMES)
    with Discovery("web", source=source, policy=Policy(hold=600)) as web:
        source.entries = ()
        web.refresh()
        assert len(web.status.suspects) == 3
        assert len(web.broadcast(lambda p: p.key).results) == 3


def test_threads_and_an_empty_set() -> None:
    with Discovery("web", source=Changing(), policy=Policy(min_peers=0)) as web:
        receipt = web.broadcast(lambda p: p.key)
        assert receipt.complete
        assert (dict(receipt.results), receipt.generation) == ({}, 0)


# in tasks


@pytest.mark.anyio
async def test_tasks_call_everybody() -> None:
    async def call(p: Peer) -> int:
        await anyio.lowlevel.checkpoint()
        return p.port + (p.ordinal or 0)

    async with AsyncDiscovery("web", source=Changing(*NAMES), me=Identity(name="web-1")) as web:
        receipt = await web.broadcast(call)
        assert {p.key: value for p, value in receipt.results.items()} == {"web-0": 80, "web-2": 82}
        assert receipt.complete
        assert len((await web.broadcast(call, include_self=True)).results) == 3


@pytest.mark.anyio
async def test_tasks_call_late_peers_too() -> None:
    source = Changing(NAMES[0])
    called: list[str] = []

    async def call(p: Peer) -> str:
        if not called:
            source.entries = NAMES
            await web.refresh()
        called.append(p.key)
        return p.key

    async with AsyncDiscovery("web", source=source, policy=QUICK) as web:
        receipt = await web.broadcast(call, late="include", timeout=20)
        assert sorted(called) == sorted(receipt.results.values()) == ["web-0", "web-1", "web-2"]
        assert receipt.complete


@pytest.mark.anyio
@pytest.mark.parametrize("limit", [1, 3])
async def test_tasks_keep_the_limit_and_use_it(limit: int) -> None:
    running = most = 0
    together = anyio.Event()

    async def call(_: Peer) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == limit:
            together.set()
        await together.wait()
        await anyio.lowlevel.checkpoint()
        running -= 1

    steps: Broadcast[None] = Broadcast(peers(*range(9)), limit=limit)
    await call_in_tasks(steps, call, 10)
    assert steps.receipt(peers(*range(9)), None).complete
    assert most == limit


@pytest.mark.anyio
async def test_tasks_collect_what_is_raised() -> None:
    async def call(p: Peer) -> str:
        await anyio.lowlevel.checkpoint()
        if p.ordinal == 1:
            raise OSError("refused")
        return p.key

    steps: Broadcast[str] = Broadcast(peers(0, 1, 2))
    await call_in_tasks(steps, call, None)
    receipt = steps.receipt(peers(0, 1, 2), None)
    assert set(receipt.results) == {peer(0), peer(2)}
    assert [str(e) for e in receipt.errors.values()] == ["refused"]


def test_tasks_cancel_what_comes_late(run: Run) -> None:
    cancelled = []

    async def call(p: Peer) -> str:
        if p.ordinal == 0:
            return p.key
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(p.ordinal)
        raise AssertionError("not reached")

    steps: Broadcast[str] = Broadcast(peers(0, 1, 2, 3), limit=3)
    run(lambda: call_in_tasks(steps, call, 0.05))
    receipt = steps.receipt(peers(0, 1, 2, 3), 0.05)
    assert sorted(cancelled, key=str) == [1, 2, 3]
    assert receipt.results == {peer(0): "web-0"}
    assert all(type(e) is TimeoutError for e in receipt.errors.values())


@pytest.mark.anyio
async def test_tasks_are_cancelled_with_their_caller() -> None:
    started = anyio.Event()

    async def call(_: Peer) -> None:
        started.set()
        await anyio.sleep_forever()

    steps: Broadcast[None] = Broadcast(peers(0, 1))
    over = False

    async def run() -> None:
        nonlocal over
        await call_in_tasks(steps, call, None)
        over = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await started.wait()
        tasks.cancel_scope.cancel()
    assert not over


def test_a_call_that_cancels_itself_is_an_error_of_that_call_alone() -> None:
    """As a call does that awaits a task somebody else cancelled. (trio has nothing like it.)"""

    async def call(p: Peer) -> str:
        if p.ordinal == 0:
            raise asyncio.CancelledError
        return p.key

    async def run() -> None:
        steps: Broadcast[str] = Broadcast(peers(0, 1, 2), limit=1)
        await call_in_tasks(steps, call, 10)
        receipt = steps.receipt(peers(0, 1, 2), 10)
        assert receipt.results == {peer(1): "web-1", peer(2): "web-2"}
        assert type(receipt.errors[peer(0)]) is asyncio.CancelledError

    asyncio.run(run())


@pytest.mark.anyio
async def test_tasks_say_who_joined_left_and_moved_meanwhile() -> None:
    source = Changing(*NAMES)

    async def call(p: Peer) -> None:
        if p.ordinal == 0:
            source.replace_the_second()
            await web.refresh()

    async with AsyncDiscovery("web", source=source) as web:
        before = web.peers
        receipt = await web.broadcast(call)
        assert [p.hostport for p in receipt.joined] == ["10.0.0.99:80", "10.0.0.77:80"]
        assert [p.hostport for p in receipt.left] == ["10.0.0.11:80", "10.0.0.12:80"]
        assert set(receipt.results) == set(before)
        assert not receipt.complete
