"""Connections: their names and certificates, pods that leave, what is in flight, and what waits."""

from __future__ import annotations

import gc
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests

from tests.http._pods import Pod, Pods, Request, pods, scripted
from tests.http.test_local_errors import rubbish
from tests.sources.kubernetes.test_drivers import drips
from tests.tools.certificates import Authority
from tests.waiting import LONG, eventually

from ._sessions import SECURE, Web, web


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


def test_certificates_for_the_service(
    library: str, authority: Authority, of_the_service: ssl.SSLContext
) -> None:
    with (
        pods(3, of_the_service) as service,
        web(library, service.source, verify=str(authority.ca)) as client,
    ):
        texts = {client.get(host=SECURE).text for _ in range(6)}
        assert texts == {f"web-{i} web.prod" for i in range(3)}
        assert [pod.accepted for pod in service.all] == [1, 1, 1]
        service[0].stop()
        assert [client.post(host=SECURE).status for _ in range(4)] == [200] * 4


def test_certificates_for_the_pods(library: str, authority: Authority, of_the_pods: ssl.SSLContext) -> None:
    with pods(2, of_the_pods) as service:
        with web(library, service.source, verify=str(authority.ca), host="peer") as client:
            answer = client.get(host=SECURE)
            key = answer.history["peer"].key
            assert answer.text == f"{key} {key}.web.prod.svc:{answer.history['peer'].port}"
            assert answer.url == "https://web.prod/"
        with (
            web(library, service.source, verify=str(authority.ca)) as client,
            pytest.raises(client.error, match="waiting does not fix certificates"),
        ):
            client.post(host=SECURE)
        assert len(service.requests) == 1


def test_a_pod_that_does_not_speak_tls(library: str, authority: Authority) -> None:
    with (
        pods(2) as service,
        web(library, service.source, verify=str(authority.ca)) as client,
        pytest.raises(client.error, match="the pods do not speak TLS"),
    ):
        client.get(host=SECURE)


def test_a_list_of_addresses_has_pods_names(library: str) -> None:
    with pods(2) as service:
        name = "static:" + ",".join(pod.text for pod in service.all)
        with web(library, None, name=name) as client:
            texts = {client.get(host="http://static").text for _ in range(4)}
            assert texts == {f"{pod.name} {pod.address}:{pod.port}" for pod in service.all}
            assert client.get(host="http://localhost").text.endswith(" localhost")
            pod = client.discovery.peers[1]  # a URL that names a pod goes there
            assert client.get(host=pod.url("")).text.startswith(f"{pod.key} ")
            assert client.get(host=pod.url("")).text.startswith(f"{pod.key} ")


def test_addresses_of_ipv6(library: str) -> None:
    def answer(sock: socket.socket) -> None:
        connection, _ = sock.accept()
        with connection:
            host = connection.recv(65536).partition(b"\r\nHost: ")[2].partition(b"\r\n")[0]
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(host), host))

    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        port = listener.getsockname()[1]
        with web(library, None, name=f"static:[::1]:{port}") as client:
            assert client.get("/a?b=c%26d", host="http://static").text == f"[::1]:{port}"
        thread.join(LONG)


def leave(service: Pods, client: Web, n: int) -> None:
    """The first n pods leave the set."""
    service.shown = service.all[n:]
    client.refresh()


def test_idle_connections_of_a_pod_that_left_end_at_once(library: str) -> None:
    with pods() as service, web(library, service.source) as client:
        for _ in range(3):
            client.get()
        leave(service, client, 1)
        assert service[0].ended.acquire(timeout=LONG)  # though no request was sent since
        assert {client.get().text[:5] for _ in range(4)} == {"web-1", "web-2"}
        assert len(service[0].requests) == 1
        assert [pod.accepted for pod in service.all] == [1, 1, 1]


def test_what_is_in_flight_on_a_pod_that_left_goes_on(library: str) -> None:
    with pods(2) as service, web(library, service.source) as client:
        service.manner("slow")
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(client.post(data=b"x")))
        thread.start()
        eventually(lambda: service.requests)
        (left,) = (pod for pod in service.all if pod.requests)
        service.shown = [pod for pod in service.all if pod is not left]
        client.refresh()
        left.go.set()
        thread.join(LONG)
        assert answers[0].text == f"{left.name} web.prod"
        assert left.ended.acquire(timeout=LONG)  # and then its connection ends


def lines_until_close(pod: Pod, sock: socket.socket, _: Request) -> bool:
    """A body that ends with its connection, as of HTTP/1.0 and of simple servers of events."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nline\n")
    pod.go.wait()
    return False


def chunks(pod: Pod, sock: socket.socket, _: Request) -> bool:
    sock.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nline\n\r\n")
    pod.go.wait()
    sock.sendall(b"0\r\n\r\n")
    return True


@pytest.mark.parametrize("body", [lines_until_close, chunks])
def test_what_is_cut_by_drain_is_an_error(library: str, body: Any) -> None:
    with scripted(body, 2) as service, web(library, service.source, drain=0.2) as client:
        opened = client.open()
        service.shown = [pod for pod in service.all if not pod.requests]
        client.refresh()
        with pytest.raises(client.error) as error:
            opened.read()
        text = f"{error.value} {getattr(error.value, '__notes__', '')}"
        assert "drain=0.2 s" in text
        assert "in the middle of the response of Peer(web-" in text
        assert client.discovery.status.next_refresh > 100  # the pod is not to blame


def test_a_body_that_ends_with_its_connection(library: str) -> None:
    with scripted(lines_until_close) as service, web(library, service.source) as client:
        service[0].go.set()
        assert client.get().text == "line\n"


def a_head_in_drops(_: Pod, sock: socket.socket, __: Request) -> bool:
    drips(sock)
    return False


@pytest.mark.parametrize("option", ["total_timeout", "attempt_timeout"])
def test_a_pod_that_sends_its_head_byte_by_byte(library: str, option: str) -> None:
    options: dict[str, Any] = {option: 0.5}
    with (
        scripted(a_head_in_drops) as service,
        web(library, service.source, **options) as client,
        pytest.raises((requests.Timeout, TimeoutError)),
    ):
        client.post()


def test_what_a_pod_wrote_colours_no_terminal_and_fills_no_log(library: str) -> None:
    with scripted(rubbish) as service, web(library, service.source) as client:
        with pytest.raises(client.error) as error:
            client.post()
        for text in (str(error.value), *error.value.__notes__):
            assert text.isprintable()
            assert len(text) < 700


def test_a_lease_lasts_until_the_response_was_read(library: str) -> None:
    with scripted(chunks, 2) as service, web(library, service.source, picker="least_requests") as client:
        first = client.open()
        (busy,) = (pod for pod in service.all if pod.requests)
        (idle,) = (pod for pod in service.all if pod is not busy)
        idle.go.set()
        for _ in range(3):
            assert client.get().text == "line\n"
        assert (len(busy.requests), len(idle.requests)) == (1, 3)
        busy.go.set()
        assert first.read() == b"line\n"
        for _ in range(30):  # of two that are as idle, either is picked by chance
            client.get()
        assert len(busy.requests) > 1


@pytest.mark.parametrize("how", ["close", "forget"])
def test_a_response_that_is_not_read_ends_its_lease(library: str, how: str) -> None:
    with scripted(chunks, 2) as service, web(library, service.source, picker="least_requests") as client:
        first = client.open()
        (busy,) = (pod for pod in service.all if pod.requests)
        for pod in service.all:
            pod.go.set()
        if how == "close":
            first.close()
        del first
        gc.collect()
        for _ in range(30):  # of two that are as idle, either is picked by chance
            client.get()
        assert len(busy.requests) > 1


@contextmanager
def unresponsive(address: str) -> Iterator[int]:
    """A port whose kernel answers no further connection: its backlog is full."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        waiting = []
        try:
            for _ in range(4):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex((address, port))
                waiting.append(sock)
            yield port
        finally:
            for sock in waiting:
                sock.close()


def test_a_pod_that_does_not_respond_costs_the_connect_timeout(library: str) -> None:
    with pods(2) as service, unresponsive(f"{service.network}.9") as port:
        name = f"static:gone={service.network}.9:{port}," + ",".join(pod.text for pod in service.all)
        with web(library, None, name=name, connect_timeout=0.2) as client:
            answers = [client.post(host="http://localhost", data=b"x") for _ in range(6)]
        assert [answer.status for answer in answers] == [200] * 6
        (rescued,) = (answer for answer in answers if len(answer.pods) > 1)
        (tried,) = rescued.history["failed"]
        assert not tried.sent
        assert 0.2 <= tried.seconds < LONG / 2


def test_a_slow_pod_is_not_taken_for_one_that_does_not_connect(library: str) -> None:
    with pods(1) as service, web(library, service.source, connect_timeout=0.1) as client:
        service[0].manner = "slow"
        timer = threading.Timer(0.5, service[0].go.set)
        timer.start()
        assert client.post(data=b"x").history["attempts"] == 1
        timer.join()


def test_many_at_once(library: str) -> None:
    with pods() as service, web(library, service.source) as client:
        texts: list[str] = []

        def run() -> None:
            texts.extend(client.get(headers={"id": "x"}).text[:5] for _ in range(10))

        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        assert len(texts) == 80
        assert len(service.requests) == 80
        assert max(pod.accepted for pod in service.all) <= 8


def test_a_full_connector_is_waited_for() -> None:
    """It has one connection, which a slow pod holds for longer than the connect timeout."""
    with (
        pods(2) as service,
        web("aiohttp", service.source, connect_timeout=0.1, connector={"limit": 1}) as client,
    ):
        service.manner("slow")
        answers: list[Any] = []
        threads = [threading.Thread(target=lambda: answers.append(client.post())) for _ in range(2)]
        for thread in threads:
            thread.start()
        eventually(lambda: service.requests)
        time.sleep(0.3)  # thrice the connect timeout: that it is waited for shows in nothing but time
        for pod in service.all:
            pod.go.set()
        for thread in threads:
            thread.join(LONG)
        assert [answer.history["attempts"] for answer in answers] == [1, 1]
