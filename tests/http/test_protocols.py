"""TLS with a CA of the test's own, and HTTP/2 with servers that refuse in each manner that it has."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from tests.tools.certificates import Authority
from tests.waiting import LONG

from ._flavors import web
from ._http2 import Pod2, Pods2
from ._pods import pods
from .test_connections import stream


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "a CA of our own", complete=True)


def server(authority: Authority, name: str, *names: str) -> ssl.SSLContext:
    certificate, key = authority.sign(name, ",".join(f"DNS:{n}" for n in names))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.fixture(scope="module")
def of_the_service(authority: Authority) -> ssl.SSLContext:
    return server(authority, "service", "web.prod", "web.prod.svc.cluster.local")


@pytest.fixture(scope="module")
def of_the_pods(authority: Authority) -> ssl.SSLContext:
    return server(authority, "pods", "*.web.prod.svc")


def trusting(ca: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


SECURE = "https://web.prod"


def test_certificates_for_the_service(
    flavor: str, authority: Authority, of_the_service: ssl.SSLContext
) -> None:
    with (
        pods(3, of_the_service) as service,
        web(flavor, service.source, verify=trusting(authority.ca)) as client,
    ):
        texts = {client.get(host=SECURE).text for _ in range(6)}
        assert texts == {f"web-{i} web.prod" for i in range(3)}
        assert [pod.accepted for pod in service.all] == [1, 1, 1]
        service[0].stop()
        assert [client.post(host=SECURE).status_code for _ in range(4)] == [200] * 4


def test_certificates_for_the_pods(flavor: str, authority: Authority, of_the_pods: ssl.SSLContext) -> None:
    verify = trusting(authority.ca)
    with pods(2, of_the_pods) as service:
        with web(flavor, service.source, verify=verify, host="peer") as client:
            assert client.get(host=SECURE).text.startswith("web-")
        with web(flavor, service.source, verify=verify, client={"timeout": 2}) as client:
            with pytest.raises(client.api.ConnectError, match=r"[Hh]ostname mismatch"):
                client.get(host=SECURE)
            assert not service.requests[1:]


def test_a_certificate_of_a_stranger(flavor: str, of_the_service: ssl.SSLContext, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger", complete=True)
    with (
        pods(2, of_the_service) as service,
        web(flavor, service.source, verify=trusting(stranger.ca), client={"timeout": 60}) as client,
    ):
        began = time.monotonic()
        with pytest.raises(client.api.ConnectError, match=r"CERTIFICATE_VERIFY_FAILED.*2 attempts.*not fix"):
            client.post(host=SECURE)
        assert time.monotonic() - began < 60  # each pod once, and not for all the time there is
        assert not service.requests


def test_one_of_the_certificates_is_a_strangers(
    flavor: str, authority: Authority, of_the_service: ssl.SSLContext, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger", complete=True)
    with pods(2, of_the_service) as service, pods(1, server(stranger, "strange", "web.prod")) as strange:
        strange[0].name = "web-9"
        service.shown = [*service.all, *strange.all]
        with web(flavor, service.source, verify=trusting(authority.ca)) as client:
            assert [client.post(host=SECURE).status_code for _ in range(6)] == [200] * 6


def test_a_pod_that_does_not_shake_hands(
    flavor: str, authority: Authority, of_the_service: ssl.SSLContext
) -> None:
    verify = trusting(authority.ca)
    with (
        pods(2, of_the_service) as service,
        web(flavor, service.source, verify=verify, connect_timeout=1) as client,
    ):
        service[0].manner = "deaf"
        began = time.monotonic()
        assert [client.post(host=SECURE).text[:5] for _ in range(3)] == ["web-1"] * 3
        assert time.monotonic() - began < LONG
        service[0].go.set()


# HTTP/2

H2: dict[str, Any] = {"http1": False, "http2": True}  # known beforehand: in the clear nothing is negotiated


def test_http2(flavor: str) -> None:
    with Pods2(3) as service, web(flavor, service.source, **H2) as client:
        responses = [client.post(content=b"x" * n, headers={"id": str(n)}) for n in range(6)]
        assert {response.http_version for response in responses} == {"HTTP/2"}
        assert {response.text for response in responses} == {f"web-{i} web.prod" for i in range(3)}
        assert [pod.accepted for pod in service.all] == [1, 1, 1]
        assert sorted(request.body for request in service.requests) == [b"x" * n for n in range(6)]


def test_http2_behind_tls(flavor: str, authority: Authority) -> None:
    context = server(authority, "two", "web.prod")
    with (
        Pods2(2, context) as service,
        web(flavor, service.source, verify=trusting(authority.ca), http2=True) as client,
    ):
        assert {client.get(host=SECURE).http_version for _ in range(4)} == {"HTTP/2"}
        service[0].stop()
        assert [client.post(host=SECURE).text[:5] for _ in range(4)] == ["web-1"] * 4


@pytest.mark.parametrize("manner", ["refused stream", "goaway none", "goaway"])
def test_what_http2_refuses_goes_elsewhere_whatever_the_method(flavor: str, manner: Any) -> None:
    with Pods2(2) as service, web(flavor, service.source, **H2) as client:
        for _ in range(2):
            client.post()  # a stream before it, on both pods
        service.misbehave(manner, once=True)
        for n in range(4):
            response = client.post(content=b"x", headers={"id": str(n)})
            assert response.status_code == 200
        done = [request.headers["id"] for request in service.requests if request.done and request.body]
        assert sorted(done) == ["0", "1", "2", "3"]
        assert client.discovery.status.next_refresh > 100  # that is no failure of the pod


def test_a_stream_that_http2_refused_cannot_be_sent_again(flavor: str) -> None:
    async def aparts() -> Any:
        yield b"x"

    with Pods2(2) as service, web(flavor, service.source, **H2) as client:
        service.misbehave("refused stream")
        body = iter([b"x"]) if flavor.startswith("threads") else aparts()
        with pytest.raises(client.api.RemoteProtocolError, match="a stream, which cannot be sent again"):
            client.post(content=body)
        assert len(service.requests) == 1


@pytest.mark.parametrize("manner", ["reset", "goaway all", "drop"])
def test_what_http2_may_have_processed_is_sent_once(flavor: str, manner: Any) -> None:
    with Pods2(2) as service, web(flavor, service.source, **H2) as client:
        service.misbehave(manner)
        with pytest.raises(client.api.RemoteProtocolError, match="not idempotent"):
            client.post(headers={"id": "1"})
        assert service.executed() == {"1": 1}
        with pytest.raises(client.api.RemoteProtocolError, match=r"limit is 3 attempts|time has expired"):
            client.request("PUT", headers={"id": "2"})
        assert service.executed() == {"1": 1, "2": 3}


def test_a_pod_of_http2_that_is_gone(flavor: str) -> None:
    """A kept line that ended, and a pod that refuses a new one: the request was never sent."""
    with Pods2(2) as service, web(flavor, service.source, **H2) as client:
        for _ in range(4):
            client.post()
        service[0].stop()
        assert [client.request("PUT").text[:5] for _ in range(4)] == ["web-1"] * 4


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="only Linux tells that the pod has closed")
def test_what_is_read_of_a_closed_line_of_http2_is_whole(flavor: str) -> None:
    """A request that finds the line closed takes another one, and nothing from the responses on it."""
    with Pods2(1) as service, web(flavor, service.source, **H2) as client:
        client.get()
        service.misbehave("bye", once=True)
        _, read, _ = stream(client, flavor)
        assert service[0].ended.acquire(timeout=LONG)
        assert client.post().text == "web-0 web.prod"
        assert read() == b"web-0 web.prod"
        assert service[0].accepted == 2


def test_a_pod_of_http2_that_goes_away_and_refuses(flavor: str) -> None:
    """The pool dials anew for what was not processed, and is refused: the request was never sent."""
    with Pods2(2) as service, web(flavor, service.source, **H2) as client:
        for _ in range(4):
            client.post()
        service[0].refuse()
        first = service[0]
        assert isinstance(first, Pod2)
        first.manner2 = "goaway"
        texts = [client.post(content=b"x", headers={"id": str(n)}).text for n in range(4)]
        assert [text[:5] for text in texts] == ["web-1"] * 4
        done = [request.headers["id"] for request in service.requests if request.done and request.body]
        assert sorted(done) == ["0", "1", "2", "3"]
