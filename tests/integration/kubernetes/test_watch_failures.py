"""The Kubernetes source when the API server, the way to it, or the right to ask fails: on the real one."""

from __future__ import annotations

import itertools
import logging
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from peerdiscover import (
    DNS,
    AsyncDiscovery,
    ConfigurationError,
    Discovery,
    Fallback,
    Kubernetes,
    Outcome,
    Policy,
    ResolutionTimeoutError,
    resolve,
)
from peerdiscover.sources.kubernetes import _phases, _reflector
from tests.tools.cluster import Cluster
from tests.waiting import LONG, eventually

from ._pod import Pod


class Made:
    """A Service's slice that the test writes: after the API server was away, controllers take their time."""

    def __init__(self, cluster: Cluster) -> None:
        self._api = cluster.api
        self._name = f"made-{next(_numbers)}"
        self.service = f"{self._name}.default:http"
        spec = {"clusterIP": "None", "ports": [{"name": "http", "port": 8080}]}  # and no selector
        self._api.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": self._name}, "spec": spec}
        )

    def scale(self, count: int) -> None:
        self._api.apply(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": self._name, "labels": {"kubernetes.io/service-name": self._name}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "endpoints": [
                    {"addresses": [f"10.9.0.{i + 1}"], "hostname": f"web-{i}"} for i in range(count)
                ],
            }
        )

    def delete(self) -> None:
        for kind in "EndpointSlice", "Service":
            self._api.delete(self._api.path(kind, "default", self._name))


@pytest.fixture
def made(cluster: Cluster) -> Iterator[Made]:
    """Three endpoints, on an API server that is there when the test begins and when it ends."""
    found = Made(cluster)
    found.scale(3)
    yield found
    found.delete()


@pytest.fixture
def source(cluster: Cluster) -> Kubernetes:
    return Kubernetes(cluster.server, cluster.ca, cluster.admin_token)


_numbers = itertools.count(1)


@contextmanager
def without(cluster: Cluster, part: str, how: str = "stop") -> Iterator[None]:
    """That part is stopped, killed or paused within."""
    getattr(cluster, f"{how}_part")(part)
    try:
        yield
    finally:
        (cluster.resume_part if how == "pause" else cluster.start_part)(part)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What watches ask for, and `410` where they are told that their version is too old."""
    targets: list[str] = []
    path, server_failed = _phases.request_path, _reflector.Reflector._server_failed

    def noted(*arguments: Any, **options: Any) -> str:
        targets.append(path(*arguments, **options))
        return targets[-1]

    def noted_410(self: _reflector.Reflector, code: object, *arguments: Any) -> Any:
        targets.extend(["410"] if code == 410 else [])
        return server_failed(self, code, *arguments)

    monkeypatch.setattr(_reflector, "request_path", noted)
    monkeypatch.setattr(_reflector.Reflector, "_server_failed", noted_410)
    return targets


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_api_server_is_away_and_comes_back(
    cluster: Cluster, made: Made, source: Kubernetes, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "peerdiscover")
    with Discovery(made.service, source=source) as web:
        before = web.peers
        with without(cluster, "apiserver", how):
            eventually(lambda: web.status.failures)
            assert web.status.stale
            assert web.peers == before
            assert web.status.age > 0
        eventually(lambda: not web.status.stale)
        assert web.peers == before
        made.scale(4)
        web.wait(4, LONG)
    failed, recovered = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "watch failed, keeping 3 peers: " in failed
    assert "watch recovered" in recovered


@pytest.mark.anyio
async def test_the_api_server_is_away_and_comes_back_awaited(
    cluster: Cluster, made: Made, source: Kubernetes
) -> None:
    async with AsyncDiscovery(made.service, source=source) as web:
        before = web.peers
        await anyio.to_thread.run_sync(cluster.kill_part, "apiserver")
        try:
            await anyio.to_thread.run_sync(eventually, lambda: web.status.stale)
            assert web.peers == before
        finally:
            await anyio.to_thread.run_sync(cluster.start_part, "apiserver")
        await web.refresh()  # the next word of the watch that is no failure
        made.scale(4)
        await web.wait(4, LONG)


def test_a_version_that_is_too_old(
    cluster: Cluster, made: Made, source: Kubernetes, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection breaks, and when it is made anew the history since then is gone."""
    with through(cluster.server) as way:
        monkeypatch.setattr(_reflector, "FIRST_WAIT", 0.01)
        there = Kubernetes(way.server, cluster.ca, cluster.admin_token)
        with Discovery(made.service, source=there) as web:
            way.swallow()
            made.scale(4)
            cluster.compact()
            assert len(web.peers) == 3
            way.cut()
            web.wait(4, LONG)
        assert "410" in asked
        assert "resourceVersion=" in asked[asked.index("410") - 1]
        assert web.status.failures == 0


def test_a_connection_that_breaks_is_taken_up_where_it_was(
    cluster: Cluster, made: Made, asked: list[str]
) -> None:
    with through(cluster.server) as way:
        there = Kubernetes(way.server, cluster.ca, cluster.admin_token)
        with Discovery(made.service, source=there) as web:
            way.swallow()
            made.scale(4)
            way.cut()
            web.wait(4, LONG)
            assert web.status.failures == 0
        assert [("sendInitialEvents" in one, "resourceVersion=" in one) for one in asked] == [
            (True, False),
            (False, True),
        ]


def test_a_proxy_that_swallows_events_is_found_out(
    cluster: Cluster, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open connection on which nothing comes: the set is read anew when the watch's time is over."""
    monkeypatch.setattr(_reflector, "GRACE", 0.5)
    with through(cluster.server) as way:
        there = Kubernetes(way.server, cluster.ca, cluster.admin_token, timeout_seconds=2)
        with Discovery(made.service, source=there) as web:
            way.swallow()
            made.scale(2)
            eventually(lambda: len(web.peers) == 2)
            assert web.status.failures == 0


def test_an_api_server_that_hangs(cluster: Cluster, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reflector, "GRACE", 0.5)
    source = Kubernetes(cluster.server, cluster.ca, cluster.admin_token, timeout_seconds=1)
    policy = Policy(timeout=1)
    with Discovery(made.service, source=source, policy=policy) as web:
        with without(cluster, "apiserver", "pause"):
            eventually(lambda: web.status.failures)
            assert "no answer in" in str(web.status.error)
            assert web.status.age >= 1
            with pytest.raises(ResolutionTimeoutError, match="no answer in"):
                resolve(made.service, source=source, timeout=1)
        eventually(lambda: not web.status.stale)
        made.scale(4)
        web.wait(4, LONG)


def test_the_end_of_a_watch_is_a_whole_sync(cluster: Cluster, made: Made, asked: list[str]) -> None:
    source = Kubernetes(cluster.server, cluster.ca, cluster.admin_token, timeout_seconds=1)
    with Discovery(made.service, source=source) as web:
        answered = web.status.lookups
        eventually(lambda: len(asked) >= 4)
        eventually(lambda: web.status.lookups >= answered + 3)
        assert all("sendInitialEvents" in one for one in asked)
        assert not any("resourceVersion=" in one for one in asked)
        assert (web.peers.generation, web.status.failures) == (1, 0)


def test_bookmarks_confirm_the_set(cluster: Cluster, made: Made, asked: list[str]) -> None:
    """The API server sends one a minute, and one shortly before the end of a watch, if any slice changed."""
    source = Kubernetes(cluster.server, cluster.ca, cluster.admin_token, timeout_seconds=8)
    other = Made(cluster)
    with Discovery(made.service, source=source) as web:
        other.scale(1)
        eventually(lambda: web.status.lookups >= 2)
        assert len(asked) == 1
        assert web.peers.generation == 1
    other.delete()


def test_a_token_that_is_not_accepted_any_more(cluster: Cluster, made: Made, tmp_path: Path) -> None:
    """The file has a good one by then: it is read again at once, and nobody notices."""
    from peerdiscover.sources.kubernetes._rbac import forbidden_text

    for account in "first", "second":
        cluster.api.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}, "default"
        )
        user = f"system:serviceaccount:default:{account}"
        cluster.api.apply(forbidden_text("default", "web", user).partition(":\n")[2])
    pod = Pod(tmp_path, cluster, "default")
    token = pod.token
    token.write_text(cluster.api.token("default", "first"))
    source = pod.source(timeout_seconds=1)

    def may_read() -> bool:
        with suppress(ConfigurationError):
            return len(resolve(made.service, source=source)) == 3
        return False

    eventually(may_read)
    with Discovery(made.service, source=source) as web:
        token.write_text(cluster.api.token("default", "second"))
        cluster.api.delete(cluster.api.path("ServiceAccount", "default", "first"))
        made.scale(4)
        web.wait(4, LONG)
        answered = web.status.lookups
        eventually(lambda: web.status.lookups > answered + 15)  # the server forgets a token in ten seconds
        assert web.status.failures == 0
        token.write_text("nobodys-token")
        cluster.api.delete(cluster.api.path("ServiceAccount", "default", "second"))
        eventually(lambda: web.status.failures)
        assert "the credentials are not accepted" in str(web.status.error)
        assert len(web.peers) == 4
    with pytest.raises(ConfigurationError, match="the credentials are not accepted"):
        resolve(made.service, source=source)


def test_another_ca(cluster: Cluster, tmp_path: Path) -> None:
    from tests.tools.certificates import Authority

    other = Authority(tmp_path, "other").ca
    source = Kubernetes(cluster.server, other, "t")
    with pytest.raises(ConfigurationError, match=f"{cluster.server} does not verify against {other}"):
        resolve("web.default:http", source=source)


@pytest.mark.anyio
async def test_another_ca_awaited(cluster: Cluster, tmp_path: Path) -> None:
    from tests.tools.certificates import Authority

    other = Authority(tmp_path, "other").ca
    with pytest.raises(ConfigurationError, match=f"{cluster.server} does not verify against {other}"):
        async with AsyncDiscovery("web.default:http", source=Kubernetes(cluster.server, other, "t")):
            raise AssertionError("nobody can be there")


def test_dns_instead(cluster: Cluster, made: Made, source: Kubernetes) -> None:
    """The API server goes, DNS takes over; it comes back, and so does the watch."""
    cluster.corefile(ttl=1)
    dns = DNS([cluster.nameserver], cluster_domain=cluster.cluster_domain)
    service = made.service
    with Discovery(service, source=Fallback(source, dns), policy=Policy(max_refresh=1)) as web:
        before = web.peers
        with without(cluster, "apiserver"):
            eventually(lambda: "Watch failed" in web.explain())
            answered = web.status.lookups
            eventually(lambda: web.status.lookups > answered + 1)
            assert web.status.outcome is Outcome.RESOLVED
            assert web.peers == before
        eventually(lambda: "Watch failed" not in web.explain())
        made.scale(4)
        web.wait(4, LONG)
    cluster.corefile()


# Ends


@contextmanager
def black_hole(cluster: Cluster) -> Iterator[Kubernetes]:
    """An API server to which nobody can connect, and nobody is told: its queue of connections is full."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener, ExitStack() as waiting:
        for _ in range(3):
            sock = waiting.enter_context(closing(socket.socket()))
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(listener.getsockname())
        yield Kubernetes(f"https://127.0.0.1:{listener.getsockname()[1]}", cluster.ca, "t")


SLOW = Policy(timeout=2 * LONG, ready_timeout=0.3)


def test_closing_while_nothing_comes(made: Made, source: Kubernetes) -> None:
    web = Discovery(made.service, source=source, policy=Policy(timeout=2 * LONG)).start()
    began = time.monotonic()
    web.close()
    assert time.monotonic() - began < LONG, "it does not wait for what may come"


@pytest.mark.parametrize("where", ["connecting", "between attempts"])
def test_closing_while_nobody_is_reached(
    cluster: Cluster, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reflector, "FIRST_WAIT", 4 * LONG)
    with black_hole(cluster) as hole:
        source = hole if where == "connecting" else Kubernetes("https://127.0.0.1:9", cluster.ca, "t")
        said = "no answer yet" if where == "connecting" else "Connection refused"
        web = Discovery("web.default:http", source=source, policy=SLOW).start(wait=False)
        if where == "between attempts":
            eventually(lambda: web.status.failures)
        began = time.monotonic()
        with pytest.raises(ResolutionTimeoutError, match=said):
            web.start()
        web.close()
        with pytest.raises(ResolutionTimeoutError):
            resolve("web.default:http", source=source, timeout=1)
        assert time.monotonic() - began < SLOW.timeout, "none waits for a connection"


@pytest.mark.anyio
async def test_giving_up_awaited(cluster: Cluster) -> None:
    with black_hole(cluster) as hole, anyio.fail_after(SLOW.timeout):
        web = AsyncDiscovery("web.default:http", source=hole, policy=SLOW)
        with pytest.raises(ResolutionTimeoutError):
            await web.__aenter__()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork(cluster: Cluster, made: Made, source: Kubernetes) -> None:
    """The child watches by itself; the parent's connection goes on as it was."""
    from tests.discovery.test_fork import Child

    with Discovery(made.service, source=source) as web:

        def in_the_child() -> Any:
            web.wait(4, LONG)
            found = [peer.key for peer in web.peers]
            web.close()
            return found

        child = Child(in_the_child)
        made.scale(4)
        assert child.result() == ["web-0", "web-1", "web-2", "web-3"]
        web.wait(4, LONG)
        made.scale(5)
        web.wait(5, LONG)
        assert web.status.failures == 0


# A way to the API server that can be hurt


class Way:
    """Carries connections to the API server, through a port of its own."""

    def __init__(self, server: str) -> None:
        self._to = (server.partition("//")[2], 443)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._woken, self._waker = socket.socketpair()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._swallowing: set[socket.socket] = set()
        self._deaf: list[socket.socket] = []
        self._cut = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._carry)
        self._thread.start()

    @property
    def server(self) -> str:
        """The API server, by this way: its certificate is for this address, too."""
        return f"https://127.0.0.1:{self.port}"

    def swallow(self) -> None:
        """Of the connections there are now, nothing comes through any more, their ends included."""
        self._swallowing |= set(self._pairs)

    def cut(self) -> None:
        """The connections there are now end."""
        self._cut.set()
        self._waker.send(b"x")

    def end(self) -> None:
        self._ending = True
        self._waker.send(b"x")
        self._thread.join()
        for sock in (self._listener, self._woken, self._waker):
            sock.close()

    def _carry(self) -> None:
        while True:
            ready, _, _ = select.select([self._listener, self._woken, *self._pairs], [], [], 10)
            if self._woken in ready:
                self._woken.recv(100)
            if self._cut.is_set() or self._ending:
                for sock in (*self._pairs, *self._deaf):
                    sock.close()
                self._deaf.clear()
                self._pairs.clear()
                self._swallowing.clear()
                self._cut.clear()
            if self._ending:
                return
            for sock in ready:
                if sock is self._listener:
                    near, _ = sock.accept()
                    try:
                        far = socket.create_connection(self._to, 5)
                    except OSError:
                        near.close()
                        continue
                    self._pairs |= {near: far, far: near}
                elif sock in self._pairs:
                    self._pass_on(sock)

    def _pass_on(self, sock: socket.socket) -> None:
        other = self._pairs[sock]
        try:
            some = sock.recv(65536)
            if some and sock not in self._swallowing:
                other.sendall(some)
        except OSError:
            some = b""
        if not some and sock in self._swallowing:
            del self._pairs[sock]
            self._deaf += [sock, other]
            self._pairs.pop(other, None)
        elif not some:
            for end in sock, other:
                self._pairs.pop(end, None)
                self._swallowing.discard(end)
                end.close()


@contextmanager
def through(server: str) -> Iterator[Way]:
    way = Way(server)
    try:
        yield way
    finally:
        way.end()
