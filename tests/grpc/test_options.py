"""What a channel of gRPC has: metadata, interceptors, cancellation, futures, TLS, states; and pickers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from peerdiscover import AsyncDiscovery, ConfigurationError, Discovery
from peerdiscover.grpc import AsyncPodChannel, PodChannel
from tests.tools.certificates import Authority
from tests.waiting import LONG, eventually

from ._callers import AsyncCaller, caller
from ._pods import NAME, pods, refusing

READY, CONNECTING = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.CONNECTING


def test_metadata_goes_both_ways() -> None:
    with pods(1) as service, caller("threads", service.source) as web:
        response, call = web.stub["Say"].with_call(b"1", metadata=(("key", "value"),), timeout=LONG)
        assert response == b"web-0"
        assert service[0].metadata["key"] == "value"
        assert dict(call.initial_metadata())["pod"] == "web-0"
        assert dict(call.trailing_metadata())["request"] == "1"
        future = web.stub["Say"].future(b"2", metadata=(("key", "other"),), timeout=LONG)
        assert dict(future.initial_metadata())["pod"] == "web-0"
        assert dict(future.trailing_metadata())["request"] == "2"
        assert service[0].metadata["key"] == "other"


def test_metadata_goes_both_ways_in_asyncio() -> None:
    with pods(1) as service, caller("asyncio", service.source) as web:
        assert isinstance(web, AsyncCaller)

        async def calls() -> None:
            call = web.stub["Say"](b"1", metadata=(("key", "value"),), timeout=LONG)
            assert (await call.initial_metadata())["pod"] == "web-0"
            assert (await call.trailing_metadata())["request"] == "1"
            assert await call == b"web-0"
            assert await call.code() is grpc.StatusCode.OK

        web.run(calls())
        assert service[0].metadata["key"] == "value"


def test_metadata_is_the_same_in_each_attempt(kind: str) -> None:
    """Though an iterator gives it once."""
    gone = refusing()
    with pods(1) as service, caller(kind, lambda: [gone, service[0].peer]) as web:
        for number in range(8):
            service[0].metadata = {}
            web.each_kind(metadata=iter([("key", "value")]))[number % 4]()
            assert service[0].metadata["key"] == "value"
        assert web.failures


def test_calls_carry_the_services_name(kind: str) -> None:
    with pods(1) as service:
        with caller(kind, service.source) as web:
            web.say()
            assert service[0].authority == NAME
        with caller(kind, service.source, "web-headless.prod:grpc", options=[]) as web:
            web.say()
            assert service[0].authority == "web-headless.prod"
        options = [("grpc.default_authority", "other.example")]
        with caller(kind, service.source, options=options) as web:
            web.say()
            assert service[0].authority == "other.example"


class Numbers(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds metadata, and counts the calls that go through it."""

    count = 0

    def _through(self, continuation: Any, details: Any, request: Any) -> Any:
        self.count += 1
        details = details._replace(metadata=[*(details.metadata or ()), ("number", str(self.count))])
        return continuation(details, request)

    intercept_unary_unary = _through  # type: ignore[assignment]
    intercept_unary_stream = _through  # type: ignore[assignment]
    intercept_stream_unary = _through  # type: ignore[assignment]
    intercept_stream_stream = _through  # type: ignore[assignment]


def test_interceptors() -> None:
    """Of a call, whatever its attempts."""
    gone = refusing()
    with pods(1) as service, caller("threads", lambda: [gone, service[0].peer]) as web:
        numbers = Numbers()
        channel = grpc.intercept_channel(web.channel, numbers)
        web.stub["Say"] = channel.unary_unary("/pod.Pod/Say")
        web.stub["Count"] = channel.unary_stream("/pod.Pod/Count")
        web.stub["Join"] = channel.stream_unary("/pod.Pod/Join")
        web.stub["Echo"] = channel.stream_stream("/pod.Pod/Echo")
        for number, call in enumerate(web.each_kind() * 2, 1):
            assert call() == b"web-0"
            assert service[0].metadata["number"] == str(number) == str(numbers.count)
        future = web.stub["Say"].future(b"", timeout=LONG)
        assert future.result() == b"web-0"


class AsyncNumbers(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self.seen.append(client_call_details.method)
        client_call_details.metadata.add("number", str(len(self.seen)))
        return await continuation(client_call_details, request)


class AsyncStreamNumbers(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self.seen.append(client_call_details.method)
        return await continuation(client_call_details, request)


def test_interceptors_in_asyncio() -> None:
    """Of each attempt."""
    gone = refusing()
    seen: list[Any] = []
    interceptors = [AsyncNumbers(seen), AsyncStreamNumbers(seen)]
    with (
        pods(1) as service,
        caller("asyncio", lambda: [gone, service[0].peer], interceptors=interceptors) as web,
    ):
        assert [web.say() for _ in range(4)] == [b"web-0"] * 4
        assert service[0].metadata["number"] == str(len(seen))
        assert len(seen) == 4 + len(web.failures) > 4
        assert web.count() == [b"web-0"] * 2
        assert web.echo([b"1"]) == [b"web-0 1"]


@pytest.mark.parametrize("method", ["Say", "Count"])
def test_cancelling_a_call(method: str) -> None:
    with pods(1) as service, caller("threads", service.source) as web:
        service[0].manner = "silent"
        make = getattr(web.stub[method], "future", web.stub[method])
        call = make(b"", timeout=LONG)
        assert service[0].heard.acquire(timeout=LONG)
        assert (call.done(), call.is_active(), call.cancelled()) == (False, True, False)
        assert 0 < call.time_remaining() <= LONG
        assert call.cancel()
        assert (call.done(), call.is_active(), call.cancelled()) == (True, False, True)
        assert "CANCELLED" in repr(call)
        assert service[0].cancelled.wait(LONG)
        assert call.code() is grpc.StatusCode.CANCELLED
        assert (call.done(), call.is_active(), call.cancelled()) == (True, False, True)
        assert not call.cancel()
        for asked in call.result, call.exception, call.traceback:
            with pytest.raises(grpc.FutureCancelledError):
                asked()
        with pytest.raises(grpc.RpcError):
            next(call)
        assert web.failures == []


@pytest.mark.parametrize("method", ["Say", "Count"])
def test_cancelling_a_call_that_waits_for_pods(method: str) -> None:
    """It is as one that was cancelled on a pod."""
    with caller("threads", lambda: [refusing()]) as web:
        make = getattr(web.stub[method], "future", web.stub[method])
        call = make(b"", wait_for_ready=True)
        eventually(lambda: web.failures)
        assert call.cancel()
        assert call.code() is grpc.StatusCode.CANCELLED
        assert (call.done(), call.is_active(), call.cancelled()) == (True, False, True)
        for asked in call.result, call.exception, call.traceback:
            with pytest.raises(grpc.FutureCancelledError):
                asked()
        with pytest.raises(grpc.RpcError):
            next(call)


def test_cancelling_a_task_cancels_its_call() -> None:
    with pods(1) as service, caller("asyncio", service.source) as web:
        assert isinstance(web, AsyncCaller)
        service[0].manner = "silent"

        async def cancelled(wait: Any, *, whole_task: bool) -> None:
            call = web.stub["Say"](b"", timeout=LONG)
            task = asyncio.ensure_future(call.code() if wait == "code" else _response(call))
            assert await asyncio.to_thread(service[0].heard.acquire, True, LONG)
            assert (task if whole_task else call).cancel()
            if wait == "code" and not whole_task:
                assert await task is grpc.StatusCode.CANCELLED
            else:
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert call.cancelled()
            assert not call.cancel()

        web.run(cancelled("response", whole_task=True))
        assert service[0].cancelled.wait(LONG)
        web.run(cancelled("response", whole_task=False))
        web.run(cancelled("code", whole_task=False))
        assert web.failures == []


async def _response(call: Any) -> Any:
    return await call


def test_cancelling_a_task_that_waits_for_pods() -> None:
    with caller("asyncio", lambda: [refusing()]) as web:
        assert isinstance(web, AsyncCaller)

        async def cancelled() -> None:
            call = web.stub["Say"](b"", wait_for_ready=True)
            task = asyncio.ensure_future(_response(call))
            await asyncio.to_thread(eventually, lambda: web.failures)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert call.cancelled()
            assert await call.code() is grpc.StatusCode.CANCELLED
            with pytest.raises(asyncio.CancelledError):
                await call
            asked = web.stub["Say"](b"", wait_for_ready=True)
            code = asyncio.ensure_future(asked.code())
            await asyncio.to_thread(eventually, lambda: asked._pausing)
            assert asked.cancel()
            assert await code is grpc.StatusCode.CANCELLED

        web.run(cancelled())


@pytest.mark.parametrize("whole_task", [True, False])
def test_cancelling_a_call_whose_attempt_has_failed_just_now(*, whole_task: bool) -> None:
    with caller("asyncio", lambda: [refusing()]) as web:
        assert isinstance(web, AsyncCaller)

        async def cancelled() -> None:
            call = web.stub["Say"](b"", wait_for_ready=True)
            task = asyncio.ensure_future(_response(call))
            call._call.add_done_callback(lambda _: (task if whole_task else call).cancel())
            with pytest.raises(asyncio.CancelledError):
                await task
            assert call.cancelled()
            assert not call.cancel()
            assert await call.code() is grpc.StatusCode.CANCELLED

        web.run(cancelled())


def test_cancelling_a_call_that_was_answered() -> None:
    with pods(1) as service, caller("asyncio", service.source) as web:
        assert isinstance(web, AsyncCaller)

        async def answered() -> None:
            call = web.stub["Say"](b"", timeout=LONG)
            ended = asyncio.Event()
            call._call.add_done_callback(lambda _: ended.set())
            await asyncio.wait_for(ended.wait(), LONG)
            assert not call.cancel()
            assert not call.cancelled()
            assert await call.code() is grpc.StatusCode.OK
            assert await call == b"web-0"

        web.run(answered())


def test_futures_and_their_callbacks() -> None:
    gone = refusing()
    with pods(1) as service, caller("threads", lambda: [gone, service[0].peer]) as web:
        for _ in range(4):
            done, called = threading.Event(), threading.Event()
            future = web.stub["Say"].future(b"", timeout=LONG)
            future.add_done_callback(lambda found, done=done: found.done() and done.set())
            if not future.add_callback(called.set):
                called.set()
            assert future.result(LONG) == b"web-0"
            assert future.exception() is None
            assert future.traceback() is None
            assert done.wait(LONG)
            assert called.wait(LONG)
        service[0].manner = "silent"
        future = web.stub["Say"].future(b"", timeout=LONG)
        with pytest.raises(grpc.FutureTimeoutError):
            future.result(0.01)
        service[0].go.set()
        assert future.result(LONG) == b"web-0"


def test_done_callbacks_in_asyncio() -> None:
    gone = refusing()
    with pods(1) as service, caller("asyncio", lambda: [gone, service[0].peer]) as web:
        assert isinstance(web, AsyncCaller)

        async def called() -> None:
            for _ in range(4):
                call, done = web.stub["Say"](b"", timeout=LONG), asyncio.Event()
                call.add_done_callback(lambda _, done=done: done.set())
                await done.wait()
                assert call.done()
                assert await call == b"web-0"

        web.run(called())


def test_reading_and_writing_in_asyncio() -> None:
    """The first message goes to the next pod, too."""
    gone = refusing()
    with pods(1) as service, caller("asyncio", lambda: [gone, service[0].peer]) as web:
        assert isinstance(web, AsyncCaller)

        async def spoken() -> None:
            for _ in range(4):
                call = web.stub["Echo"](timeout=LONG)
                for message in b"1", b"2":
                    await call.write(message)
                    assert await call.read() == b"web-0 " + message
                await call.done_writing()
                assert await call.read() is grpc.aio.EOF
                joined = web.stub["Join"](timeout=LONG)
                await joined.write(b"1")
                await joined.write(b"2")
                await joined.done_writing()
                assert await joined == b"web-0 1 2"

        web.run(spoken())
        assert web.failures


def test_certificates_are_the_services(kind: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca", complete=True)
    certificate, key = authority.sign("web", "DNS:web-headless.prod")
    serving = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    trusting = grpc.ssl_channel_credentials(authority.ca.read_bytes())
    with pods(2, serving) as service:
        with caller(kind, service.source, credentials=trusting) as web:
            for call in web.each_kind():
                assert {call() for _ in range(2)} == {b"web-0", b"web-1"}
        with caller(kind, service.source, "other.prod:9090", credentials=trusting) as web:
            with pytest.raises(grpc.RpcError) as error:
                web.say()
            assert "not sent" in error.value.__notes__[0]
            assert service[0].executed + service[1].executed == 8
        options = [("grpc.ssl_target_name_override", "web-headless.prod")]
        with caller(kind, service.source, "other.prod:9090", credentials=trusting, options=options) as web:
            assert web.say() in {b"web-0", b"web-1"}


def least_requests(web: Any) -> Any:
    return web.least_requests()


def test_a_picker_that_counts(kind: str) -> None:
    """A lease lasts as long as its call."""
    with pods(2) as service, caller(kind, service.source, picker=least_requests) as web:
        picker = web.channel._state._picker
        for pod in service.all:
            pod.manner = "silent"
        in_flight: list[threading.Thread] = []
        for call in web.each_kind() * 2:
            thread = threading.Thread(target=call)
            thread.start()
            in_flight.append(thread)
            eventually(lambda: service.executed == len(in_flight))
        assert [pod.executed for pod in service.all] == [4, 4]
        assert sum(map(len, picker._in_flight.values())) == 8
        for pod in service.all:
            pod.go.set()
        for thread in in_flight:
            thread.join(LONG)
        eventually(lambda: not any(picker._in_flight.values()))


def test_what_is_refused_ends_the_lease(kind: str) -> None:
    with pods(1) as service, caller(kind, service.source, picker=least_requests) as web:
        picker = web.channel._state._picker
        for call in web.each_kind(credentials="none"):
            with pytest.raises((TypeError, AttributeError, grpc.aio.UsageError)):
                call()
        assert not any(picker._in_flight.values())


def test_a_picker_of_ones_own(kind: str) -> None:
    class Last:
        def pick(self) -> Any:
            return web.discovery.peers[-1]

    with pods(3) as service, caller(kind, service.source, picker=Last()) as web:
        assert {web.say() for _ in range(3)} == {b"web-2"}


def test_the_state_of_a_channel_says_whether_there_are_pods() -> None:
    with pods(1) as service, caller("threads", service.source) as web:
        grpc.channel_ready_future(web.channel).result(LONG)
        states: list[grpc.ChannelConnectivity] = []
        web.channel.subscribe(states.append)
        assert states == [READY]
        service.shown = []
        web.settle(lambda peers: not peers)
        eventually(lambda: states[-1] is CONNECTING)
        web.channel.unsubscribe(states.append)
        seen = len(states)
        service.shown = [service[0].peer]
        web.settle(lambda peers: peers)
        web.channel.subscribe(states.append)
        web.channel.close()
        called = threading.Event()
        web.discovery.on_change(lambda _: called.set())  # after those that came before it
        service.shown = []
        web.settle(lambda peers: not peers)
        assert called.wait(LONG)
        assert states[seen:] == [READY]


def test_the_state_of_a_channel_in_asyncio() -> None:
    with pods(1) as service, caller("asyncio", service.source) as web:
        assert isinstance(web, AsyncCaller)

        async def states() -> None:
            await web.channel.channel_ready()
            assert web.channel.get_state() is READY
            changed = asyncio.ensure_future(web.channel.wait_for_state_change(READY))
            service.shown = []
            await web.discovery.refresh()
            await changed
            assert web.channel.get_state() is CONNECTING

        web.run(states())


FORKED = """
import os, sys
from peerdiscover import Discovery
from peerdiscover.grpc import PodChannel

with Discovery(sys.argv[1]) as web:
    if os.fork():
        _, status = os.wait()
        sys.exit(os.waitstatus_to_exitcode(status))
    with PodChannel(web) as channel:
        assert channel.unary_unary("/pod.Pod/Say")(b"", timeout=30) == b"web-0"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_channel_is_made_after_a_fork() -> None:
    with pods(1) as service:
        name = f"static:web-0={service[0].peer.hostport}"
        command = [sys.executable, "-c", FORKED, name]
        done = subprocess.run(command, timeout=LONG, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_calls_from_many_threads() -> None:
    with pods(3) as service, caller("threads", service.source) as web:
        counts: Counter[bytes] = Counter()
        threads = [
            threading.Thread(target=lambda: counts.update(web.say() for _ in range(50))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert counts.total() == service.executed == 400


def test_a_channel_takes_a_discovery_of_its_kind() -> None:
    name: Any = "web.prod:80"
    with pytest.raises(ConfigurationError, match=r"discovery='web.prod:80': expected a Discovery; write"):
        PodChannel(name)
    with pytest.raises(ConfigurationError, match="expected a Discovery"):
        PodChannel(AsyncDiscovery(name))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="expected an AsyncDiscovery"):
        AsyncPodChannel(Discovery(name))  # type: ignore[arg-type]
