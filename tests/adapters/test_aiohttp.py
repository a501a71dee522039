"""What is aiohttp's own: other hosts, other middlewares, cancellation, timeouts and web sockets."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
from typing import Any

import aiohttp
import pytest

from peerdiscover import AsyncDiscovery, ClosedError, ConfigurationError, Discovery
from peerdiscover.aiohttp import AiohttpWrongPortError
from peerdiscover.aiohttp import pods as over
from tests.http._pods import Pod, Request, pods, scripted
from tests.waiting import LONG

from ._sessions import web

NAME = "static:127.0.0.1:1"


def test_other_hosts_go_the_usual_way() -> None:
    with pods(2) as service, web("aiohttp", service.source) as client:
        pod = service[1]
        for _ in range(3):
            answer = client.get(host=f"http://{pod.address}:{pod.port}")
            assert answer.text == f"web-1 {pod.address}:{pod.port}"
            assert answer.history is None
        for host in "http://web", "http://web.prod.svc", "http://WEB.prod.svc.cluster.local":
            assert client.get(host=host).history is not None


def test_a_session_for_two_services() -> None:
    async def run() -> list[str]:
        async with (
            AsyncDiscovery("one.prod", source=one.source) as first,
            AsyncDiscovery("two.prod", source=two.source) as second,
            aiohttp.ClientSession(middlewares=[over(first), over(second)]) as session,
        ):
            texts = []
            for host in ("one.prod", "two.prod") * 2:
                async with session.get(f"http://{host}/") as response:
                    texts.append(await response.text())
            return texts

    with pods(1) as one, pods(1) as two:
        assert asyncio.run(run()) == ["web-0 one.prod", "web-0 two.prod"] * 2
        assert len(one.requests) == len(two.requests) == 2


def test_a_list_of_addresses_beside_a_service() -> None:
    """With a `static:` name any host means the list, but for requests that have their pod already."""

    async def run() -> list[str]:
        async with (
            AsyncDiscovery("web.prod", source=service.source) as web,
            AsyncDiscovery("static:" + listed[0].text) as static,
            aiohttp.ClientSession(middlewares=[over(web), over(static)]) as session,
        ):
            texts = []
            for host in ("web.prod", "other.prod") * 2:
                async with session.post(f"http://{host}/") as response:
                    texts.append(await response.text())
            return texts

    with pods(1) as service, pods(1) as listed:
        assert asyncio.run(run()) == ["web-0 web.prod", "web-0 other.prod"] * 2
        assert len(service.requests) == len(listed.requests) == 2


def test_another_port_than_the_services() -> None:
    with pods(1) as service, web("aiohttp", service.source, name="web.prod:8080") as client:
        assert client.get(host="http://web.prod:8080").status == 200
        with pytest.raises(AiohttpWrongPortError, match="is discovered with port 8080") as error:
            client.get(host="http://web.prod:8081")
        assert isinstance(error.value, aiohttp.ClientError)


def test_a_middleware_within() -> None:
    """It sees each attempt, with the pod's address; what it raises is its own."""
    seen = []

    async def within(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        seen.append(str(request.url))
        if request.url.path == "/no":
            raise LookupError("no")
        response: aiohttp.ClientResponse = await handler(request)
        return response

    async def run() -> None:
        async with (
            AsyncDiscovery("web.prod", source=service.source) as discovery,
            aiohttp.ClientSession(middlewares=[over(discovery), within]) as session,
        ):
            async with session.get("http://web.prod/a%20b?c=d%26e#f") as response:
                assert response.url.raw_path_qs == "/a%20b?c=d%26e"
                assert str(response.real_url) == "http://web.prod/a%20b?c=d%26e#f"
            with pytest.raises(LookupError):
                await session.get("http://web.prod/no")

    with pods(1) as service:
        asyncio.run(run())
        place = f"http://{service[0].address}:{service[0].port}"
        assert seen == [f"{place}/a%20b?c=d%26e", f"{place}/no"]
        assert service.requests[0].path == "/a%20b?c=d%26e"


def test_the_total_of_the_session_ends_it() -> None:
    """aiohttp says so by an error of a response, and would do so for each attempt that follows."""
    with pods(2) as service, web("aiohttp", service.source) as client:
        service.manner("silent")
        with pytest.raises(TimeoutError, match="the time has expired"):
            client.get(timeout=aiohttp.ClientTimeout(total=0.3))
        assert len(service.requests) == 1
        (slow,) = (pod for pod in service.all if pod.requests)
        service.manner("ok")
        assert [client.get().history["peer"] == slow.peer for _ in range(2)] == [False] * 2  # it is ejected


def test_cancellation_passes() -> None:
    async def run() -> None:
        async with (
            AsyncDiscovery("web.prod", source=service.source) as discovery,
            aiohttp.ClientSession(middlewares=[over(discovery, attempt_timeout=LONG)]) as session,
        ):
            task = asyncio.create_task(session.get("http://web.prod/").__aenter__())
            await asyncio.to_thread(service[0].heard.acquire)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(service.requests) == 1
            service.manner("ok")
            service[0].go.set()
            async with session.get("http://web.prod/") as response:
                assert response.status == 200

    with pods(1) as service:
        service.manner("silent")
        asyncio.run(run())


def test_attempts_that_time_out() -> None:
    with pods(2) as service, web("aiohttp", service.source, attempt_timeout=0.2) as client:
        service.manner("silent")
        with pytest.raises(aiohttp.ServerTimeoutError, match="not idempotent") as error:
            client.post()
        assert isinstance(error.value, TimeoutError)


def test_a_kept_connection_has_another_timeout_each_time() -> None:
    """A connection that was used a moment ago has no timer while it is taken."""
    with pods(1) as service, web("aiohttp", service.source, connect_timeout=0.1) as client:
        client.get()
        service[0].manner = "slow"
        loop_waits = client.session.get("http://web.prod/")

        async def send() -> int:
            asyncio.get_running_loop().call_later(0.5, service[0].go.set)
            async with loop_waits as response:
                return int(response.status)

        assert client.call(send) == 200
        assert service[0].accepted == 1


def test_an_end_that_the_event_loop_has_not_seen() -> None:
    """The pod closed a kept connection since the loop looked last: so the kernel is asked."""

    async def run() -> None:
        async with (
            AsyncDiscovery("web.prod", source=service.source) as discovery,
            aiohttp.ClientSession(middlewares=[over(discovery)]) as session,
        ):
            for n in range(5):
                async with session.post("http://web.prod/", headers={"id": str(n)}) as response:
                    await response.read()
                assert service[0].ended.acquire(timeout=LONG)  # which keeps the loop from looking

    with pods(1) as service:
        service.manner("bye")
        asyncio.run(run())
        assert set(service.executed().values()) == {1}


def web_socket(_: Pod, sock: socket.socket, request: Request) -> bool:
    key = request.headers["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key).digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
        b"sec-websocket-accept: " + accept + b"\r\n\r\n\x81\x05hello"
    )
    sock.recv(1000)
    return False


def test_a_web_socket() -> None:
    async def run() -> None:
        async with (
            AsyncDiscovery("web.prod", source=service.source) as discovery,
            aiohttp.ClientSession(middlewares=[over(discovery)]) as session,
            session.ws_connect("http://web.prod/") as connection,
        ):
            assert (await connection.receive()).data == "hello"

    with scripted(web_socket) as service:
        asyncio.run(run())


def test_a_closed_discovery() -> None:
    async def run() -> None:
        discovery = AsyncDiscovery("web.prod", source=service.source)
        async with aiohttp.ClientSession(middlewares=[over(discovery)]) as session:
            async with discovery:
                await session.get("http://web.prod/")
            with pytest.raises(ClosedError):
                await session.get("http://web.prod/")

    with pods(1) as service:
        asyncio.run(run())


def test_a_discovery_that_is_opened_after_a_request_is_followed() -> None:
    async def run() -> None:
        discovery = AsyncDiscovery("web.prod", source=service.source)
        middleware: Any = over(discovery)
        async with aiohttp.ClientSession(middlewares=[middleware]) as session:
            with pytest.raises(ClosedError):
                await session.get("http://web.prod/")
            async with discovery:
                await session.get("http://web.prod/")
                assert middleware._state.pools.unsubscribe is not None

    with pods(1) as service:
        asyncio.run(run())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: over("web.prod"), r"discovery='web\.prod': expected an AsyncDiscovery; write AsyncD"),  # type: ignore[arg-type]
        (lambda: over(Discovery(NAME)), "expected an AsyncDiscovery"),  # type: ignore[arg-type]
        (lambda: over(AsyncDiscovery(NAME), drain=-1), "drain=-1: expected seconds, at least 0"),
        (lambda: over(AsyncDiscovery(NAME), idempotent=True), "idempotent=True: expected a function"),  # type: ignore[arg-type]
    ],
)
def test_bad_options(make: Any, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        make()


@pytest.mark.parametrize("name", ["conect_timeout", "verify", "limits"])
def test_an_option_that_does_not_exist(name: str) -> None:
    options: Any = {name: 1}
    with pytest.raises(TypeError, match=name):
        over(AsyncDiscovery(NAME), **options)
