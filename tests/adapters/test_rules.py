"""What goes to another pod, with either library: the rules are those of `peerdiscover.http`."""

from __future__ import annotations

import dataclasses
import io
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from peerdiscover import NoPeersError
from tests.http._flavors import SLOW
from tests.http._pods import Pod, Request, pods, scripted
from tests.waiting import LONG

from ._sessions import web


def test_requests_take_turns_and_keep_url_host_and_connections(library: str) -> None:
    with pods() as service, web(library, service.source) as client:
        answers = [client.get(f"/{n}?a=b") for n in range(6)]
    assert [answer.status for answer in answers] == [200] * 6
    first = [answer.history["peer"].key for answer in answers]
    assert first[:3] == first[3:]
    assert sorted(first[:3]) == ["web-0", "web-1", "web-2"]
    assert [answer.text for answer in answers] == [f"{key} web.prod" for key in first]
    assert [answer.url for answer in answers] == [f"http://web.prod/{n}?a=b" for n in range(6)]
    assert answers[0].history["attempts"] == 1
    assert answers[0].history["failed"] == ()
    assert [pod.accepted for pod in service.all] == [1, 1, 1]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refused_goes_elsewhere_whatever_the_method(library: str, method: str) -> None:
    with pods() as service, web(library, service.source, attempts=1, budget=0) as client:
        service[1].stop()
        answers = [client.request(method, headers={"id": str(n)}, data=b"x") for n in range(9)]
    assert [answer.status for answer in answers] == [200] * 9
    rescued = [answer for answer in answers if len(answer.pods) > 1]
    assert [answer.pods[0] for answer in rescued] == ["web-1"]  # once: it is ejected
    assert set(service.executed().values()) == {1}
    (tried,) = rescued[0].history["failed"]
    assert not tried.sent
    assert "refused" in tried.what or "Connect call failed" in tried.what


@pytest.mark.parametrize("manner", ["drop", "silent"])
def test_a_get_without_an_answer_goes_elsewhere(library: str, manner: Any) -> None:
    timeout = 1 if manner == "silent" else LONG
    with pods() as service, web(library, service.source, attempt_timeout=timeout) as client:
        service[0].manner = manner
        answers = [client.get(headers={"id": str(n)}) for n in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    (rescued,) = (answer for answer in answers if len(answer.pods) > 1)
    (tried,) = rescued.history["failed"]
    assert tried.sent
    assert tried.peer.key == "web-0"
    assert sorted(service.executed().values()) == [1, 1, 2]


@pytest.mark.parametrize("kept", [False, True])
def test_a_pod_that_does_not_read_a_large_body(library: str, kept: bool) -> None:
    def answer(pod: Pod, sock: socket.socket, _: Request) -> bool:
        sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + pod.name.encode())
        if pod.name == "web-0":
            pod.go.wait()  # and reads no more
            return False
        return True

    with scripted(answer, 2) as service, web(library, service.source, attempt_timeout=1) as client:
        if kept:
            assert {client.get().text for _ in range(2)} == {"web-0", "web-1"}
        else:
            service[0].manner = "deaf"
        big = b"x" * 20_000_000  # more than two kernels take
        answers = [client.request("PUT", data=io.BytesIO(big)) for _ in range(2)]
        # Whether the other one was a probe of web-0, on a new connection, is a matter of time.
        assert ["web-0", "web-1"] in [answer.pods for answer in answers]


def test_a_post_without_an_answer_is_not_sent_again(library: str) -> None:
    with pods(2) as service, web(library, service.source) as client:
        service.manner("drop")
        with pytest.raises(client.error, match="not idempotent") as error:
            client.post(data=b"x", headers={"id": "1"})
        assert service.executed() == {"1": 1}
    (note,) = error.value.__notes__
    assert note.startswith("attempt 1: Peer(web-")
    assert note.endswith("s, sent")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("POST", {"headers": {"Idempotency-Key": "k"}}),
        ("PATCH", {"headers": {"idempotency-key": "k"}, "json": {"a": 1}}),
        ("PUT", {"data": b"x"}),
        ("PUT", {"data": {"a": "b"}}),
        ("DELETE", {}),
    ],
)
def test_what_is_idempotent_is_sent_again(library: str, method: str, options: dict[str, Any]) -> None:
    with pods(2) as service, web(library, service.source) as client:
        service[0].manner = "drop"
        for _ in range(2):
            assert client.request(method, **options).text.startswith("web-1")
        bodies = {request.body for request in service.requests}
    assert len(service[0].requests) == 1
    assert len(bodies) == 1  # the whole body, both times


def test_a_request_is_marked(library: str) -> None:
    def marked(request: Any) -> bool | None:
        assert str(request.url).startswith("http://web.prod/")
        return {"/yes": True, "/no": False}.get(
            request.path_url if library == "requests" else request.url.path
        )

    with pods(2) as service, web(library, service.source, idempotent=marked) as client:
        service[0].manner = "drop"
        for _ in range(2):
            assert client.post("/yes").status == 200
        service.manner("drop")
        for method, path in ("GET", "/no"), ("POST", "/other"):
            with pytest.raises(client.error, match="not idempotent"):
                client.request(method, path)


def test_a_file_is_sent_again_from_where_it_stood(library: str) -> None:
    with pods(2) as service, web(library, service.source) as client:
        service[0].manner = "drop"
        for _ in range(2):
            file = io.BytesIO(b"head body")
            file.seek(5)
            assert client.request("PUT", data=file).text.startswith("web-1")
        bodies = {request.body for request in service.requests}
    assert bodies == {b"body"}
    assert len(service[0].requests) == 1


def test_a_form_with_a_file_is_sent_again(library: str) -> None:
    options: dict[str, Any] = {"files": {"f": ("name", b"content")}}
    with pods(2) as service, web(library, service.source) as client:
        service[0].manner = "drop"
        for _ in range(2):
            if library == "aiohttp":
                options = {"data": {"f": io.BytesIO(b"content")}}
            assert client.request("PUT", **options).text.startswith("web-1")
        assert all(b"content" in request.body for request in service.requests)
    assert len(service[0].requests) == 1


def test_a_stream_is_sent_once(library: str) -> None:
    def threads() -> Iterator[bytes]:
        yield b"a"
        yield b"b"

    async def tasks() -> AsyncIterator[bytes]:
        for part in threads():
            yield part

    with pods(2) as service, web(library, service.source) as client:
        stream = threads if library == "requests" else tasks
        service[0].stop()
        for _ in range(2):  # never sent, so it is untouched
            assert client.request("PUT", data=stream()).status == 200
        assert {request.body for request in service.requests} == {b"ab"}
        service.manner("drop")
        with pytest.raises(client.error, match="a stream, which cannot be sent again"):
            client.request("PUT", data=stream())
        assert len(service.requests) == 3


def test_the_limit_of_attempts_is_ours_alone(library: str) -> None:
    """aiohttp sends idempotent requests again by itself; not these."""
    with pods() as service, web(library, service.source, attempts=2) as client:
        service.manner("drop")
        with pytest.raises(client.error, match="the limit is 2 attempts"):
            client.get()
        assert len(service.requests) == 2


def test_the_budget(library: str) -> None:
    with pods() as service, web(library, service.source, budget=0) as client:
        service.manner("drop")
        with pytest.raises(client.error, match="the retry budget is used up"):
            client.get()
        assert len(service.requests) == 1


def test_a_response_that_breaks_off_is_never_had_again(library: str) -> None:
    with pods() as service, web(library, service.source) as client:
        service[0].manner = "half"
        broken = []
        for _ in range(6):
            try:
                client.get()
            except client.error as error:
                broken.append(f"{error} {getattr(error, '__notes__', '')}")
        assert len(broken) == 1  # it is reported, and so ejected
        assert "in the middle of the response of Peer(web-0" in broken[0]
        assert len(service.requests) == 6


def test_503(library: str) -> None:
    with pods(2) as service:
        service[0].manner = "busy"
        with web(library, service.source) as client:
            assert {client.get().status for _ in range(2)} == {200, 503}
        with web(library, service.source, retry_503=True) as client:
            assert [client.get().status for _ in range(4)] == [200] * 4
            assert {client.post().status for _ in range(2)} == {200, 503}
            service.manner("busy")
            assert client.get().status == 503


def test_a_kept_connection_that_a_pod_closed_is_not_written_to(library: str) -> None:
    with pods(1) as service, web(library, service.source) as client:
        service.manner("bye")
        for n in range(20):
            assert client.post(headers={"id": str(n)}, data=b"x").status == 200
            assert service[0].ended.acquire(timeout=LONG)
        assert set(service.executed().values()) == {1}


def test_redirects_go_over_the_pods(library: str) -> None:
    with pods() as service, web(library, service.source) as client:
        answer = client.post("/moved", data=b"x")
        assert answer.url == "http://web.prod/"
        assert answer.status == 200
        assert [(request.path, request.body) for request in service.requests].count(("/", b"x")) == 1


def test_no_pod_can_be_reached(library: str) -> None:
    with pods(1) as service, web(library, service.source, timeout=0.3) as client:
        service[0].stop()
        with pytest.raises(client.error, match="the time has expired"):
            client.get()


def test_there_are_no_pods(library: str) -> None:
    policy = dataclasses.replace(SLOW, on_empty="accept")
    with pods(1) as service, web(library, service.source, timeout=0.3, policy=policy) as client:
        service.shown = []
        client.refresh()
        with pytest.raises(NoPeersError, match=r"waited \d") as error:
            client.get()
        assert isinstance(error.value, client.error)


def test_all_refuse_until_one_is_back(library: str) -> None:
    with pods(2) as service, web(library, service.source) as client:
        for pod in service.all:
            pod.stop()
        timer = threading.Timer(0.3, service[1].start)
        timer.start()
        answer = client.post(data=b"x")
        timer.join()
    assert answer.pods[-1] == "web-1"
    assert len(answer.pods) > 2
