"""What httpx and httpcore do by themselves: redirects, repeats after GOAWAY, waiting for a stream."""

from __future__ import annotations

import io
import pickle
import socket
import threading
from typing import Any

import pytest

from peerdiscover import ConfigurationError, Discovery
from peerdiscover.http import Client, PodTransport
from tests.waiting import LONG

from ._flavors import web
from ._http2 import Pod2, Pods2
from ._pods import Pod, Request, pods, scripted

H2: dict[str, Any] = {"http1": False, "http2": True}


def stream(flavor: str, *parts: bytes) -> Any:
    """A body that is read once, as this flavor of client takes it."""

    async def aparts() -> Any:
        for part in parts:
            yield part

    return iter(parts) if flavor.startswith("threads") else aparts()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_redirects_are_followed(flavor: str, method: str) -> None:
    with pods(2) as service, web(flavor, service.source, client={"follow_redirects": True}) as client:
        response = client.request(method, "/moved", content=b"k" if method == "POST" else None)
        assert response.status_code == 200
        assert sorted(request.path for request in service.requests) == ["/", "/moved"]
        assert {request.body for request in service.requests} == {b"k" if method == "POST" else b""}


def test_redirects_to_elsewhere_are_refused(flavor: str) -> None:
    with pods(1) as service, web(flavor, service.source) as client:
        response = client.get("/moved")
        assert response.status_code == 307
        request = client.call(client.client.build_request, "GET", "http://other.prod/")
        with pytest.raises(ConfigurationError, match=r"other\.prod"):
            client.call(client.client.send, request)


@pytest.mark.parametrize("host", ["other", "web.prod:99"])
def test_a_url_that_is_refused_keeps_its_secrets(flavor: str, host: str) -> None:
    with pods(1) as service, web(flavor, service.source, name="web.prod:80") as client:
        with pytest.raises(ConfigurationError) as error:
            client.get("/path?key=T0KEN", host=f"http://user:PASSW0RD@{host}")
        assert str(error.value).startswith(f"http://{host}: ")
        assert "PASSW0RD" not in str(error.value)
        assert "T0KEN" not in str(error.value)


def test_what_a_redirect_leads_to_is_an_error_of_httpx(flavor: str) -> None:
    def away(_: Pod, sock: socket.socket, __: Request) -> bool:
        sock.sendall(b"HTTP/1.1 307 There\r\nlocation: http://other.prod/\r\ncontent-length: 0\r\n\r\n")
        return True

    with scripted(away) as service, web(flavor, service.source, client={"follow_redirects": True}) as client:
        with pytest.raises(client.api.HTTPError, match="is not the service") as error:
            client.get()
        assert isinstance(error.value, ConfigurationError)
        assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)


@pytest.mark.parametrize("host", ["service", "peer"])
@pytest.mark.parametrize("by", ["host", "address"])
def test_pods_redirect_to_themselves(flavor: str, host: str, by: str) -> None:
    """Under the name that they were sent, as frameworks do for a missing slash, or by their address."""

    def slash(pod: Pod, sock: socket.socket, request: Request) -> bool:
        to = request.headers["host"] if by == "host" else f"{pod.address}:{pod.port}"
        head = f"307 There\r\nlocation: http://{to}/items/" if request.path == "/items" else "200 OK"
        sock.sendall(f"HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n".encode())
        return True

    options: dict[str, Any] = {"host": host, "client": {"follow_redirects": True}}
    with scripted(slash, 2) as service, web(flavor, service.source, **options) as client:
        assert client.get("/items").status_code == 200
        assert [request.path for request in service.requests].count("/items/") == 1
        if host == "peer" or by == "address":  # it names one pod
            assert [request.path for pod in service.all for request in pod.requests] == ["/items", "/items/"]


def test_files_are_sent_again(flavor: str) -> None:
    """As httpx rewinds them for redirects: from where they stood."""
    key = {"Idempotency-Key": "k"}
    with pods(2) as service, web(flavor, service.source) as client:
        service[0].manner = "drop"
        for _ in range(2):
            file = io.BytesIO(b"file")
            assert client.post(files={"f": file}, headers=key).text.startswith("web-1")
        assert {b"file" in request.body for request in service.requests} == {True}
        assert len(service.requests) == 3
        if flavor.startswith("threads"):  # httpx takes no plain file as `content` of an asynchronous client
            client.discovery.refresh()
            for _ in range(4):
                file = io.BytesIO(b"after")
                assert client.post(content=file, headers=key).text.startswith("web-1")
            assert {request.body for request in service.requests if request.body[:2] != b"--"} == {b"after"}


def test_a_stream_is_not_sent_again_by_the_pool(flavor: str) -> None:
    """After a GOAWAY that leaves it out the pool sends a request anew by itself: here without its body."""
    with Pods2(2) as service, web(flavor, service.source, **H2) as client:
        for _ in range(2):
            client.post()  # an earlier stream on both lines
        service.misbehave("goaway", once=True)
        for _ in range(2):
            with pytest.raises(client.api.RemoteProtocolError, match="a stream, which cannot be sent again"):
                client.post(content=stream(flavor, b"x"))
        assert client.post(content=stream(flavor, b"x")).status_code == 200
        assert sorted(request.body for request in service.requests if request.done) == [b"", b"", b"x"]
        assert client.discovery.status.next_refresh > 100


@pytest.mark.parametrize("host", ["service", "peer"])
def test_a_stream_that_the_pool_began_again_in_vain_is_gone(flavor: str, host: str) -> None:
    """GOAWAY, and nobody listens any more: not sent, and yet not to be sent to another pod."""
    with Pods2(2) as service, web(flavor, service.source, host=host, **H2) as client:
        for _ in range(2):
            client.post()
        service.misbehave("goaway", once=True)
        for pod in service.all:
            pod.refuse()
        for _ in range(2):
            with pytest.raises(client.api.TransportError, match="a stream, which cannot be sent again"):
                client.post(content=stream(flavor, b"x"))
        assert [request for request in service.requests if request.done and request.path == "/"][2:] == []


def test_a_pod_that_does_not_speak_http2_is_to_blame_itself(flavor: str) -> None:
    with pods(1) as plain, Pods2(1) as service, web(flavor, service.source, **H2) as client:
        service.shown = [*plain.all, *service.all]
        plain[0].name = "web-1"
        client.refresh()
        assert [client.get().text[:5] for _ in range(4)] == ["web-0"] * 4
        assert "web-1" in client.discovery.explain()
        assert "in a row" in client.discovery.explain()


def test_who_waits_for_a_stream_of_a_line_that_breaks_was_not_sent(flavor: str) -> None:
    with Pods2(2) as service, web(flavor, service.source, **H2) as client:
        one, two = service.all
        assert isinstance(one, Pod2)
        one.streams = 1
        service.shown = [one]
        client.refresh()
        one.manner = "slow"
        statuses: list[Any] = []

        def post() -> None:
            try:
                statuses.append(client.post().status_code)
            except client.api.TransportError as error:
                statuses.append(error)

        threads = [threading.Thread(target=post) for _ in range(5)]
        for thread in threads:
            thread.start()
        assert one.heard.acquire(timeout=LONG)
        service.shown = [one, two]
        client.refresh()
        one.stop()
        for thread in threads:
            thread.join(LONG)
        assert statuses.count(200) == 4
        assert len(one.requests) == 1
        [error] = [status for status in statuses if status != 200]
        assert "not idempotent" in str(error)  # that one was sent


def test_arguments_that_cannot_work_are_refused_at_once() -> None:
    with pods(1) as service, Discovery("web.prod", source=service.source) as discovery:
        for picker in discovery.rendezvous(), discovery.ordinal, "web-0":
            with pytest.raises(ConfigurationError, match="needs no argument"):
                PodTransport(discovery, picker=picker)  # type: ignore[arg-type]
        PodTransport(discovery, picker=discovery.least_requests()).close()  # type: ignore[arg-type]
        with (
            Client("web.prod", discovery=discovery) as client,
            pytest.raises(ConfigurationError, match="'web-0'"),
        ):
            client.get("/", extensions={"peer": "web-0"})


def test_names_that_are_not_ascii(flavor: str) -> None:
    with (
        pods(1) as service,
        web(flavor, service.source, name="xn--bcher-kva.example.:80") as client,
    ):
        assert client.get(host="http://xn--bcher-kva.example.").status_code == 200
        assert client.get(host="http://b\u00fccher.example.").status_code == 200
