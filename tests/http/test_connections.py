"""The lines to the pods: kept, let go of when a pod leaves, never leaked, never shared with a child."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import pytest

from peerdiscover import AsyncDiscovery, Discovery
from peerdiscover.http import AsyncPodTransport, PodTransport, _pools
from peerdiscover.http._attempts import Attempt
from peerdiscover.testing import HeadlessService
from tests.waiting import LONG, eventually

from ._flavors import SLOW, Web, web
from ._pods import Pod, pods


def ends(pod: Pod, seconds: float = LONG) -> bool:
    """Whether a connection to this pod ended, seen from there."""
    return pod.ended.acquire(timeout=seconds)


def stream(client: Web, flavor: str, path: str = "/") -> tuple[Any, Callable[[], Any], Callable[[], None]]:
    """A response whose body is not read yet, what reads it, and what closes it."""
    http = client.client
    request = client.call(http.build_request, "GET", f"http://web.prod{path}")
    response = client.call(http.send, request, stream=True)
    if flavor.startswith("threads"):
        return response, response.read, response.close
    return response, lambda: client.call(response.aread), lambda: client.call(response.aclose)


def test_idle_lines_of_a_pod_that_left_end_at_once(flavor: str) -> None:
    with pods() as service, web(flavor, service.source) as client:
        for _ in range(3):
            client.get()
        service.shown = service.all[1:]
        client.refresh()
        assert ends(service[0])  # though no request was sent since
        assert not ends(service[1], 0.05)
        assert {client.get().text[:5] for _ in range(4)} == {"web-1", "web-2"}
        assert len(service[0].requests) == 1


def test_a_pod_that_moved_is_called_at_its_new_place(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        client.get()
        client.get()
        old, new = service.all
        new.name = "web-0"
        service.shown = [new]
        client.refresh()
        assert ends(old)
        assert client.get().text.startswith("web-0")
        assert len(old.requests) == 1


def test_what_is_in_flight_ends_in_peace(flavor: str) -> None:
    """The answer of a pod that left is read to its end, while its idle lines end."""
    with pods(1) as service, web(flavor, service.source) as client:
        responses = [stream(client, flavor) for _ in range(2)]
        responses[0][1]()  # now its line is idle
        service.shown = []
        assert len(client.discovery.peers) == 1
        with pods(1) as others:
            service.shown = others.all
            client.refresh()
            assert ends(service[0])
            assert not ends(service[0], 0.05)  # the other one is held
            assert responses[1][1]() == b"web-0 web.prod"
            assert ends(service[0])
            assert client.get().status_code == 200
            assert len(others.requests) == 1


def test_a_pod_that_left_has_its_time(flavor: str) -> None:
    """Requests in flight are cut after `drain`: a pod that never responds holds up no request."""
    with pods(2) as service, web(flavor, service.source, drain=0.2) as client:
        service[0].manner = "silent"
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                client.post(extensions={"peer": service[0].peer}, timeout=None)
            except client.api.RemoteProtocolError as error:
                errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        assert service[0].heard.acquire(timeout=LONG)
        service.shown = service.all[1:]
        client.refresh()
        lookups = client.discovery.status.lookups
        thread.join(LONG)  # and nothing else happens
        assert len(errors) == 1
        assert "more than drain=0.2 s ago" in str(errors[0])
        status = client.discovery.status
        assert (status.lookups, status.next_refresh > 100) == (lookups, True)  # we did it: nobody is blamed


def test_by_default_answers_in_flight_are_not_cut(flavor: str) -> None:
    """Nothing waits to cut them, however long they take: the pod may only be not ready."""
    with pods(2) as service, web(flavor, service.source) as client:
        _, read, _ = stream(client, flavor)
        [pod] = (pod for pod in service.all if pod.requests)
        service.shown = [other for other in service.all if other is not pod]
        client.refresh()
        [left] = client.transport._state.pools.leaving
        assert left.abort_at == math.inf
        assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
        assert read() == f"{pod.name} web.prod".encode()


@pytest.mark.parametrize(
    ("idle", "limits", "accepted"),
    [(3.5, {}, 1), (4.5, {}, 2), (4.5, {"keepalive_expiry": 60}, 1)],
)
def test_connections_are_kept_for_less_than_servers_keep_them(
    flavor: str, idle: float, limits: dict[str, float], accepted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvicorn and others close after five seconds: who closes first does not find a request on its way."""
    core = "httpcore2" if flavor.endswith("httpx2") else "httpcore"
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(f"{core}._{'sync' if flavor.startswith('threads') else 'async'}.http11.time", clock)
    options: dict[str, Any] = {"limits": httpx.Limits(**limits)} if limits else {}  # type: ignore[arg-type]
    with pods(1) as service, web(flavor, service.source, **options) as client:
        client.post()
        now += idle
        client.post()
        assert service[0].accepted == accepted


def test_a_pod_that_is_back_in_time_keeps_what_is_in_flight(flavor: str) -> None:
    """One answer of the nameserver that lacks it, and long answers go on; a new one goes there, too."""
    with pods(2) as service, web(flavor, service.source, drain=0.3) as client:
        _, read, _ = stream(client, flavor)
        [pod] = (pod for pod in service.all if pod.requests)
        shown = service.shown
        for service.shown in ([other for other in shown if other is not pod], shown):
            client.refresh()
        client.get()
        newer = stream(client, flavor)[1]
        assert not ends(pod, 0.6)  # longer than `drain`
        assert read() == f"{pod.name} web.prod".encode()
        assert newer()
        assert client.discovery.status.next_refresh > 100  # no failure of anybody


def test_a_request_to_a_pod_that_left_leaves_no_line(flavor: str) -> None:
    with pods(2) as service, web(flavor, service.source) as client:
        gone = service[0].peer
        service.shown = service.all[1:]
        client.refresh()
        assert client.get(extensions={"peer": gone}).text.startswith("web-0")
        assert ends(service[0])  # at once, though nothing else happens


def test_deregistered_but_alive_gets_nothing_new(flavor: str) -> None:
    with pods() as service, web(flavor, service.source) as client:
        service.shown = service.all[:2]
        client.refresh()
        for _ in range(6):
            client.post()
        assert [len(pod.requests) for pod in service.all] == [3, 3, 0]


def test_alive_in_the_set_and_dead_is_passed_over(flavor: str) -> None:
    with pods() as service, web(flavor, service.source) as client:
        for _ in range(3):
            client.post()
        service[2].stop()  # and the source goes on saying that it is there
        assert [client.post().status_code for _ in range(10)] == [200] * 10


def test_an_open_answer_survives_the_end_of_the_discovery(flavor: str) -> None:
    with pods(1) as service, web(flavor, service.source) as client:
        _, read, _ = stream(client, flavor)
        client.close_discovery()
        assert read() == b"web-0 web.prod"


def test_closing_the_client_closes_all_lines(flavor: str) -> None:
    with pods() as service:
        with web(flavor, service.source) as client:
            for _ in range(3):
                client.get()
            _, _, close = stream(client, flavor)
            close()
        assert all(ends(pod) for pod in service.all)


def test_many_at_once(flavor: str) -> None:
    """A few hundred requests while pods die and come back: each answered, none executed twice."""
    with pods() as service, web(flavor, service.source) as client:
        statuses: list[int] = []

        def ask(first: int) -> None:
            statuses.extend(
                client.request("PUT", headers={"id": f"{first}-{n}"}, content=b"x" * n).status_code
                for n in range(30)
            )

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            service[0].refuse()
            time.sleep(0.02)
            service[0].start()
            time.sleep(0.02)
        for thread in threads:
            thread.join()
        assert statuses == [200] * 240
        assert set(service.executed().values()) == {1}


def test_mounted_beside_others() -> None:
    with pods(1) as other, pods() as service, Discovery("web.prod", source=service.source) as discovery:
        with httpx.Client(mounts={"http://web.prod": PodTransport(discovery)}) as client:
            assert client.get("http://web.prod/").text.endswith(" web.prod")
            address = f"{other[0].address}:{other[0].port}"
            assert client.get(f"http://{address}/").text == f"web-0 {address}"
            assert "peerdiscover" not in client.get(f"http://{address}/").extensions
        assert len(service.requests) == 1
        assert len(other.requests) == 2


async def asked(client: httpx.AsyncClient, pod: Pod) -> None:
    await client.get("http://web.prod/", extensions={"peer": pod.peer, "timeout": {}})


@pytest.mark.anyio
async def test_cancelled_requests_leave_no_line_behind() -> None:
    with pods(2) as service:
        async with (
            AsyncDiscovery("web.prod", source=service.source, policy=SLOW) as discovery,
            httpx.AsyncClient(transport=AsyncPodTransport(discovery)) as client,
        ):
            service.manner("silent")
            for pod in service.all * 2:
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(asked, client, pod)
                        assert await anyio.to_thread.run_sync(pod.heard.acquire, True, LONG)
                        scope.cancel()
                assert scope.cancelled_caught
            assert [len(pod.requests) for pod in service.all] == [2, 2]  # each was sent once
            assert [pod.accepted for pod in service.all] == [2, 2]  # and its line is not used again
            service.manner("ok")
            for pod in service.all:
                pod.go.set()
                for _ in range(2):
                    assert await anyio.to_thread.run_sync(ends, pod)
            assert discovery.status.next_refresh > 100  # a cancellation is no failure of a pod
            assert (await client.get("http://web.prod/")).status_code == 200


@pytest.mark.anyio
async def test_cancelled_while_it_waits_for_a_pod() -> None:
    with pods(1) as service:
        async with (
            AsyncDiscovery("web.prod", source=service.source, policy=SLOW) as discovery,
            httpx.AsyncClient(transport=AsyncPodTransport(discovery), timeout=LONG) as client,
        ):
            service[0].stop()
            with anyio.move_on_after(0.1) as scope:
                await client.get("http://web.prod/")
            assert scope.cancelled_caught
            service[0].start()
            assert (await client.get("http://web.prod/")).status_code == 200


def test_streams_are_read_in_parts(flavor: str) -> None:
    with pods(1) as service, web(flavor, service.source) as client:
        response, read, _ = stream(client, flavor)
        assert not response.is_stream_consumed
        assert response.extensions["peerdiscover"]["peer"].key == "web-0"
        assert read() == b"web-0 web.prod"


class Counting:
    """A picker that leases, and says how many requests are in flight."""

    def __init__(self, peers: Callable[[], Any]) -> None:
        self.peers = peers
        self.in_flight = 0
        self.most = 0

    def pick(self) -> Any:
        raise AssertionError("lease")

    def lease(self) -> Any:
        counting = self

        class Lease(ExitStack):
            def __enter__(self) -> Any:
                counting.in_flight += 1
                counting.most = max(counting.most, counting.in_flight)
                return counting.peers()[0]

            def __exit__(self, *details: object) -> None:
                counting.in_flight -= 1

        return Lease()


def test_leases_end_when_the_answer_was_read(flavor: str) -> None:
    picker = Counting(lambda: client.discovery.peers)
    with pods(2) as service, web(flavor, service.source, picker=picker) as client:
        client.get()
        assert (picker.in_flight, picker.most) == (0, 1)
        _, _, close = stream(client, flavor)
        assert picker.in_flight == 1
        close()
        assert picker.in_flight == 0
        service[0].stop()
        assert client.get().text.startswith("web-1")  # the picker insists on the first: it is overruled
        service[1].stop()
        with pytest.raises(client.api.ConnectError):
            client.get(timeout=0.3)
        assert (picker.in_flight, picker.most) == (0, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_child_of_a_fork_has_lines_of_its_own() -> None:
    with pods(2) as service, web("threads-httpx", service.source) as client:
        for _ in range(4):
            client.get("/parent")
        assert [pod.accepted for pod in service.all] == [1, 1]
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                said: Any = [client.get("/child").status_code for _ in range(4)]
            except BaseException as error:
                said = repr(error)
            os.write(writes, json.dumps(said).encode())
            os._exit(0)
        try:
            os.close(writes)
            assert select.select([reads], [], [], LONG)[0], "the child hangs"
            assert json.loads(os.read(reads, 65536)) == [200] * 4
        finally:
            os.close(reads)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert [pod.accepted for pod in service.all] == [2, 2]
        for _ in range(4):
            client.get("/parent")
        assert [pod.accepted for pod in service.all] == [2, 2]  # the parent's are whole


def test_a_pod_without_a_line_is_dialled_by_one(flavor: str) -> None:
    """The others go elsewhere: one that is gone costs one request its time, not all that come meanwhile."""
    with (
        HeadlessService("web.prod", 3, {"": 8080}) as service,
        web(flavor, service.source, name="web.prod:8080", connect_timeout=LONG) as client,
    ):
        service.blackhole(1)
        gone = client.discovery.peers.get("web-1")
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                client.post(extensions={"peer": gone}, timeout=2)
            except client.api.ConnectTimeout as error:
                errors.append(error)

        first = threading.Thread(target=ask)
        first.start()
        eventually(lambda: client.transport._state.pools.is_connecting(gone, time.monotonic()))
        told = [client.post().extensions["peerdiscover"] for _ in range(6)]
        assert first.is_alive()
        assert [one["attempts"] for one in told] == [1] * 6
        assert {one["peer"].key for one in told} == {"web-0", "web-2"}
        first.join(LONG)
        assert len(errors) == 1


def lines_to(pod: Pod) -> set[tuple[int, int]]:
    """The sockets of this process that are connected to the pod: descriptors, and what they stand for."""
    found = set()
    for entry in list(Path("/dev/fd").iterdir()):
        with suppress(OSError):
            status = os.fstat(fd := int(entry.name))
            if stat.S_ISSOCK(status.st_mode):
                with socket.socket(fileno=os.dup(fd)) as sock:
                    if sock.getpeername()[:2] == (pod.address, pod.port):
                        found.add((fd, status.st_ino))
    return found


def is_open(line: tuple[int, int]) -> bool:
    """Whether this process has it still, though it may be connected no longer."""
    with suppress(OSError):
        return os.fstat(line[0]).st_ino == line[1]
    return False


def test_what_is_over_on_a_pod_that_left_is_closed_at_once(flavor: str) -> None:
    """Each line with its answer, and with the last of them the whole pool, though no request comes after."""
    with pods(2) as service, web(flavor, service.source) as client:
        http, extensions = client.client, {"peer": service[0].peer}
        answers = []
        for _ in range(2):
            request = client.call(http.build_request, "GET", "http://web.prod/", extensions=extensions)
            answers.append(client.call(http.send, request, stream=True))
        lines = lines_to(service[0])
        assert len(lines) == 2
        service.shown = service.all[1:]
        client.refresh()
        read = "read" if flavor.startswith("threads") else "aread"
        assert not ends(service[0], 0.05)
        client.call(getattr(answers[0], read))
        assert ends(service[0])
        assert not ends(service[0], 0.05)
        client.call(getattr(answers[1], read))
        assert ends(service[0])
        eventually(lambda: not any(map(is_open, lines)))


def test_an_answer_may_end_in_the_middle_of_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the garbage collector finds one that was left open, while its thread begins another request."""
    with pods(2) as service, web("threads-httpx", service.source) as client:
        response, _, close = stream(client, "threads-httpx")
        pools = client.transport._state.pools
        make = pools._make_pool

        def collected(peer: Any) -> Any:
            close()
            return make(peer)

        monkeypatch.setattr(pools, "_make_pool", collected)
        thread = threading.Thread(target=client.get, daemon=True)
        thread.start()
        thread.join(LONG)
        assert not thread.is_alive()
        assert response.is_closed


def test_a_pod_that_leaves_as_an_attempt_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt is seen by what closes the pod's connections, or it sees that the pod has left."""
    with pods(2) as service, web("threads-httpx", service.source) as client:
        for _ in range(2):
            client.get()
        pools = client.transport._state.pools

        def leaves(pod: Any, *args: Any) -> Any:
            monkeypatch.setattr(_pools, "Attempt", Attempt)
            service.shown = [other for other in service.all if other.peer != pod.peer]
            client.refresh()
            for pool in pools.closable():  # as another request would
                pool.close()
            return Attempt(pod, *args)

        monkeypatch.setattr(_pools, "Attempt", leaves)
        response = client.get()
        (left,) = (pod for pod in service.all if pod not in service.shown)
        assert response.text.startswith(left.name)
        assert left.accepted == 2
        assert [ends(left), ends(left)] == [True, True]  # the idle connection, and that of the request
