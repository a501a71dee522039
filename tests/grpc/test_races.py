"""What may happen in a narrow moment: each is made to happen there, with calls that a test ends itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from peerdiscover import AsyncDiscovery, ClosedError, Discovery, Peer, Policy
from peerdiscover.grpc import AsyncGrpcNoPeersError, GrpcNoPeersError
from peerdiscover.grpc._async_calls import UnaryStreamCall, UnaryUnaryCall
from peerdiscover.grpc._dispatch import Attempt, Dispatch
from peerdiscover.grpc._state import ChannelState
from peerdiscover.grpc._sync_calls import PodCall
from tests.discovery._script import run_script
from tests.waiting import LONG, eventually

NAME = "static:web-0=10.0.0.1:80,web-1=10.0.0.2:80"
UNAVAILABLE, CANCELLED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED


class OnPod:
    """gRPC's call on a pod, for threads; it ends when the test says so."""

    def __init__(self, attempt: Attempt, number: int, status: grpc.StatusCode | None) -> None:
        self.attempt = attempt
        self.number = number
        self.status = status
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens just before its message is there."""
        self.before_cancel: Callable[[], object] = lambda: None
        self.after_cancel: Callable[[], object] = lambda: None
        self.callbacks: list[Callable[[Any], None]] = []

    def ends(self, status: grpc.StatusCode) -> None:
        """It has its status, and its callbacks are not called yet."""
        self.status = status

    def tells(self) -> None:
        """Its callbacks are called."""
        for callback in self.callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.callbacks.append(callback)

    def cancel(self) -> bool:
        self.before_cancel()
        if self.status is not None:
            return False
        self.status = CANCELLED
        self.after_cancel()
        return True

    def code(self) -> grpc.StatusCode | None:
        return self.status

    def details(self) -> str:
        return f"failed to connect to all addresses; last error: {self.attempt.pod.target}: refused"

    def done(self) -> bool:
        return self.status is not None

    def add_note(self, note: str) -> None:
        """What it is for, if it is the error."""

    def __next__(self) -> str:
        self.meanwhile()
        return f"message of attempt {self.number}"

    def result(self) -> str:
        assert self.status is grpc.StatusCode.OK
        return "response"


class Channel:
    """gRPC's channel to a pod."""

    def __init__(self, target: str) -> None:
        self.target = target


class Started:
    """What makes a call on a pod: the calls, and what happens just before each is there."""

    def __init__(self) -> None:
        self.calls: list[OnPod] = []
        self.status: grpc.StatusCode | None = None
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, attempt: Attempt) -> OnPod:
        self.meanwhile()
        self.calls.append(OnPod(attempt, len(self.calls) + 1, self.status))
        return self.calls[-1]


@contextmanager
def state(**options: Any) -> Iterator[ChannelState]:
    with Discovery(NAME) as web:
        yield ChannelState(web, Channel, options.get("picker"), (), GrpcNoPeersError)


def dispatch(state: ChannelState, *, waits: bool = False) -> Dispatch:
    return Dispatch(state, "/pod.Pod/Say", None, waits, None, 0.0)


# A call that is cancelled


def test_cancelled_between_an_attempt_s_end_and_what_follows() -> None:
    """gRPC's call cannot be cancelled any more, but ours can: there is no other attempt."""
    with state() as channel:
        start, ended = Started(), threading.Event()
        call = PodCall(dispatch(channel), start)
        call.add_callback(ended.set)
        start.calls[0].ends(UNAVAILABLE)
        assert call.cancel()
        assert ended.is_set()
        start.calls[0].tells()
        assert call.code() is CANCELLED
        assert call.cancelled()
        with pytest.raises(grpc.FutureCancelledError):
            call.result()
        assert len(start.calls) == 1


def test_cancelled_as_an_attempt_ends_that_is_followed_by_none() -> None:
    """Its end is seen while it is cancelled: one of the two is true, and cancelling says which."""
    with state() as channel:
        start = Started()
        call = PodCall(dispatch(channel), start)
        start.calls[0].ends(UNAVAILABLE)
        start.calls[0].tells()
        eventually(lambda: len(start.calls) == 2 and start.calls[1].callbacks)
        last = start.calls[1]  # on the other pod; there is no third
        last.ends(UNAVAILABLE)
        last.before_cancel = last.tells
        assert not call.cancel()
        assert call.code() is UNAVAILABLE
        assert not call.cancelled()


def test_cancelled_and_its_end_is_seen_before_cancelling_returns() -> None:
    """gRPC calls back in its own thread."""
    with state() as channel:
        start = Started()
        call = PodCall(dispatch(channel), start)
        start.calls[0].after_cancel = start.calls[0].tells
        assert call.cancel()
        assert call.cancelled()
        assert not call.cancel()


def test_cancelled_when_it_has_succeeded() -> None:
    with state() as channel:
        start = Started()
        call = PodCall(dispatch(channel), start)
        start.calls[0].ends(grpc.StatusCode.OK)
        assert not call.cancel()
        start.calls[0].tells()
        assert call.result() == "response"
        assert not call.cancelled()


@pytest.mark.parametrize("status", [None, grpc.StatusCode.OK])
def test_cancelled_while_the_next_attempt_begins(status: grpc.StatusCode | None) -> None:
    """The attempt is cancelled as soon as it is there, and counts for nothing if it has ended by then."""
    with state() as channel:
        start = Started()
        call = PodCall(dispatch(channel), start)
        cancelled = threading.Event()

        def cancel() -> None:
            call.cancel()
            cancelled.set()

        start.meanwhile = cancel
        start.status = status
        start.calls[0].ends(UNAVAILABLE)
        start.calls[0].tells()
        assert cancelled.wait(LONG)
        assert call.code() is CANCELLED
        eventually(lambda: len(start.calls) == 2 and start.calls[1].callbacks)
        assert start.calls[1].status is (status or CANCELLED)
        start.calls[1].tells()
        assert call.code() is CANCELLED
        assert call.cancelled()


# An answer, and the end of its attempt


def test_a_message_of_an_attempt_that_is_given_up_at_that_moment_is_not_seen() -> None:
    with state() as channel:
        start = Started()
        call = PodCall(dispatch(channel), start)

        def broke() -> None:
            start.calls[0].ends(UNAVAILABLE)
            start.calls[0].tells()

        start.calls[0].meanwhile = broke
        assert next(call) == "message of attempt 2"
        assert call.peerdiscover is not None
        assert call.peerdiscover["attempts"] == 2


def test_a_message_of_an_attempt_that_is_given_up_at_that_moment_is_not_seen_in_asyncio() -> None:
    """Another task sees the end before the one that waits for the message goes on."""

    async def given_up() -> None:
        async with AsyncDiscovery(NAME) as web:
            channel = ChannelState(web, Channel, None, (), AsyncGrpcNoPeersError)
            calls: list[OnPodForTasks] = []
            call = UnaryStreamCall(dispatch(channel), lambda attempt: OnPodForTasks(attempt, calls))
            code = asyncio.ensure_future(call.code())
            calls[0].meanwhile = lambda: calls[0].ended.set_result(UNAVAILABLE)
            assert await call.read() == "message of attempt 2"
            assert len(calls) == 2
            calls[1].ended.set_result(grpc.StatusCode.OK)
            assert await code is grpc.StatusCode.OK

    asyncio.run(given_up())


class OnPodForTasks:
    """gRPC's call on a pod, for asyncio."""

    def __init__(self, attempt: Attempt, calls: list[OnPodForTasks]) -> None:
        calls.append(self)
        self.attempt = attempt
        self.number = len(calls)
        self.words = f"failed to connect to all addresses; last error: {attempt.pod.target}: refused"
        self.meanwhile: Callable[[], object] = lambda: None
        self.ended: asyncio.Future[grpc.StatusCode] = asyncio.get_running_loop().create_future()

    def __await__(self) -> Any:
        code = yield from self.ended.__await__()
        if code is not grpc.StatusCode.OK:
            empty = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(code, empty, empty, self.words, "")
        return "response"

    def done(self) -> bool:
        return self.ended.done()

    def cancel(self) -> bool:
        return self.ended.cancel()

    def cancelled(self) -> bool:
        return self.ended.cancelled()

    async def read(self) -> str:
        self.meanwhile()
        for _ in range(10):
            await asyncio.sleep(0)  # other tasks go on
        return f"message of attempt {self.number}"

    async def code(self) -> grpc.StatusCode:
        return await asyncio.shield(self.ended)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()

    trailing_metadata = initial_metadata

    async def debug_error_string(self) -> str:
        return ""

    async def details(self) -> str:
        return self.words


def test_cancelled_as_its_pause_ends_in_asyncio() -> None:
    """The task that waits has not seen yet that the pause ended: no attempt begins."""

    async def cancelled() -> None:
        shown: list[Peer] = []
        async with AsyncDiscovery("web", source=lambda: shown, policy=Policy(min_peers=0)) as web:
            channel = ChannelState(web, Channel, None, (), AsyncGrpcNoPeersError)
            calls: list[Any] = []
            call = UnaryUnaryCall(dispatch(channel, waits=True), calls.append)
            task = asyncio.ensure_future(call.code())

            def at_once(_: object) -> None:
                web_has_changed.set()
                call.cancel()

            web_has_changed = asyncio.Event()
            web.on_change(at_once)
            shown.append(Peer(key="10.0.0.1:80", address="10.0.0.1", port=80))
            await web.refresh()
            await web_has_changed.wait()
            assert await task is CANCELLED
            with pytest.raises(asyncio.CancelledError):
                await call
            assert call.cancelled()
            assert call.done()
            assert calls == []

    asyncio.run(cancelled())


def test_cancelled_when_the_attempt_has_failed_in_asyncio() -> None:
    """No task has seen that it failed: there is no other attempt."""

    async def cancelled() -> None:
        async with AsyncDiscovery(NAME) as web:
            channel = ChannelState(web, Channel, None, (), AsyncGrpcNoPeersError)
            calls: list[OnPodForTasks] = []
            call = UnaryUnaryCall(dispatch(channel), lambda attempt: OnPodForTasks(attempt, calls))
            calls[0].ended.set_result(UNAVAILABLE)
            assert call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert len(calls) == 1

    asyncio.run(cancelled())


@pytest.mark.parametrize("part_of_a_response", [True, False])
def test_cancelled_when_the_last_attempt_has_failed_in_asyncio(*, part_of_a_response: bool) -> None:
    """No task has seen that it failed, but there was none to come: that is how the call ended."""

    async def cancelled() -> None:
        async with AsyncDiscovery(NAME) as web:
            channel = ChannelState(web, Channel, None, (), AsyncGrpcNoPeersError)
            calls: list[OnPodForTasks] = []
            call = UnaryStreamCall(dispatch(channel), lambda attempt: OnPodForTasks(attempt, calls))
            if part_of_a_response:
                assert await call.read() == "message of attempt 1"
            else:
                calls[0].words = "the connection broke"  # and the method is not idempotent
            calls[0].ended.set_result(UNAVAILABLE)
            assert not call.cancel()
            assert not call.cancelled()
            assert await call.code() is UNAVAILABLE
            assert len(calls) == 1

    asyncio.run(cancelled())


# The set changes, or the channel is closed, while a call is about to begin


class Meanwhile:
    """A picker after whose choice something happens."""

    def __init__(self, discovery: Discovery, act: Callable[[], object]) -> None:
        self.discovery = discovery
        self.act = act
        self.leases: list[Any] = []
        """Those that were not given back; here, since one that is forgotten would be."""

    def lease(self) -> Any:
        @contextmanager
        def leased() -> Iterator[Peer]:
            peer = self.discovery.peers[0]
            self.act()
            yield peer
            self.leases.remove(lease)

        lease = leased()
        self.leases.append(lease)
        return lease


def test_a_pod_that_leaves_while_a_call_picks_it_is_not_remembered() -> None:
    """The call goes there once more; and closing ends it."""
    pods = [Peer(key=f"10.0.0.{n}:80", address=f"10.0.0.{n}", port=80) for n in (1, 2)]
    shown = list(pods)
    with Discovery("web", source=lambda: shown) as web:

        def leaves() -> None:
            shown[:] = pods[1:]
            web.report_failure(pods[0])
            web.refresh()

        channel = ChannelState(web, Channel, Meanwhile(web, leaves), (), GrpcNoPeersError)
        attempt = dispatch(channel).next(0.0)
        assert isinstance(attempt, Attempt)
        assert attempt.pod.peer == pods[0]
        assert list(web.peers) == pods[1:]
        assert list(channel.pods) == []
        assert channel.close() == [attempt.pod.channel]


def test_a_channel_that_is_closed_while_a_call_picks() -> None:
    """No channel to a pod is made that nothing would close, and the lease ends."""
    with Discovery(NAME) as web:
        made: list[str] = []
        picker = Meanwhile(web, lambda: channel.close())  # noqa: PLW0108 - it is made below
        channel = ChannelState(web, made.append, picker, (), GrpcNoPeersError)
        with pytest.raises(ClosedError, match="this channel was closed"):
            dispatch(channel).next(0.0)
        assert made == []
        assert picker.leases == []


def test_what_gRPC_refuses_ends_the_lease() -> None:  # noqa: N802 - its name
    def refuse(_: str) -> Any:
        raise ValueError("no such option")

    with Discovery(NAME) as web:
        picker = Meanwhile(web, lambda: None)
        channel = ChannelState(web, refuse, picker, (), GrpcNoPeersError)
        with pytest.raises(ValueError, match="no such option"):
            dispatch(channel).next(0.0)
        assert picker.leases == []


# A signal


INTERRUPTED = """
import sys
from tests.grpc.test_races import PodCall, Started, dispatch, grpc, state
from tests.interrupts import interrupt

with state() as channel:
    start = Started()
    call = PodCall(dispatch(channel), start)
    start.calls[0].ends(grpc.StatusCode.OK)
    start.calls[0].tells()
    uses = {
        "waits": lambda: call.code(),
        "calls back": lambda: call.add_callback(print),
        "reads": lambda: next(call),
        "cancels": lambda: call.cancel(),
    }
    done = interrupt(uses[sys.argv[1]], call._lock._is_owned)
print(done > 100)
"""


@pytest.mark.parametrize("use", ["waits", "calls back", "reads", "cancels"])
def test_a_signal_handler_that_raises_leaves_the_lock_of_a_call_free(use: str) -> None:
    """gRPC's thread would wait for it for ever: the lock that is entered is C code."""
    assert run_script(INTERRUPTED, use) == "True\n"
