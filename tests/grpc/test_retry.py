"""What is called again, and what is not: never twice what may have been processed, unless it may be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from peerdiscover import Discovery
from peerdiscover.grpc import GrpcNoPeersError
from peerdiscover.grpc._dispatch import Attempt, Dispatch, classify
from peerdiscover.grpc._requests import AsyncRequests, Requests, RequestStream
from peerdiscover.grpc._state import ChannelState
from peerdiscover.http._retry import AttemptOutcome
from tests.waiting import LONG, eventually

from ._callers import caller
from ._pods import ELSEWHERE, Pod, Pods, pods, refusing

REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: {}: Failed to connect to remote host: refused"
)


@pytest.mark.parametrize(
    ("details", "outcome"),
    [
        (REFUSED.format("ipv4:10.0.0.1:80"), AttemptOutcome.UNSENT),
        (REFUSED.format("ipv4:10.0.0.1:8080"), AttemptOutcome.MAYBE_PROCESSED),
        (REFUSED.format("ipv4:210.0.0.1:80"), AttemptOutcome.MAYBE_PROCESSED),
        ("I said: " + REFUSED.format("ipv4:10.0.0.1:80"), AttemptOutcome.MAYBE_PROCESSED),
        ("Stream removed (Socket closed)", AttemptOutcome.MAYBE_PROCESSED),
        ("", AttemptOutcome.MAYBE_PROCESSED),
        (None, AttemptOutcome.MAYBE_PROCESSED),
    ],
)
def test_what_unavailable_means(details: str | None, outcome: AttemptOutcome) -> None:
    assert classify(details, "ipv4:10.0.0.1:80") is outcome


def test_what_a_pod_may_have_processed_is_not_called_again(kind: str) -> None:
    """Though the pod passes on words that gRPC has for what was not sent."""
    with pods(2) as service, caller(kind, service.source) as web:
        for pod in service.all:
            pod.manner = "unavailable"
        for number, call in enumerate(web.each_kind(), 1):
            with pytest.raises(grpc.RpcError) as error:
                call()
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
            assert error.value.details() == ELSEWHERE
            first, last = error.value.__notes__
            assert first.startswith("attempt 1: Peer(web-")
            assert first.endswith(" s, sent")
            assert last == "not retried: it may have been processed, and is not idempotent"
            assert service.executed == len(web.failures) == number


def test_notes_show_what_a_pod_says_on_one_short_line(kind: str) -> None:
    with pods(1) as service, caller(kind, service.source) as web:
        service.all[0].manner = "unavailable"
        service.all[0].details = "\x1b]0;title\x07\nattempt 2: answered" + "x" * 2_000
        with pytest.raises(grpc.RpcError) as error:
            web.say(b"x")
        for note in error.value.__notes__:
            assert note.isprintable()
            assert len(note) < 400


@pytest.mark.parametrize(
    "idempotent",
    [
        ("Say", "Count"),
        ["/pod.Pod/Say", "/pod.Pod/Count"],
        lambda name: name in {"/pod.Pod/Say", "/pod.Pod/Count"},
    ],
)
def test_what_is_idempotent_is_called_again(
    kind: str, idempotent: tuple[str, ...] | Callable[[str], bool]
) -> None:
    with pods(2) as service, caller(kind, service.source, idempotent=idempotent) as web:
        service[0].manner = "unavailable"
        for call in web.each_kind()[:2]:
            for _ in range(4):
                assert call() == b"web-1"
        assert service[0].executed == len(web.failures) >= 1
        service[1].manner = "unavailable"
        with pytest.raises(grpc.RpcError) as error:
            web.join([b"1"])
        assert error.value.__notes__[-1] == "not retried: it may have been processed, and is not idempotent"


def test_a_request_stream_that_was_sent_is_not_called_again(kind: str) -> None:
    with pods(2) as service, caller(kind, service.source, idempotent=lambda _: True) as web:
        for pod in service.all:
            pod.manner = "unavailable"
        for number, call in enumerate(web.each_kind()[2:], 1):
            with pytest.raises(grpc.RpcError) as error:
                call()
            assert (
                error.value.__notes__[-1] == "not retried: its body is a stream, which cannot be sent again"
            )
            assert service.executed == number


def test_at_most_three_pods_may_have_processed_a_call(kind: str) -> None:
    with pods(5) as service, caller(kind, service.source, idempotent=("Say",)) as web:
        for pod in service.all:
            pod.manner = "unavailable"
        with pytest.raises(grpc.RpcError) as error:
            web.say()
        assert error.value.__notes__[-1] == "not retried: the limit is 3 attempts"
        assert service.executed == 3
        assert len({note.split(",")[0] for note in error.value.__notes__}) == 4


def test_a_service_that_fails_gets_little_more_than_its_load() -> None:
    """Of fifty calls a fifth, and ten besides; the next one is no more."""
    with Discovery("static:10.0.0.1:80,10.0.0.2:80") as web:
        state = ChannelState(web, lambda _: None, None, ("Say",), GrpcNoPeersError)
        again, error = 0, grpc.RpcError()
        for _ in range(51):
            dispatch = Dispatch(state, "/pod.Pod/Say", None, None, None, 0.0)
            attempt = dispatch.next(0.0)
            assert isinstance(attempt, Attempt)
            error = grpc.RpcError()
            again += dispatch.ended(attempt, error, grpc.StatusCode.UNAVAILABLE, "gone", 0.0)
        assert again == 20
        assert error.__notes__[-1] == "not retried: the retry budget is used up"


def begin(service: Pods, call: Callable[[], object]) -> tuple[Future[object], Pod]:
    """A call in a thread of its own, and the pod that has it."""
    threads = ThreadPoolExecutor(1)
    before = {pod: pod.executed for pod in service.all}
    running = threads.submit(call)
    threads.shutdown(wait=False)
    eventually(lambda: any(pod.executed != n for pod, n in before.items()))
    return running, next(pod for pod, n in before.items() if pod.executed != n)


def test_a_pod_that_ends_in_a_call(kind: str) -> None:
    with pods(2) as service, caller(kind, service.source) as web:
        for pod in service.all:
            pod.manner = "silent"
        running, pod = begin(service, web.say)
        pod.end()
        with pytest.raises(grpc.RpcError) as error:
            running.result(LONG)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE
        assert error.value.__notes__[-1] == "not retried: it may have been processed, and is not idempotent"
        assert service.executed == 1
        (other,) = (one for one in service.all if one is not pod)
        other.manner = "ok"
        assert {web.say() for _ in range(4)} == {other.name.encode()}


@pytest.mark.parametrize("method", [lambda web: web.say, lambda web: lambda: web.count()[0]])
def test_a_pod_that_ends_in_an_idempotent_call(kind: str, method: Callable[[Any], Any]) -> None:
    with pods(2) as service, caller(kind, service.source, idempotent=("Say", "Count")) as web:
        for pod in service.all:
            pod.manner = "silent"
        running, pod = begin(service, method(web))
        (other,) = (one for one in service.all if one is not pod)
        other.manner = "ok"
        pod.end()
        assert running.result(LONG) == other.name.encode()
        assert service.executed == 2


def test_a_response_that_broke_off_is_not_called_again(kind: str) -> None:
    """A part of it was given to the caller."""
    with pods(2) as service, caller(kind, service.source, idempotent=lambda _: True) as web:
        got: list[bytes] = []
        running, pod = begin(service, lambda: web.call("Count", b"wait", into=got))
        eventually(lambda: got)
        pod.end()
        with pytest.raises(grpc.RpcError) as error:
            running.result(LONG)
        assert got == [pod.name.encode()]
        assert error.value.__notes__[-1] == "not retried: a part of the response was received"
        assert service.executed == 1
        assert web.failures == [pod.name]


def test_a_request_stream_that_waits_begins_anew_on_the_next_pod(kind: str) -> None:
    """gRPC waited for its first message when the attempt on a pod that is gone ended."""
    gone = refusing()
    with pods(1) as service, caller(kind, lambda: [gone, service[0].peer]) as web:
        first = threading.Event()

        def requests() -> Iterator[bytes]:
            assert first.wait(LONG)
            yield b"1"
            yield b"2"

        async def awaited() -> AsyncIterator[bytes]:
            assert await asyncio.to_thread(first.wait, LONG)
            yield b"1"
            yield b"2"

        for _ in range(2):
            stream = requests if kind == "threads" else awaited
            running, pod = begin(service, lambda: web.call("Echo", stream()))  # noqa: B023 - it is called there
            assert pod is service[0]
            first.set()
            assert running.result(LONG) == [b"web-0 1", b"web-0 2"]
            first.clear()
        assert web.failures


class Consumed(RequestStream):
    consumed = True


@pytest.mark.parametrize(("requests", "again"), [(None, True), (RequestStream(), True), (Consumed(), False)])
def test_a_call_that_a_pod_refused_and_that_could_not_connect_then(
    requests: RequestStream | None, again: bool
) -> None:
    """gRPC sent it, the pod said that it did not process it, and gRPC could not connect anew."""
    with Discovery("static:10.0.0.1:80,10.0.0.2:80") as web:
        state = ChannelState(web, lambda _: None, None, (), GrpcNoPeersError)
        dispatch = Dispatch(state, "/pod.Pod/Say", None, None, requests, 0.0)
        attempt = dispatch.next(0.0)
        assert isinstance(attempt, Attempt)
        error, details = grpc.RpcError(), REFUSED.format(attempt.pod.target)
        assert dispatch.ended(attempt, error, grpc.StatusCode.UNAVAILABLE, details, 0.0) is again
        if not again:
            assert error.__notes__[-1] == "not retried: its body is a stream, which cannot be sent again"


def test_a_request_stream_begins_anew_until_its_second_message_was_asked_for() -> None:
    stream = Requests([b"1", b"2"])
    for _ in range(2):
        assert next(stream.attempt()) == b"1"
        assert not stream.consumed
    assert list(stream.attempt()) == [b"1", b"2"]
    assert stream.consumed


def test_a_request_stream_begins_anew_in_asyncio() -> None:
    async def begun() -> None:
        stream = AsyncRequests([b"1", b"2"])
        for _ in range(2):
            attempt = stream.attempt()
            assert attempt is not None
            assert await anext(attempt) == b"1"
            assert not stream.consumed
        attempt = stream.attempt()
        assert attempt is not None
        assert [request async for request in attempt] == [b"1", b"2"]
        assert stream.consumed

    asyncio.run(begun())
