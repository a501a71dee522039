"""Calls of each kind over the pods: in turn, past pods that are gone, and to their end."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from peerdiscover import ClosedError, ConfigurationError, Discovery, NoPeersError, Peer
from peerdiscover.grpc import AsyncGrpcNoPeersError, GrpcNoPeersError, PodChannel
from tests.waiting import LONG, eventually

from ._callers import AsyncCaller, caller
from ._pods import pods, refusing, vanished


def code(error: pytest.ExceptionInfo[Any]) -> grpc.StatusCode:
    found: grpc.StatusCode = error.value.code()
    return found


def test_each_kind_goes_to_all_pods_in_turn(kind: str) -> None:
    with pods(3) as service, caller(kind, service.source) as web:
        for call in web.each_kind():
            assert Counter(call() for _ in range(6)) == {b"web-0": 2, b"web-1": 2, b"web-2": 2}
        assert web.join([b"1", b"2", b"3"]).split()[1:] == [b"1", b"2", b"3"]
        assert len(web.echo([b"1", b"2", b"3"])) == 3
        assert web.join([]) in {b"web-0", b"web-1", b"web-2"}
        assert web.failures == []


def test_each_kind_goes_past_pods_that_refuse(kind: str) -> None:
    """Whatever the method, and with the request stream whole."""
    gone = [refusing(n) for n in range(3)]
    with pods(1) as service, caller(kind, lambda: [*gone, service[0].peer]) as web:
        for call in web.each_kind():
            assert [call() for _ in range(3)] == [b"web-0"] * 3
        assert service[0].executed == 12
        assert set(web.failures) <= {peer.key for peer in gone}
        assert web.failures
        assert web.join([b"1", b"2", b"3"]) == b"web-0 1 2 3"


def test_a_pod_that_vanished_costs_one_call(kind: str) -> None:
    """While one call finds out that it is not there, others go elsewhere at once."""
    with vanished() as peer, pods(1) as service, caller(kind, lambda: [peer, service[0].peer]) as web:
        found: list[bytes] = []
        first = threading.Thread(target=lambda: found.extend(web.say() for _ in range(2)))
        first.start()
        state = web.channel._state
        eventually(lambda: peer in state.pods)
        state.pods[peer].connecting_until += LONG
        assert {web.say() for _ in range(10)} == {b"web-0"}
        assert web.failures == []
        first.join(LONG)
        assert found == [b"web-0"] * 2
        assert web.failures == ["web-vanished"]


def test_without_pods_a_call_fails_at_once(kind: str) -> None:
    with pods(1) as service, caller(kind, service.source) as web:
        service.shown = []
        web.settle(lambda peers: not peers)
        for call in web.each_kind():
            with pytest.raises(NoPeersError, match=r"web-headless.*no peers available") as error:
                call()
            assert isinstance(error.value, GrpcNoPeersError if kind == "threads" else AsyncGrpcNoPeersError)
            assert code(error) is grpc.StatusCode.UNAVAILABLE
            assert isinstance(error.value, grpc.RpcError)


def test_without_pods_a_call_in_flight_ends_with_that_error() -> None:
    """As gRPC's own do: making one raises nothing."""
    with pods(1) as service, caller("threads", service.source) as web:
        service.shown = []
        web.settle(lambda peers: not peers)
        future, called = web.stub["Say"].future(b""), threading.Event()
        assert future.done()
        assert future.code() is grpc.StatusCode.UNAVAILABLE
        future.add_done_callback(lambda _: called.set())
        assert called.is_set()
        assert isinstance(future.exception(), GrpcNoPeersError)
        assert future.trailing_metadata() == future.initial_metadata() == ()
        with pytest.raises(GrpcNoPeersError):
            next(web.stub["Count"](b""))


def test_without_pods_a_call_in_asyncio_ends_with_that_error() -> None:
    with pods(1) as service, caller("asyncio", service.source) as web:
        assert isinstance(web, AsyncCaller)
        service.shown = []
        web.settle(lambda peers: not peers)

        async def ended() -> None:
            call, called = web.stub["Say"](b""), asyncio.Event()
            assert call.done()
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert "no peers available" in await call.details()
            call.add_done_callback(lambda _: called.set())
            await called.wait()
            assert await call.trailing_metadata() == await call.initial_metadata() == grpc.aio.Metadata()
            for _ in range(2):
                with pytest.raises(AsyncGrpcNoPeersError):
                    await call
            with pytest.raises(AsyncGrpcNoPeersError):
                await web.stub["Echo"]().write(b"")

        web.run(ended())


def test_wait_for_ready_waits_for_a_pod(kind: str) -> None:
    gone = refusing()
    with pods(1) as service:
        real, service.shown = service.shown, [gone]
        with caller(kind, service.source) as web:
            for call in web.each_kind(wait_for_ready=True):
                service.shown = [gone]
                web.settle(lambda peers: gone in peers)
                web.failures.clear()
                with ThreadPoolExecutor(1) as thread:
                    found = thread.submit(call)
                    eventually(lambda: web.failures)
                    service.shown = real
                    web.refresh()
                    assert found.result(LONG) == b"web-0"


def test_wait_for_ready_ends_at_the_deadline(kind: str) -> None:
    """With the status of the last attempt, or of the deadline if that passes in an attempt."""
    with caller(kind, lambda: [refusing()]) as web:
        for call in web.each_kind(wait_for_ready=True, timeout=0.3):
            with pytest.raises(grpc.RpcError) as error:
                call()
            if code(error) is not grpc.StatusCode.DEADLINE_EXCEEDED:
                assert code(error) is grpc.StatusCode.UNAVAILABLE
                assert "not sent" in error.value.__notes__[0]
                assert error.value.__notes__[-1] == "not retried: the time has expired"


def test_wait_for_ready_ends_at_the_deadline_without_pods_too(kind: str) -> None:
    with pods(1) as service, caller(kind, service.source) as web:
        service.shown = []
        web.settle(lambda peers: not peers)
        for call in web.each_kind(wait_for_ready=True, timeout=0.1):
            with pytest.raises(NoPeersError) as error:
                call()
            assert code(error) is grpc.StatusCode.DEADLINE_EXCEEDED


def test_without_it_each_pod_is_tried_once(kind: str) -> None:
    gone = [refusing(n) for n in range(2)]
    with caller(kind, lambda: gone) as web:
        for number, call in enumerate(web.each_kind(), 1):
            with pytest.raises(grpc.RpcError) as error:
                call()
            assert code(error) is grpc.StatusCode.UNAVAILABLE
            assert "each pod was tried" in error.value.__notes__[-1]
            assert len(web.failures) == 2 * number


def test_a_call_says_who_answered_after_how_many_attempts() -> None:
    gone = refusing()
    with pods(1) as service, caller("threads", lambda: [gone, service[0].peer]) as web:
        seen: list[Any] = []
        for _ in range(2):
            _, call = web.stub["Say"].with_call(b"", timeout=LONG)
            seen.append(call.peerdiscover)
            _, call = web.stub["Join"].with_call(iter([b"1"]), timeout=LONG)
            seen.append(call.peerdiscover)
            say, join = web.stub["Say"].future, web.stub["Join"].future
            for call in say(b"", timeout=LONG), join(iter([b"1"]), timeout=LONG):
                assert call.code() is grpc.StatusCode.OK
                seen.append(call.peerdiscover)
            count, echo = web.stub["Count"], web.stub["Echo"]
            for call in count(b"", timeout=LONG), echo(iter([b"1"]), timeout=LONG):
                for _ in call:
                    assert call.peerdiscover["peer"] == service[0].peer
                seen.append(call.peerdiscover)
        check_histories(seen, service[0].peer, gone)
        service[0].manner = "silent"
        call = web.stub["Count"](b"", timeout=LONG)
        assert service[0].heard.acquire(timeout=LONG)
        assert call.peerdiscover is None
        call.cancel()


def test_a_call_says_who_answered_after_how_many_attempts_in_asyncio() -> None:
    gone = refusing()
    with pods(1) as service, caller("asyncio", lambda: [gone, service[0].peer]) as web:
        assert isinstance(web, AsyncCaller)

        async def seen() -> list[Any]:
            seen: list[Any] = []
            for _ in range(2):
                for call in web.stub["Say"](b"", timeout=LONG), web.stub["Join"]([b"1"], timeout=LONG):
                    assert call.peerdiscover is None
                    await call
                    seen.append(call.peerdiscover)
                for call in web.stub["Count"](b"", timeout=LONG), web.stub["Echo"]([b"1"], timeout=LONG):
                    async for _ in call:
                        assert call.peerdiscover["peer"] == service[0].peer
                    seen.append(call.peerdiscover)
                call = web.stub["Say"](b"", timeout=LONG)
                assert await call.code() is grpc.StatusCode.OK
                seen.append(call.peerdiscover)
            return seen

        check_histories(web.run(seen()), service[0].peer, gone)


def test_a_stream_without_a_message_is_an_answer(kind: str) -> None:
    with pods(1) as service, caller(kind, service.source) as web:
        calls: list[Any] = []
        begin = web.stub["Echo"]

        def noted(*args: Any, **options: Any) -> Any:
            calls.append(begin(*args, **options))
            return calls[-1]

        web.stub["Echo"] = noted
        assert web.echo([]) == []
        assert calls[0].peerdiscover["peer"] == service[0].peer


def check_histories(seen: list[Any], answered: Peer, gone: Peer) -> None:
    assert {history["peer"] for history in seen} == {answered}
    assert {history["attempts"] for history in seen} == {1, 2}
    for history in seen:
        assert [failed.peer for failed in history["failed"]] == [gone] * (history["attempts"] - 1)


def test_a_deadline_is_the_pods_too_and_is_no_failure(kind: str) -> None:
    with pods(1) as service, caller(kind, service.source, idempotent=lambda _: True) as web:
        service[0].manner = "silent"
        for call in web.each_kind(timeout=0.2):
            with pytest.raises(grpc.RpcError) as error:
                call()
            assert code(error) is grpc.StatusCode.DEADLINE_EXCEEDED
        service[0].go.set()
        assert service[0].executed <= 4  # on a slow machine it may pass before the pod has the call
        assert service[0].remaining is None or service[0].remaining < 0.3
        assert web.failures == []


def test_a_deadline_that_has_passed_reaches_no_pod(kind: str) -> None:
    with pods(1) as service, caller(kind, service.source) as web:
        web.say()
        for call in web.each_kind(timeout=-1):
            with pytest.raises(grpc.RpcError) as error:
                call()
            assert code(error) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert service.executed == 1
        assert web.failures == []


def test_another_status_is_the_answer(kind: str) -> None:
    with pods(2) as service, caller(kind, service.source, idempotent=lambda _: True) as web:
        web.stub["Say"] = web.channel.unary_unary("/pod.Pod/Nothing")
        with pytest.raises(grpc.RpcError) as error:
            web.say()
        assert code(error) is grpc.StatusCode.UNIMPLEMENTED
        assert not hasattr(error.value, "__notes__")
        assert web.failures == []
        assert service.executed == 0


def test_a_pod_that_joins_is_called_and_one_that_left_is_not(kind: str) -> None:
    with pods(1) as service, caller(kind, service.source) as web:
        assert web.say() == b"web-0"
        service.add()
        web.refresh()
        assert {web.say() for _ in range(2)} == {b"web-0", b"web-1"}
        service.shown = [service[1].peer]
        web.discovery.report_failure(service[0].peer, grpc.RpcError())
        web.refresh()
        assert {web.say() for _ in range(4)} == {b"web-1"}


def connections(port: int) -> int:
    """How many connections there are to a port (Linux). A row: number, local and remote address, state."""
    tables = [Path("/proc/self/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="Linux says which connections there are")
def test_a_call_on_a_pod_that_leaves_ends_in_peace_and_its_connection_after_it(kind: str) -> None:
    with pods(2) as service, caller(kind, service.source) as web:
        found: list[bytes] = []
        thread = threading.Thread(target=lambda: found.extend(web.count(b"wait")))
        thread.start()
        eventually(lambda: service.executed)
        first = next(pod for pod in service.all if pod.executed)
        assert first.heard.acquire(timeout=LONG)
        assert first.heard.acquire(timeout=LONG)
        service.shown = [pod.peer for pod in service.all if pod is not first]
        web.discovery.report_failure(first.peer, grpc.RpcError())
        web.refresh()
        assert len(web.discovery.peers) == 1
        assert connections(first.port) == 1
        for pod in service.all:
            pod.go.set()
        thread.join(LONG)
        assert found == [first.name.encode()] * 2
        assert first.executed == 1
        gc.collect()
        eventually(lambda: connections(first.port) == 0)
        assert not any(first.peer is peer for peer in web.channel._state.pods)


def test_a_pod_that_ends_gracefully_fails_no_call(kind: str) -> None:
    """GOAWAY: what is in flight ends there, and what comes goes elsewhere."""
    with pods(2) as service, caller(kind, service.source) as web:
        for _ in range(2):
            web.say()
        found: list[bytes] = []
        thread = threading.Thread(target=lambda: found.extend(web.count(b"wait")))
        thread.start()
        eventually(lambda: service.executed == 3)
        ending = next(pod for pod in service.all if pod.executed == 2)
        stopped = ending.server.stop(LONG)
        assert {web.say() for _ in range(10)} == {
            pod.name.encode() for pod in service.all if pod is not ending
        }
        ending.go.set()
        thread.join(LONG)
        assert found == [ending.name.encode()] * 2
        assert stopped.wait(LONG)


def test_a_closed_channel_says_so(kind: str) -> None:
    with pods(1) as service, caller(kind, service.source) as web:
        assert web.say() == b"web-0"
        closing = web.channel.close()
        if kind == "asyncio":
            web.run(closing)  # type: ignore[attr-defined]
        for call in web.each_kind():
            with pytest.raises(ClosedError, match="this channel was closed"):
                call()


def test_closing_ends_calls_that_wait_for_pods(kind: str) -> None:
    """Those of threads that block say that it was closed; others are cancelled."""
    with pods(1) as service, caller(kind, service.source) as web, ThreadPoolExecutor(5) as threads:
        service.shown = []
        web.settle(lambda peers: not peers)
        waiting = [threads.submit(call) for call in web.each_kind(wait_for_ready=True, timeout=None)]
        if kind == "threads":
            future = web.stub["Say"].future(b"", wait_for_ready=True)

            def ended() -> Any:
                return future.code(), future.details(), future.done()
        else:

            async def waits() -> object:
                call = web.stub["Say"](b"", wait_for_ready=True)
                return await call.code(), await call.details(), call.done()

            ended = threads.submit(web.run, waits()).result  # type: ignore[attr-defined]
        eventually(lambda: web.channel._state.budget._requests > 4.9)
        closing = web.channel.close()
        if kind == "asyncio":
            web.run(closing)  # type: ignore[attr-defined]
        status, details, done = ended()
        assert (status, done) == (grpc.StatusCode.CANCELLED, True)
        assert "this channel was closed" in details
        for number, call in enumerate(waiting):
            blocks = kind == "threads" and number in (0, 2)
            with pytest.raises(ClosedError if blocks else grpc.RpcError, match="this channel was closed"):
                call.result(LONG)


def test_closing_ends_calls_on_pods_that_left(kind: str) -> None:
    with pods(2) as service, caller(kind, service.source) as web, ThreadPoolExecutor(1) as threads:
        got: list[bytes] = []
        running = threads.submit(web.call, "Count", b"wait", into=got)
        eventually(lambda: got)
        first = next(pod for pod in service.all if pod.executed)
        service.shown = [pod.peer for pod in service.all if pod is not first]
        web.discovery.report_failure(first.peer, grpc.RpcError())
        web.refresh()
        assert len(web.discovery.peers) == 1
        (channel,) = (pod.channel for pod in web.channel._state._all_pods if pod.peer == first.peer)
        if kind == "asyncio" and not hasattr(channel, "_register_call"):
            first.go.set()
            pytest.skip("closing a channel of this gRPC does not end a stream that is being read")
        closing = web.channel.close()
        if kind == "asyncio":
            web.run(closing)  # type: ignore[attr-defined]
        assert first.cancelled.wait(LONG)
        with pytest.raises((grpc.RpcError, CancelledError)):
            running.result(LONG)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"idempotent": "Get"}, r"idempotent='Get': expected names of methods"),
        ({"idempotent": 3}, r"idempotent=3: expected names of methods"),
    ],
)
def test_what_cannot_work(options: Any, text: str) -> None:
    with Discovery("static:127.0.0.1:1") as web, pytest.raises(ConfigurationError, match=text):
        PodChannel(web, **options)


def test_a_picker_that_needs_a_key() -> None:
    with Discovery("static:127.0.0.1:1") as web, pytest.raises(ConfigurationError, match="needs no argument"):
        PodChannel(web, picker=web.rendezvous())  # type: ignore[arg-type]
