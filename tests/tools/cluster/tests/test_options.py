"""What a cluster can be asked to be; and what it is by itself."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import httpx
import pytest

from tests.tools.cluster import ApiError, Cluster, Workload
from tests.waiting import LONG

from ._dns import addresses, ask

Make = Callable[..., Workload]


def test_both_families(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 2, dual_stack=True)
    pods = web.wait()
    assert addresses(cluster, web.fqdn) == {pod.ips[0] for pod in pods}
    assert addresses(cluster, web.fqdn, "AAAA") == {pod.ips[1] for pod in pods}
    with urlopen(f"http://[{pods[1].ips[1]}]:8080/", timeout=LONG) as answer:
        assert json.load(answer)["pod"] == "web-1"


def test_two_clusters_side_by_side(
    cluster: Cluster, statefulset: Make, own_cluster: Callable[..., Cluster]
) -> None:
    here = statefulset("web", 1)
    ours = here.wait()
    other = own_cluster(cluster_domain="corp.example", ttl=7, endpoint_pod_names=True)
    assert (other.options.nodes, other.options.dual_stack) == ({"node-1": "zone-a"}, False)
    with other.inside():
        web = other.deployment("web", 2, namespace=other.namespace())
        pods = web.wait()
        assert web.fqdn.endswith(".svc.corp.example")
        answer = ask(other, web.fqdn)
        assert set(answer.records) == {pod.ip for pod in pods}
        assert answer.ttl == 7
        targets = {record.split()[-1] for record in ask(other, f"_http._tcp.{web.fqdn}", "SRV").records}
        assert targets == {f"{pod.name}.{web.fqdn}." for pod in pods}
        with pytest.raises(ApiError, match="404"):
            other.api.get(here.path)
    assert addresses(cluster, here.fqdn) == {ours[0].ip}


def test_coredns_is_told_something_else(cluster: Cluster, deployment: Make) -> None:
    app = deployment("app", 1)
    pod = app.wait()[0]
    srv, zone = f"_http._tcp.{app.fqdn}", f"{pod.zone}.pin._zone.{app.fqdn}"
    dashed = f"{pod.ip.replace('.', '-')}.{app.fqdn}."
    try:
        assert ask(cluster, zone).rcode_name == "NXDOMAIN"
        assert [r.split()[-1] for r in ask(cluster, srv, "SRV").records] == [dashed]
        cluster.corefile(ttl=1, cache=0, endpoint_pod_names=True, zonal=True)
        assert ask(cluster, app.fqdn).ttl == 1
        assert [r.split()[-1] for r in ask(cluster, srv, "SRV").records] == [f"{pod.name}.{app.fqdn}."]
        assert ask(cluster, zone).records == (pod.ip,)
        assert ask(cluster, f"nowhere.pin._zone.{app.fqdn}").rcode_name == "NOERROR"
        assert ask(cluster, f"nowhere.prefer._zone.{app.fqdn}").records == (pod.ip,)
    finally:
        cluster.corefile()
    assert ask(cluster, app.fqdn).ttl == 5
    assert [r.split()[-1] for r in ask(cluster, srv, "SRV").records] == [dashed]


def test_answers_are_kept_for_as_long_as_the_cache_is_told(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1)
    try:
        cluster.corefile(ttl=30, cache=30)
        before = web.wait()
        assert addresses(cluster, web.fqdn) == {before[0].ip}
        web.scale(2)
        assert len(web.wait(2)) == 2
        assert addresses(cluster, web.fqdn) == {before[0].ip}
        cluster.corefile(ttl=30, cache=0)
        deadline = time.monotonic() + 5
        while len(addresses(cluster, web.fqdn)) != 2:
            assert time.monotonic() < deadline
    finally:
        cluster.corefile()


def test_watch_lists_and_bookmarks_are_served(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1)
    web.wait()
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    slices = cluster.api.path("EndpointSlice", web.namespace)
    events = _watch(cluster, f"{slices}?{query}&timeoutSeconds=2", "admin-token")
    assert [event["type"] for event in events[:2]] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_an_account_may_do_what_its_role_says(cluster: Cluster, namespace: str) -> None:
    rights = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [rights]}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    cluster.api.apply([{**item, "metadata": {"name": "r"}} for item in (role, binding)], namespace)
    token = cluster.api.token(namespace)
    with _client(cluster, token) as http:
        slices = cluster.api.path("EndpointSlice", namespace)
        assert _status(http, slices, 200) == 200  # the authorizer follows in a moment
        assert http.get(f"{slices}?watch=1").status_code == 403
        assert http.get(cluster.api.path("EndpointSlice", "default")).status_code == 403
        assert http.get(cluster.api.path("Service", namespace)).status_code == 403
    with _client(cluster, "nobody's") as http:
        assert http.get(slices).status_code == 401


def test_a_token_whose_time_is_over(cluster: Cluster, namespace: str) -> None:
    for seconds, status in ((3600, 403), (30, 403), (-1, 401)):  # 403: known, but without rights
        with _client(cluster, cluster.api.token(namespace, seconds=seconds)) as http:
            assert http.get("/api/v1/namespaces/default").status_code == status


def test_a_client_certificate(cluster: Cluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.ca))
    context.load_cert_chain(*cluster.client_certificate("jane", ["system:masters"]))
    with httpx.Client(base_url=cluster.server, verify=context, trust_env=False) as http:
        assert http.get("/api/v1/namespaces/default").status_code == 200


@pytest.mark.timeout(900)  # most of it is the control plane's own work
def test_hundreds_of_light_pods(own_cluster: Callable[..., Cluster]) -> None:
    """In four slices, and in more than one network of 256 addresses."""
    cluster = own_cluster(zones=("zone-a", "zone-b"))
    with cluster.inside():
        at_once = {"test/startup": "0"}
        web = cluster.statefulset("web", 301, namespace=cluster.namespace(), annotations=at_once)
        pods = web.wait()
        assert len({pod.ip for pod in pods}) == 301
        deadline = time.monotonic() + LONG
        while len(addresses(cluster, web.fqdn)) != 301:
            assert time.monotonic() < deadline
        with urlopen(f"http://{pods[300].ip}:8080/", timeout=LONG) as answer:
            assert json.load(answer)["pod"] == "web-300"


def _client(cluster: Cluster, token: str) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(cluster.ca))
    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=cluster.server, verify=context, headers=headers, trust_env=False)


def _status(http: httpx.Client, path: str, wanted: int) -> int:
    deadline = time.monotonic() + 20
    while (status := http.get(path).status_code) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return status


def _watch(cluster: Cluster, path: str, token: str) -> list[dict[str, Any]]:
    context = ssl.create_default_context(cafile=str(cluster.ca))
    request = Request(f"{cluster.server}{path}", headers={"Authorization": f"Bearer {token}"})
    with contextlib.closing(urlopen(request, timeout=LONG, context=context)) as stream:
        return [json.loads(line) for line in stream]
