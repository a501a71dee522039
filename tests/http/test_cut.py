"""What is cut, by `drain` or a deadline, is an error: whatever the framing, and however busy the pod is."""

from __future__ import annotations

import socket
import threading
from typing import Any

import httpcore
import pytest

from peerdiscover import ConfigurationError, Peer
from peerdiscover.http._attempts import CURRENT_ATTEMPT, Attempt, PodPool
from peerdiscover.http._connections import AsyncPodStream, PodStream
from tests.waiting import LONG, eventually

from ._flavors import web
from ._pods import Pod, Request, pods, scripted
from .test_connections import stream

PEER = Peer("web-0", "10.0.0.1", 80)


def lines_until_close(pod: Pod, sock: socket.socket, _: Request) -> bool:
    """A body that ends with its connection, as of HTTP/1.0 and of simple servers of events."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nline\n")
    pod.go.wait()
    return False


def test_a_body_without_a_length_that_is_cut(flavor: str) -> None:
    with scripted(lines_until_close, 2) as service, web(flavor, service.source, drain=0.2) as client:
        _, read, _ = stream(client, flavor)
        service.shown = [pod for pod in service.all if not pod.requests]
        client.refresh()
        with pytest.raises(client.api.RemoteProtocolError, match=r"drain=0\.2 s.*in the middle"):
            read()
        assert client.discovery.status.next_refresh > 100  # the pod is not to blame


def test_a_body_without_a_length_that_ends(flavor: str) -> None:
    with scripted(lines_until_close) as service, web(flavor, service.source) as client:
        service[0].go.set()
        assert client.get().content == b"line\n"


def hints_for_ever(_: Pod, sock: socket.socket, __: Request) -> bool:
    while True:
        sock.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10)


@pytest.mark.parametrize("option", ["total_timeout", "attempt_timeout"])
def test_a_pod_that_sends_without_pause(flavor: str, option: str) -> None:
    """No read of a socket ever times out."""
    options: dict[str, Any] = {option: 0.5}
    with (
        scripted(hints_for_ever) as service,
        web(flavor, service.source, **options) as client,
        pytest.raises(client.api.TimeoutException),
    ):
        client.post()


class Talkative:
    """A connection on which there is always something to read; `allowed`: the seconds for that."""

    allowed = 0.0

    def get_extra_info(self, _: str) -> None:
        return None

    def read(self, _: int, timeout: float) -> bytes:
        self.allowed = timeout
        return b"x"


class AsyncTalkative(Talkative):
    async def read(self, most: int, timeout: float) -> bytes:  # type: ignore[override]
        return super().read(most, timeout)


@pytest.mark.anyio
async def test_the_deadline_is_looked_at_before_each_read() -> None:
    """However fast the pod sends: the system has no say in it."""
    now = 4.9
    pod = PodPool(PEER, 1.0, lambda: now, core=httpcore)
    token = CURRENT_ATTEMPT.set(Attempt(pod, 0.0, 5.0, None, is_small=True))
    try:
        below, other = Talkative(), AsyncTalkative()
        blocking, awaited = PodStream(below, pod), AsyncPodStream(other, pod)
        assert blocking.read(1, 60.0) == await awaited.read(1, 60.0) == b"x"
        assert below.allowed == other.allowed == pytest.approx(0.1)
        now = 5.0
        with pytest.raises(httpcore.ReadTimeout):
            blocking.read(1, 60.0)
        with pytest.raises(httpcore.ReadTimeout):
            await awaited.read(1, 60.0)
    finally:
        CURRENT_ATTEMPT.reset(token)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_closing_ends_what_a_pod_sends_without_pause(flavor: str, method: str) -> None:
    """Nor is a request that was cut by it sent again."""
    with scripted(hints_for_ever, 2) as service, web(flavor, service.source) as client:
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                client.request(method, extensions={"total_timeout": 10 * LONG})
            except client.api.TransportError as error:
                errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        eventually(lambda: service.requests)
        client.call(client.client.close if flavor.startswith("threads") else client.client.aclose)
        thread.join(LONG)
        assert not thread.is_alive()
        assert len(errors) == len(service.requests) == 1


def test_a_request_asks_for_less_time(flavor: str) -> None:
    with pods(1) as service, web(flavor, service.source, total_timeout=600) as client:
        service.manner("silent")
        with pytest.raises(client.api.TimeoutException, match="the time has expired"):
            client.get(extensions={"total_timeout": 0.5}, timeout=None)
        for wrong in 0, "1", -1:
            with pytest.raises(ConfigurationError, match="expected seconds above 0"):
                client.get(extensions={"total_timeout": wrong})


def test_a_kept_connection_that_ends_just_before_it_is_used(flavor: str) -> None:
    """The pool looks at it, and then it ends: seen before the first byte, so a POST goes on."""
    with pods(1) as service, web(flavor, service.source) as client:
        service.manner("bye")
        for _ in range(5):
            assert client.post().status_code == 200
            assert service[0].ended.acquire(timeout=20)
            [pod] = client.transport._state.pools._pods.values()
            for connection in pod.connections:
                get = connection.get_extra_info
                connection.get_extra_info = lambda name, get=get: (
                    False if name == "is_readable" else get(name)
                )
