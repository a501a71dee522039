"""The Kubernetes source on a real API server: who is there, as it changes, and as DNS has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from peerdiscover import (
    DNS,
    AsyncDiscovery,
    ConfigurationError,
    Discovery,
    Kubernetes,
    NameNotFoundError,
    NoPeersError,
    Outcome,
    PeerSet,
    Policy,
    resolve,
)
from peerdiscover.sources.kubernetes._rbac import forbidden_text
from tests.tools.cluster import Cluster, Workload
from tests.waiting import LONG, eventually


@dataclass
class Reader:
    """Somebody who may read EndpointSlices in one namespace, and no more."""

    cluster: Cluster
    namespace: str
    token: str

    def source(self, **more: Any) -> Kubernetes:
        return Kubernetes(self.cluster.server, self.cluster.ca, self.token, **more)


@pytest.fixture
def reader(cluster: Cluster, namespace: str) -> Reader:
    account = f"system:serviceaccount:{namespace}:default"
    cluster.api.apply(forbidden_text(namespace, "web", account).partition(":\n")[2])
    found = Reader(cluster, namespace, cluster.api.token(namespace))

    def may_read() -> bool:
        try:
            resolve(f"nobody.{namespace}:1", source=found.source())
        except ConfigurationError:
            return False
        except NameNotFoundError:
            return True
        raise AssertionError("there is no such Service")

    eventually(may_read)
    return found


def told_by_dns(cluster: Cluster, service: str, family: Any = "any") -> PeerSet:
    cluster.corefile(ttl=1, cache=0)
    dns = DNS([cluster.nameserver], cluster_domain=cluster.cluster_domain, family=family)
    try:
        return resolve(service, source=dns, timeout=20)
    finally:
        cluster.corefile()


def shown(peers: PeerSet) -> list[tuple[object, ...]]:
    return [(p.key, p.address, p.addresses, p.port, p.hostname, p.fqdn, p.ordinal) for p in peers]


def there_are(web: Discovery, count: int) -> None:
    eventually(lambda: len(web.peers) == count)


def test_a_statefulset_grows_goes_and_comes_back(
    cluster: Cluster, reader: Reader, statefulset: Callable[..., Workload]
) -> None:
    pods = statefulset("web", 3, ports={"http": 8080, "metrics": 9090})
    pods.wait()
    service = f"web.{reader.namespace}:http"
    with Discovery(service, source=reader.source()) as web:
        assert web.peers.kind == "headless"
        assert shown(web.peers) == shown(told_by_dns(cluster, service))
        assert {peer.key: peer.node for peer in web.peers} == {pod.name: pod.node for pod in pods.pods()}
        assert {peer.key: peer.zone for peer in web.peers} == {pod.name: pod.zone for pod in pods.pods()}
        for count in 10, 0, 3:
            pods.scale(count)
            if count:
                pods.wait()
            there_are(web, count)
            assert web.status.outcome is (Outcome.RESOLVED if count else Outcome.EMPTY)
            if not count:
                with pytest.raises(NoPeersError):
                    web.round_robin().pick()
        assert shown(web.peers) == shown(told_by_dns(cluster, service))
        assert web.status.failures == 0


@pytest.mark.anyio
async def test_a_rolling_restart_awaited(reader: Reader, statefulset: Callable[..., Workload]) -> None:
    pods = statefulset("web", 3)
    pods.wait()
    async with AsyncDiscovery(f"web.{reader.namespace}:8080", source=reader.source()) as web:
        before = {peer.key: peer.address for peer in web.peers}
        pods.restart()
        seen = set[str]()
        async for change in web.changes(timeout=LONG):
            seen |= {peer.key for peer in change.after if peer.address != before[peer.key]}
            assert {peer.key for peer in change.after} <= {"web-0", "web-1", "web-2"}
            if len(change.after) == 3 and len(seen) == 3:
                break
        now = {peer.key: peer.address for peer in web.peers}
        assert now == {pod.name: pod.ip for pod in await anyio.to_thread.run_sync(pods.wait)}
        assert not set(before.values()) & set(now.values())


def test_a_deployment(cluster: Cluster, reader: Reader, deployment: Callable[..., Workload]) -> None:
    deployment("app", 3).wait()
    service = f"app.{reader.namespace}:http"
    found = resolve(service, source=reader.source())
    assert shown(found) == shown(told_by_dns(cluster, service))
    assert all(peer.hostname is None for peer in found)


def test_the_pods_behind_a_virtual_address(reader: Reader, deployment: Callable[..., Workload]) -> None:
    pods = deployment("app", 2, headless=False).wait()
    found = resolve(f"app.{reader.namespace}:http", source=reader.source())
    assert found.kind == "cluster-ip"
    assert {peer.address for peer in found} == {pod.ip for pod in pods}


def test_both_families(
    cluster: Cluster,
    reader: Reader,
    statefulset: Callable[..., Workload],
    deployment: Callable[..., Workload],
) -> None:
    named, nameless = statefulset("web", 2, dual_stack=True), deployment("app", 2, dual_stack=True)
    for workload in named, nameless:
        pods = workload.wait()
        service = f"{workload.service}.{reader.namespace}:8080"
        found, by_dns = resolve(service, source=reader.source()), told_by_dns(cluster, service)
        assert {peer.addresses for peer in found} == {pod.ips for pod in pods}
        assert [":" in address for address in found[0].addresses] == [False, True]
        assert [peer.key for peer in found] == [peer.key for peer in by_dns]
        assert [peer.fqdn for peer in found] == [peer.fqdn for peer in by_dns]
    assert shown(found) != shown(by_dns), "DNS cannot pair the addresses of pods without hostnames"


def test_pods_that_are_not_ready(reader: Reader, statefulset: Callable[..., Workload]) -> None:
    never = {"test/startup": "3600"}
    statefulset("quiet", 2, annotations=never)
    pods = statefulset("loud", 2, annotations=never, publish_not_ready=True)
    pods.until(lambda pods: len(pods) == 2 and all(pod.ip for pod in pods))
    with Discovery(f"loud.{reader.namespace}:8080", source=reader.source()) as loud:
        assert {peer.key for peer in loud.wait(2, 20)} == {"loud-0", "loud-1"}
    nobody = Policy(min_peers=0)
    with Discovery(f"quiet.{reader.namespace}:8080", source=reader.source(), policy=nobody) as quiet:
        assert quiet.status.outcome is Outcome.EMPTY


def test_nobody_and_why(reader: Reader, statefulset: Callable[..., Workload]) -> None:
    """Who may only read slices is told less than who may read Services, too."""
    cluster = reader.cluster
    admin = Kubernetes(cluster.server, cluster.ca, cluster.admin_token)
    nothing, without = f"nothing.{reader.namespace}:80", f"without.{reader.namespace}:80"
    spec = {"clusterIP": "None", "ports": [{"port": 80}]}
    reader.cluster.api.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "without"}, "spec": spec},
        reader.namespace,
    )
    for source, service, text in (
        (reader.source(), nothing, "not found.*there are no EndpointSlices of it"),
        (reader.source(), without, "not found.*there are no EndpointSlices of it"),
        (admin, nothing, f"not found.*there is no Service nothing in the namespace {reader.namespace}"),
        (admin, without, "empty.*the Service is there; no pod is behind it"),
    ):
        with pytest.raises(NameNotFoundError, match=text) as error:
            resolve(service, source=source)
        assert error.value.servers == ("10.96.0.1",)
        assert error.value.name == f"{service[:-3]}.svc.cluster.local."
    # It comes into being under a watch that has begun with nobody.
    with Discovery(nothing, source=admin, policy=Policy(min_peers=0)) as web:
        put(reader, "nothing-1", ["10.1.0.1"], port=80, service="nothing")
        assert [peer.hostport for peer in web.wait(1, 20)] == ["10.1.0.1:80"]


def test_which_port(cluster: Cluster, reader: Reader, statefulset: Callable[..., Workload]) -> None:
    statefulset("web", 1, ports={"http": 8080, "metrics": 9090}).wait()
    name = f"web.{reader.namespace}"
    source = reader.source()
    assert {peer.port for peer in resolve(f"{name}:metrics", source=source)} == {9090}
    assert {peer.port for peer in resolve(f"_metrics._tcp.{name}", source=source)} == {9090}
    assert {peer.port for peer in resolve(f"{name}:7", source=source)} == {7}
    with pytest.raises(NameNotFoundError, match="its port 'grpc' is not; it has http=8080, metrics=9090"):
        resolve(f"{name}:grpc", source=source)
    with pytest.raises(ConfigurationError, match=r"several ports \(8080, 9090\)"):
        resolve(name, source=source)
    with Discovery(f"{name}:7", source=source) as web:
        assert "has the port 7; they have 8080, 9090" in web.explain()


# Slices that are written by hand, for what no controller can be made to do


def put(
    reader: Reader, name: str, addresses: list[str], *, port: int = 80, service: str = "made", **more: Any
) -> None:
    uid = more.pop("uid", "uid-{}").format
    reader.cluster.api.apply(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": [
                {
                    "addresses": [address],
                    "conditions": {"ready": True},
                    "targetRef": {"kind": "Pod", "name": f"p-{address}", "uid": uid(address)},
                    **more,
                }
                for address in addresses
            ],
        },
        reader.namespace,
    )


def addresses_of(peers: PeerSet) -> set[str]:
    return {peer.address for peer in peers}


def test_a_move_between_slices_is_no_change(reader: Reader) -> None:
    first, second = [f"10.1.0.{i}" for i in range(1, 6)], [f"10.1.1.{i}" for i in range(1, 6)]
    put(reader, "made-1", first)
    put(reader, "made-2", second)
    with Discovery(f"made.{reader.namespace}:http", source=reader.source()) as web:
        assert addresses_of(web.peers) == {*first, *second}
        generation = web.peers.generation
        put(reader, "made-2", [*second, *first[:3]])  # for a moment they stand in both
        put(reader, "made-1", first[3:])
        put(reader, "made-3", ["10.1.2.1"])
        eventually(lambda: "10.1.2.1:80" in web.peers.by_key)
        assert web.peers.generation == generation + 1
        assert addresses_of(web.peers) == {*first, *second, "10.1.2.1"}
        reader.cluster.api.delete(reader.cluster.api.path("EndpointSlice", reader.namespace, "made-1"))
        eventually(lambda: addresses_of(web.peers) == {*first[:3], *second, "10.1.2.1"})


def test_a_thousand_endpoints_in_ten_slices(reader: Reader) -> None:
    slices = {n: [f"10.{n}.{i // 200}.{1 + i % 200}" for i in range(100)] for n in range(1, 11)}
    for n, addresses in slices.items():
        put(reader, f"made-{n}", addresses)
    with Discovery(f"made.{reader.namespace}:http", source=reader.source()) as web:
        assert len(web.peers) == 1000
        for n in range(1, 6):
            put(reader, f"made-{n}", slices[n][1:])
        eventually(lambda: len(web.peers) == 995)
        assert {f"10.{n}.0.1" for n in range(1, 11)} & addresses_of(web.peers) == {
            f"10.{n}.0.1" for n in range(6, 11)
        }


def test_pages(cluster: Cluster, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a list, as on a server that does not serve watches that begin with all that is there."""
    from peerdiscover.sources.kubernetes import _phases, _reflector

    monkeypatch.setattr(_phases, "PAGE", 3)
    asked: list[str] = []
    path = _phases.request_path

    def noted(*arguments: Any, **options: Any) -> str:
        asked.append(path(*arguments, **options))
        return asked[-1]

    monkeypatch.setattr(_reflector, "request_path", noted)
    for n in range(1, 9):
        put(reader, f"made-{n}", [f"10.1.0.{n}"])
    source = reader.source()
    source._server_state.no_watch_list = True
    with Discovery(f"made.{reader.namespace}:http", source=source) as web:
        assert len(web.peers) == 8
        assert [("continue=" in one, "limit=3" in one) for one in asked[:3]] == [
            (False, True), (True, True), (True, True)
        ]  # fmt: skip
        put(reader, "made-9", ["10.1.0.9"])
        eventually(lambda: len(web.peers) == 9)
        assert "watch=1" in asked[3]
        assert "sendInitialEvents" not in "".join(asked)
        assert len(asked) == 4


def test_a_server_that_refuses_watches_that_begin_with_all_that_is_there(
    own_cluster: Callable[..., Cluster],
) -> None:
    cluster = own_cluster(apiserver=("--feature-gates=WatchList=false",))
    source = Kubernetes(cluster.server, cluster.ca, cluster.admin_token)
    with cluster.inside():
        pods = cluster.statefulset("web", 2, namespace=cluster.namespace())
        pods.wait()
        with Discovery(f"web.{pods.namespace}:http", source=source) as web:
            assert source._server_state.no_watch_list
            assert len(web.peers) == 2
            pods.scale(3)
            web.wait(3, LONG)
            assert web.status.failures == 0


def test_who_is_told_first_is_told_at_once(reader: Reader) -> None:
    """A change is in `peers` soon after the API server has it: generous here, measured by the benchmark."""
    put(reader, "made-1", ["10.1.0.1"])
    with Discovery(f"made.{reader.namespace}:http", source=reader.source()) as web:
        for n in range(2, 12):
            put(reader, "made-1", [f"10.1.0.{i}" for i in range(1, n + 1)])
            assert len(web.wait(n, 2)) == n
        assert web.peers.by_key["10.1.0.1:80"].fqdn == f"10-1-0-1.made.{reader.namespace}.svc.cluster.local."
