"""The ready-made clients, and requests to every pod."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import httpx
import httpx2
import pytest

from peerdiscover import (
    AsyncDiscovery,
    ClosedError,
    ConfigurationError,
    Discovery,
    NoPeersError,
    Policy,
    ResolutionTimeoutError,
)
from peerdiscover.http import (
    AsyncClient,
    AsyncPodTransport,
    Client,
    Httpx2AsyncClient,
    Httpx2Client,
    Httpx2NoPeersError,
    HttpxNoPeersError,
    PodTransport,
)
from peerdiscover.http._certificates import TlsContext
from peerdiscover.testing import HeadlessService
from tests.waiting import LONG

from ._pods import Pods, pods

QUICK = Policy(min_refresh=0.1, max_refresh=0.1, jitter=0)


@pytest.mark.parametrize("client", [Client, Httpx2Client])
def test_one_line_is_changed(client: type[Any]) -> None:
    with HeadlessService("web-headless.prod", 3, {"": 8080}) as svc:
        with client("web-headless.prod:8080", source=svc.source, headers={"x": "y"}) as web:
            answers = [web.get("/hello", params={"a": 1}).json() for _ in range(6)]
        assert not web.discovery.status.stale
        with pytest.raises(RuntimeError, match="has been closed"):
            web.get("/")
    assert {answer["pod"] for answer in answers} == {"web-0", "web-1", "web-2"}
    assert {(answer["path"], answer["host"]) for answer in answers} == {
        ("/hello?a=1", "web-headless.prod:8080")
    }


@pytest.mark.anyio
@pytest.mark.parametrize("client", [AsyncClient, Httpx2AsyncClient])
async def test_the_asynchronous_one(client: type[Any]) -> None:
    with HeadlessService("web-headless.prod", 3, {"": 8080}) as svc:
        async with client("web-headless.prod:8080", source=svc.source) as web:
            answers = [(await web.get("/hello")).json() for _ in range(6)]
        with pytest.raises(RuntimeError, match="has been closed"):
            await web.get("/")
    assert {answer["pod"] for answer in answers} == {"web-0", "web-1", "web-2"}


def test_a_client_need_not_be_entered() -> None:
    with pods() as service:
        web = Client("web.prod", source=service.source)
        texts: list[str] = []
        threads = [threading.Thread(target=lambda: texts.append(web.get("/").text)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(texts) == 8
        web.close()
        with pytest.raises(ClosedError):
            web.discovery.refresh()


@pytest.mark.anyio
async def test_an_asynchronous_client_need_not_be_entered() -> None:
    """As httpx's: used at once by several tasks, and closed by another one."""
    with pods() as service:
        web = AsyncClient("web.prod", source=service.source)
        texts: list[str] = []

        async def ask() -> None:
            texts.append((await web.get("/")).text)

        for use in [ask] * 8, [web.aclose]:
            async with anyio.create_task_group() as tasks:
                for function in use:
                    tasks.start_soon(function)
        assert len(texts) == 8
        with pytest.raises(ClosedError):
            await web.discovery.refresh()
        with pytest.raises(RuntimeError, match="has been closed"):
            await web.get("/")


@pytest.mark.anyio
async def test_clients_are_closed_in_any_order_by_any_task() -> None:
    with pods() as service:
        first, second = (AsyncClient("web.prod", source=service.source) for _ in range(2))
        async with anyio.create_task_group() as tasks:
            for web in first, second:
                tasks.start_soon(web.__aenter__)
        with anyio.move_on_after(30):  # a scope of this task: nothing of the clients lies in it
            assert (await first.get("/")).status_code == 200
            await first.aclose()
            assert (await second.broadcast("GET", "/")).complete
        await second.__aexit__(None, None, None)


@pytest.mark.anyio
async def test_entering_twice_leaves_the_client_open() -> None:
    with pods() as service:
        web = AsyncClient("web.prod", source=service.source)
        assert (await web.get("/")).status_code == 200
        with pytest.raises(RuntimeError, match="more than once"):
            async with web:
                pass
        assert (await web.get("/")).status_code == 200
        await web.aclose()
        sync = Client("web.prod", source=service.source)
        assert sync.get("/").status_code == 200
        with pytest.raises(RuntimeError, match="more than once"), sync:
            pass
        assert sync.get("/").status_code == 200
        sync.close()


@pytest.mark.anyio
async def test_a_cancelled_enter_leaves_nothing() -> None:
    web = AsyncClient("web.prod", source=lambda: iter(()))
    with anyio.move_on_after(0.05) as scope:
        await web.__aenter__()
    assert scope.cancelled_caught
    assert not web.discovery.is_open


def test_one_that_is_not_entered_waits_with_each_request() -> None:
    """Nobody is there for the first one, which fails in its own time; then somebody is."""
    told: list[list[str]] = [[]]
    with pods(1) as service:
        web = Client("web.prod", source=lambda: told[-1], policy=QUICK, timeout=0.3)
        for _ in range(2):
            with pytest.raises(httpx.ConnectError, match="waited") as error:
                web.get("/")
            assert isinstance(error.value, NoPeersError)
        told.append([service[0].text])
        web.discovery.wait(timeout=LONG)
        assert web.get("/").status_code == 200
        assert web.broadcast("GET", "/").complete
        web.close()


def test_a_broadcast_of_one_that_is_not_entered_waits_for_pods() -> None:
    with pods(2) as service:
        web = Client("web.prod", source=service.source)
        assert len(web.broadcast("GET", "/").results) == 2
        web.close()


def test_nobody_there_at_first() -> None:
    policy = Policy(ready_timeout=0.1)
    with pytest.raises(ResolutionTimeoutError), Client("web.prod", source=lambda: iter(()), policy=policy):
        pass


def test_a_discovery_of_ones_own_stays_open() -> None:
    with pods() as service, Discovery("web.prod", source=service.source) as discovery:
        with Client("web.prod", discovery=discovery) as web:
            assert web.get("/").status_code == 200
        assert len(discovery.refresh()) == 3
        wrong: list[dict[str, Any]] = [{"source": service.source}, {"policy": QUICK}]
        for arguments in wrong:
            with pytest.raises(ConfigurationError, match="together with discovery="):
                Client("web.prod", discovery=discovery, **arguments)
        with pytest.raises(ConfigurationError, match=r"another service, 'web\.prod'"):
            Client("other.prod", discovery=discovery)


@pytest.mark.parametrize("option", ["transport", "proxy"])
def test_ways_around_the_pods_are_refused(option: str) -> None:
    with pytest.raises(ConfigurationError, match=option):
        Client("web.prod", source=lambda: ["127.0.0.1:1"], **{option: "x"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("service", "base"),
    [
        ("web-headless.prod:8080", "http://web-headless.prod:8080"),
        ("web-headless.prod:http", "http://web-headless.prod"),
        ("web.prod.svc.example.org:80", "http://web.prod.svc.example.org"),
        ("any.name.example.:8080", "http://any.name.example:8080"),
        ("static:127.0.0.1:8080", "http://static"),
    ],
)
def test_base_urls(service: str, base: str) -> None:
    source = None if service.startswith("static") else (lambda: ["127.0.0.1:1"])
    web = Client(service, source=source)
    assert str(web.base_url).rstrip("/") == base
    web.close()


def test_a_fixed_list() -> None:
    with pods() as service, Client("static:" + ",".join(pod.text for pod in service.all)) as web:
        assert {web.get("/").text[:5] for _ in range(3)} == {"web-0", "web-1", "web-2"}


def test_pods_of_a_fixed_list_see_their_address() -> None:
    """`Host: static` would be refused by what compares it with the hosts that are allowed."""
    with pods(1) as service, Client("static:" + service[0].text) as web:
        address = f"{service[0].address}:{service[0].port}"
        assert web.get("/").text == f"web-0 {address}"
        assert web.get("http://localhost/").text == "web-0 localhost"  # a host that was written stays


def test_a_url_that_names_a_pod_of_a_fixed_list_goes_there() -> None:
    with pods(2) as service, Client("static:" + ",".join(pod.text for pod in service.all)) as web:
        pod = web.discovery.peers[1]
        assert {web.get(pod.url("/")).extensions["peerdiscover"]["peer"] for _ in range(4)} == {pod}


def test_all_names_without_httpx2() -> None:
    program = (
        "import sys\n"
        "sys.modules['httpx2'] = None\n"
        "from peerdiscover.http import *\n"
        "assert Client and HttpxNoPeersError and 'Httpx2Client' not in globals()\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)


def test_errors_have_names_and_cross_processes() -> None:
    import pickle

    for kind, api in ((HttpxNoPeersError, httpx), (Httpx2NoPeersError, httpx2)):
        assert issubclass(kind, NoPeersError)
        assert issubclass(kind, api.ConnectError)
        assert str(pickle.loads(pickle.dumps(kind("nobody")))) == "nobody"


def test_httpx2_alone() -> None:
    """What a program does that has httpx2, and never loads httpx."""
    program = (
        "import sys, httpx2\n"
        "from peerdiscover.http import Client\n"
        "assert issubclass(Client, httpx2.Client)\n"
        "assert 'httpx' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=LONG)


# Broadcast


class Broadcasting:
    """A client of one kind, and `broadcast` as a plain call."""

    def __init__(self, client: Any, call: Callable[..., Any]) -> None:
        self.client = client
        self.discovery: Any = client.discovery
        self._call = call

    def broadcast(self, *args: Any, **options: Any) -> Any:
        return self._call(self.client.broadcast, *args, **options)


@pytest.fixture(params=["threads", "asyncio", "trio"])
def over(request: pytest.FixtureRequest) -> Any:
    @contextmanager
    def threads(service: Pods, **options: Any) -> Iterator[Broadcasting]:
        with Client("web.prod", source=service.source, **options) as web:
            yield Broadcasting(web, lambda function, *args, **more: function(*args, **more))

    @contextmanager
    def tasks(service: Pods, **options: Any) -> Iterator[Broadcasting]:
        with anyio.from_thread.start_blocking_portal(request.param) as portal:

            async def make() -> Any:
                return AsyncClient("web.prod", source=service.source, **options)

            def call(function: Any, *args: Any, **more: Any) -> Any:
                async def run() -> Any:
                    return await function(*args, **more)

                return portal.call(run)

            with portal.wrap_async_context_manager(portal.call(make)) as web:
                yield Broadcasting(web, call)

    return threads if request.param == "threads" else tasks


def test_broadcast_asks_everybody_once(over: Any) -> None:
    with pods() as service, over(service) as web:
        service[1].manner = "error"
        receipt = web.broadcast("POST", "/invalidate", content=b"k", timeout=LONG)
    assert {peer.key: response.status_code for peer, response in receipt.results.items()} == {
        "web-0": 200,
        "web-1": 500,
        "web-2": 200,
    }
    assert receipt.complete
    assert [(r.method, r.path, r.body) for r in service.requests] == [("POST", "/invalidate", b"k")] * 3


def test_broadcast_names_who_failed(over: Any) -> None:
    with pods() as service, over(service) as web:
        service[0].stop()
        service[1].manner = "drop"
        receipt = web.broadcast("POST", "/", timeout=LONG)
        assert not receipt.complete
        assert {peer.key for peer in receipt.errors} == {"web-0", "web-1"}
        assert len(service.requests) == 2  # nobody is asked twice, and nobody in another's place
        assert {type(error).__name__ for error in receipt.errors.values()} == {
            "ConnectError",
            "RemoteProtocolError",
        }


@pytest.mark.parametrize("late", ["report", "include"])
def test_broadcast_gives_everybody_the_whole_body(over: Any, late: str) -> None:
    bodies: list[tuple[dict[str, Any], str]] = [
        ({"content": iter([b"a", b"b"])}, ""),
        ({"content": io.BytesIO(b"ab")}, ""),
        ({"files": {"f": io.BytesIO(b"ab")}}, "multipart/form-data"),
        ({"json": {"k": 1}, "headers": {"X": "y"}}, "application/json"),
    ]
    with pods() as service, over(service, policy=QUICK) as web:
        for options, kind in bodies:
            for pod in service.all:
                pod.requests.clear()
            receipt = web.broadcast("POST", "/x", late=late, timeout=LONG, **options)
            assert receipt.complete
            assert len(service.requests) == 3
            assert len({request.body for request in service.requests}) == 1
            for request in service.requests:
                assert len(request.body) >= 2
                assert request.headers.get("content-type", "").partition(";")[0] == kind
                assert request.headers.get("x") == options.get("headers", {}).get("X")


def test_late_is_one_of_two(over: Any) -> None:
    with pods(1) as service, over(service) as web, pytest.raises(ConfigurationError, match="late='maybe'"):
        web.broadcast("GET", "/", late="maybe")


def grown(service: Pods, web: Broadcasting, late: str, **options: Any) -> Any:
    """The receipt of a broadcast while which a third pod joins."""
    service.shown = service.all[:2]
    assert len(web.discovery.peers) == 2
    service[0].manner = "slow"

    def grow() -> None:
        assert service[0].heard.acquire(timeout=LONG)
        service.shown = service.all
        while len(web.discovery.peers) < 3:
            threading.Event().wait(0.01)
        service[0].go.set()

    thread = threading.Thread(target=grow)
    thread.start()
    receipt = web.broadcast("POST", "/", late=late, **options)
    thread.join()
    return receipt


@contextmanager
def growing(over: Any) -> Iterator[tuple[Pods, Any]]:
    with pods() as service:
        service.shown = service.all[:2]
        with over(service, policy=QUICK) as web:
            yield service, web


def test_late_is_reported(over: Any) -> None:
    with growing(over) as (service, web):
        receipt = grown(service, web, "report", timeout=LONG)
    assert [peer.key for peer in receipt.joined] == ["web-2"]
    assert not receipt.complete
    assert len(service.requests) == 2


@pytest.mark.parametrize("timeout", [None, LONG])
def test_late_is_included(over: Any, timeout: float | None) -> None:
    with growing(over) as (service, web):
        receipt = grown(service, web, "include", timeout=timeout)
    assert sorted(peer.key for peer in receipt.results) == ["web-0", "web-1", "web-2"]
    assert receipt.complete
    assert len(service.requests) == 3


def test_who_came_and_went_is_named(over: Any) -> None:
    """A pod that is there for a moment, while another one keeps the broadcast busy."""
    with growing(over) as (service, web):
        service[0].manner = "slow"

        def flicker() -> None:
            assert service[0].heard.acquire(timeout=LONG)
            for shown, size in ((service.all, 3), (service.all[:2], 2)):
                service.shown = shown
                while len(web.discovery.peers) != size:
                    threading.Event().wait(0.01)
            service[0].go.set()

        thread = threading.Thread(target=flicker)
        thread.start()
        receipt = web.broadcast("POST", "/", late="include", timeout=LONG)
        thread.join()
    assert sorted(peer.key for peer in receipt.results) == ["web-0", "web-1"]
    assert [peer.key for peer in receipt.joined] == ["web-2"]


def test_include_ends_with_its_time(over: Any) -> None:
    with pods(2) as service, over(service) as web:
        service[1].manner = "silent"
        receipt = web.broadcast("POST", "/", late="include", timeout=3)
        assert [peer.key for peer in receipt.results] == ["web-0"]
        assert [type(error) for error in receipt.errors.values()] == [TimeoutError]
        service[1].go.set()


NAME = "web-headless.prod:8080"
AS_A_NAME = f"discovery='{NAME}': expected a Discovery; write Discovery('{NAME}')"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"discovery": NAME}, AS_A_NAME),
        ({"discovery": AsyncDiscovery(NAME)}, "expected a Discovery"),
        ({"policy": {}}, "policy={}: expected a Policy"),
        ({"base_url": "/api"}, f"base_url='/api': expected a URL such as http://{NAME}/api"),
        ({"budget": "0.1"}, "budget='0.1': expected a share between 0 and 1"),
        ({"attempts": "3"}, "attempts='3': expected a number, at least 1"),
        ({"connect_timeout": "1"}, "connect_timeout='1': expected seconds above 0"),
        ({"total_timeout": "1"}, "total_timeout='1': expected seconds above 0"),
        ({"drain": "1"}, "drain='1': expected seconds, at least 0"),
    ],
)
def test_a_wrong_option_is_shown_in_one_line(options: Any, shown: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Client(NAME, **options)
    assert shown in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_base_url_is_a_url_in_capitals_too() -> None:
    assert Client(NAME, base_url=f"HTTP://{NAME}/api").base_url.path == "/api/"


@pytest.mark.parametrize(
    ("verify", "cert", "shown"),
    [
        ("no.pem", None, "verify='no.pem': [Errno 2] No such file or directory"),
        (__file__, None, f"verify={__file__!r}: "),
        (True, "no.pem", "cert=('no.pem',): [Errno 2] No such file or directory"),
        (True, ("no.pem", "no.key", "secret"), "cert=('no.pem', 'no.key'): [Errno 2] No such"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named(verify: Any, cert: Any, shown: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        TlsContext(httpx, verify, cert, trust_env=True)
    assert str(refused.value).startswith(shown)
    assert "secret" not in str(refused.value)


def test_http2_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h2", None)
    with pytest.raises(ConfigurationError, match="http2=True: expected the package h2"):
        Client(NAME, http2=True)


def test_a_transport_takes_a_discovery_of_its_kind() -> None:
    name: Any = NAME
    with pytest.raises(ConfigurationError) as refused:
        PodTransport(name)
    assert str(refused.value) == AS_A_NAME
    with pytest.raises(ConfigurationError, match="expected a Discovery"):
        PodTransport(AsyncDiscovery(NAME))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="expected an AsyncDiscovery"):
        AsyncPodTransport(Discovery(NAME))  # type: ignore[arg-type]
