"""From EndpointSlices to an answer: the union, ports, what is dropped. No server, no network."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerdiscover import ConfigurationError, Outcome, ServiceName
from peerdiscover.answers import Answer, Endpoint
from peerdiscover.sources.kubernetes._commands import Target
from peerdiscover.sources.kubernetes._endpointslices import Slices

NAME = "web.prod.svc.cluster.local."


def slices(*items: Any, service: str = "web.prod:http") -> Slices:
    found = Slices(ServiceName.parse(service), Target("10.96.0.1", "", "prod", NAME))
    for item in items:
        found.put(item)
    return found


def answer(*items: Any, service: str = "web.prod:http") -> Answer:
    return slices(*items, service=service).answer()


def a_slice(name: str, *endpoints: Any, ports: Any = ({"name": "http", "port": 8080},), **more: Any) -> Any:
    labels = {"service.kubernetes.io/headless": ""} | more.pop("labels", {})
    return {
        "metadata": {"name": name, "labels": labels},
        "addressType": "IPv4",
        "ports": list(ports) if isinstance(ports, tuple) else ports,
        "endpoints": list(endpoints),
        **more,
    }


def pod(address: str, **more: Any) -> Any:
    uid = more.pop("uid", f"uid-{address}")
    return {"addresses": [address], **({"targetRef": {"uid": uid}} if uid else {}), **more}


READY, UNREADY = {"conditions": {"ready": True}}, {"conditions": {"ready": False}}


def addresses(found: Answer) -> set[tuple[str, ...]]:
    return {endpoint.addresses for endpoint in found.endpoints}


def test_all_of_an_endpoint() -> None:
    found = answer(a_slice("a", pod("10.0.0.1", hostname="web-0", zone="z1", nodeName="n1")))
    assert found.endpoints == (Endpoint(("10.0.0.1",), 8080, "web-0", f"web-0.{NAME}", "z1", "n1"),)
    assert (found.outcome, found.kind, found.authoritative) == (Outcome.RESOLVED, "headless", True)
    assert (found.name, found.servers) == (NAME, ("10.96.0.1",))


@pytest.mark.parametrize(
    ("kind", "address", "label"),
    [
        ("IPv4", "10.0.0.1", "10-0-0-1"),
        ("IPv6", "fd00::1", "fd00--1"),
        ("IPv6", "fd00::", "fd00--0"),  # CoreDNS: a label cannot end in a hyphen
    ],
)
def test_the_label_that_coredns_would_write(kind: str, address: str, label: str) -> None:
    (found,) = answer(a_slice("a", pod(address), addressType=kind)).endpoints
    assert (found.hostname, found.fqdn) == (None, f"{label}.{NAME}")


def test_a_hostname_made_of_the_address_is_none() -> None:
    (found,) = answer(a_slice("a", pod("10.0.0.1", hostname="10-0-0-1"))).endpoints
    assert (found.hostname, found.fqdn) == (None, f"10-0-0-1.{NAME}")


@pytest.mark.parametrize(
    ("conditions", "there"),
    [
        ({}, True),
        ({"conditions": None}, True),
        ({"conditions": {}}, True),
        ({"conditions": {"ready": None}}, True),
        (READY, True),
        (UNREADY, False),
        ({"conditions": {"ready": False, "serving": True, "terminating": True}}, False),
        ({"conditions": {"ready": True, "serving": False, "terminating": True}}, True),  # publishNotReady…
        ({"conditions": {"ready": "yes"}}, False),
    ],
)
def test_ready_decides(conditions: Any, there: bool) -> None:
    found = answer(a_slice("a", pod("10.0.0.1", **conditions)))
    assert found.outcome is (Outcome.RESOLVED if there else Outcome.EMPTY)


def test_a_pod_in_two_slices_is_one_and_ready_wins() -> None:
    one, two = pod("10.0.0.1", zone="z1"), pod("10.0.0.1", nodeName="n1")
    (found,) = answer(a_slice("a", one), a_slice("b", two)).endpoints
    assert (found.zone, found.node) == ("z1", "n1")
    assert len(answer(a_slice("a", one | READY), a_slice("b", one | UNREADY)).endpoints) == 1
    assert len(answer(a_slice("b", one | UNREADY), a_slice("a", one | READY)).endpoints) == 1


def test_what_was_told_last_wins() -> None:
    old = a_slice("a", pod("10.0.0.1", uid="u"), ports=({"name": "http", "port": 80},))
    new = a_slice("b", pod("10.0.0.2", uid="u"), ports=({"name": "http", "port": 81},))
    there = slices(old, new)
    assert [(e.addresses, e.port) for e in there.answer().endpoints] == [(("10.0.0.2",), 81)]
    there.put(old)
    assert [(e.addresses, e.port) for e in there.answer().endpoints] == [(("10.0.0.1",), 80)]
    there.remove(old)
    assert [(e.addresses, e.port) for e in there.answer().endpoints] == [(("10.0.0.2",), 81)]


@pytest.mark.parametrize("first", ["IPv4", "IPv6"])
@pytest.mark.parametrize("how", ["uid", "hostname"])
def test_both_families_are_one_pod_ipv4_first(first: str, how: str) -> None:
    who = {"uid": "u"} if how == "uid" else {"uid": None, "hostname": "web-0"}
    four, six = a_slice("a", pod("10.0.0.1", **who)), a_slice("b", pod("fd00::1", **who), addressType="IPv6")
    (found,) = answer(*((four, six) if first == "IPv4" else (six, four))).endpoints
    assert found.addresses == ("10.0.0.1", "fd00::1")
    assert found.fqdn == (f"10-0-0-1.{NAME}" if how == "uid" else f"web-0.{NAME}")


def test_pods_that_share_a_hostname() -> None:
    """With a uid each has both addresses. Without one nothing ties them together: IPv4 counts, as in DNS."""
    shared = {"hostname": "web"}
    four = a_slice("a", pod("10.0.0.1", uid="1", **shared), pod("10.0.0.2", uid="2", **shared))
    six = a_slice(
        "b", pod("fd00::1", uid="1", **shared), pod("fd00::2", uid="2", **shared), addressType="IPv6"
    )
    assert addresses(answer(four, six)) == {("10.0.0.1", "fd00::1"), ("10.0.0.2", "fd00::2")}
    for item in *four["endpoints"], *six["endpoints"]:
        del item["targetRef"]
    assert addresses(answer(four, six)) == {("10.0.0.1",), ("10.0.0.2",)}
    assert addresses(answer(six, four)) == {("10.0.0.1",), ("10.0.0.2",)}
    assert addresses(answer(six)) == {("fd00::1",), ("fd00::2",)}


def test_further_addresses() -> None:
    """As CoreDNS has it, of an endpoint that no pod is behind; of a pod the first counts."""
    two = ["10.0.0.1", "10.0.0.2"]
    assert addresses(answer(a_slice("a", {"addresses": two}))) == {("10.0.0.1",), ("10.0.0.2",)}
    with_uid = {"addresses": two, "targetRef": {"uid": "u"}}
    assert addresses(answer(a_slice("a", with_uid))) == {("10.0.0.1",)}


TWO = ({"name": "http", "port": 8080}, {"name": "metrics", "port": 9090, "protocol": "TCP"})
UDP = {"name": "dns", "port": 53, "protocol": "UDP"}


@pytest.mark.parametrize(
    ("service", "ports", "found"),
    [
        ("web.prod:http", TWO, 8080),
        ("web.prod:metrics", TWO, 9090),
        ("_dns._udp.web.prod", (UDP,), 53),
        ("web.prod:7", TWO, 7),
        ("web.prod:7", None, 7),
        ("web.prod", ({"name": "", "port": 80},), 80),
        ("web.prod", ({"port": 80},), 80),
        ("web.prod", ({"port": 53}, UDP), 53),  # one number, by two protocols
    ],
)
def test_the_port(service: str, ports: Any, found: int) -> None:
    (endpoint,) = answer(a_slice("a", pod("10.0.0.1"), ports=ports), service=service).endpoints
    assert endpoint.port == found


@pytest.mark.parametrize(
    ("service", "ports", "hint"),
    [
        ("web.prod:grpc", TWO, "its port 'grpc' is not; it has http=8080, metrics=9090"),
        ("web.prod:dns", (UDP,), "its port 'dns' is not; it has dns/udp=53"),
        ("web.prod:http", None, "has no ports"),
        ("web.prod:http", (), "has no ports"),
        ("web.prod:http", ({"name": "http"},), "has no ports"),
    ],
)
def test_a_named_port_that_is_not_there(service: str, ports: Any, hint: str) -> None:
    found = answer(a_slice("a", pod("10.0.0.1"), ports=ports), service=service)
    assert found.outcome is Outcome.NOT_FOUND
    assert hint in found.hint


@pytest.mark.parametrize(
    ("ports", "error"),
    [
        (TWO, r"several ports \(8080, 9090\): say which, web.prod:8080 or web.prod:9090"),
        (None, "have no ports"),
    ],
)
def test_no_port_was_named_and_none_is_meant(ports: Any, error: str) -> None:
    found = answer(a_slice("a", pod("10.0.0.1"), ports=ports), service="web.prod")
    assert found.outcome is Outcome.FAILED
    with pytest.raises(ConfigurationError, match=error):
        raise found.error  # type: ignore[misc]


def test_a_number_that_no_slice_has() -> None:
    found = answer(a_slice("a", pod("10.0.0.1"), ports=TWO), service="web.prod:7")
    assert [w for w in found.warnings if "has the port 7; they have 8080, 9090" in w]
    assert not answer(a_slice("a", pod("10.0.0.1"), ports=TWO), service="web.prod:8080").warnings


def test_nobody() -> None:
    assert answer().outcome is Outcome.NOT_FOUND
    assert answer(a_slice("a")).outcome is Outcome.EMPTY
    assert answer(a_slice("a", ports=())).outcome is Outcome.EMPTY
    assert answer(a_slice("a", pod("10.0.0.1") | UNREADY, ports=())).outcome is Outcome.EMPTY
    assert answer(a_slice("a", ports=()), service="web.prod").outcome is Outcome.EMPTY


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        ({"service.kubernetes.io/headless": ""}, "headless"),
        ({"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}, "cluster-ip"),
        ({"endpointslice.kubernetes.io/managed-by": "me"}, "unknown"),
        ({}, "unknown"),
        (None, "unknown"),
    ],
)
def test_the_kind(labels: Any, kind: str) -> None:
    item = a_slice("a", pod("10.0.0.1"))
    item["metadata"]["labels"] = labels
    assert answer(item).kind == kind


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (pod("10.0.0.300"), "'10.0.0.300' is no IPv4 address"),
        (pod("fd00::1"), "'fd00::1' is no IPv4 address"),
        ({"addresses": [7]}, "7 is no IPv4 address"),
        ({"addresses": []}, "an endpoint without addresses"),
        ({}, "an endpoint without addresses"),
        ("web-0", "'web-0' is no endpoint"),
        (None, "None is no endpoint"),
        (pod("127.0.0.1"), "127.0.0.1: a loopback address"),
        (pod("169.254.1.1"), "169.254.1.1: a link-local address"),
        (pod("224.0.0.1"), "224.0.0.1: a multicast address"),
        (pod("0.0.0.0"), "0.0.0.0: the unspecified address"),
        (pod("10.0.0.1", hostname="Not A Name"), "'Not A Name' is no hostname"),
        (pod("10.0.0.1", hostname=["web"]), "['web'] is no hostname"),
        (pod("10.0.0.1", conditions=[1]), "conditions [1]"),
    ],
)
def test_a_malformed_endpoint_is_dropped_and_said(bad: Any, why: str) -> None:
    found = answer(a_slice("a", bad, pod("10.0.0.9")))
    assert addresses(found) == {("10.0.0.9",)}
    assert [line for line in found.dropped if why in line and line.startswith("EndpointSlice a: ")]
    alone = answer(a_slice("a", bad))
    assert alone.outcome in (Outcome.FAILED, Outcome.EMPTY)  # EMPTY: it is not even an endpoint
    assert len(alone.dropped) == 1


def test_many_malformed_endpoints_are_counted() -> None:
    found = answer(a_slice("a", *(pod(f"10.0.0.{n}") for n in range(250, 300))))
    assert len(found.endpoints) == 6
    assert len(found.dropped) == 4
    assert found.dropped[-1] == "EndpointSlice a: 41 more endpoints are malformed"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"addressType": "FQDN"}, "addressType 'FQDN' is not read"),
        ({"addressType": None}, "addressType None is not read"),
        ({"endpoints": {"a": 1}}, "{'a': 1} is no list"),
        ({"ports": "http"}, "'http' is no list"),
        ({"ports": [{"name": "http", "port": 0}]}, "is no port"),
        ({"ports": [{"name": "http", "port": True}]}, "is no port"),
        ({"ports": [None]}, "None is no port"),
        ({"ports": [{"name": 1, "port": 80}]}, "is no port"),
    ],
)
def test_a_malformed_slice_leaves_the_others(changes: Any, why: str) -> None:
    found = answer(a_slice("a", pod("10.0.0.1")) | changes, a_slice("b", pod("10.0.0.9")))
    assert addresses(found) == {("10.0.0.9",)}
    assert [line for line in found.dropped if why in line]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["metadata", "name", "labels", "addressType", "ports", "port", "protocol", "endpoints", "addresses",
     "conditions", "ready", "hostname", "targetRef", "uid", "zone", "nodeName"]
)  # fmt: skip
LIKE = st.recursive(
    st.sampled_from([None, True, 80, "IPv4", "http", "10.0.0.1", "web-0", -1, 2.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, JSON | LIKE, max_size=8))
@settings(max_examples=300, deadline=None)
def test_nothing_breaks_it(item: dict[str, Any]) -> None:
    there = slices(a_slice("good", pod("10.0.0.9")), {"addressType": "IPv4"} | item)
    assert ("10.0.0.9",) in addresses(there.answer())
    there.remove(item)


# Any sequence of changes, against a model that keeps the objects and asks each time


ENDPOINTS = st.builds(
    lambda n, ready, uid: pod(f"10.0.0.{n}", uid=f"u{n}" if uid else None) | (READY if ready else UNREADY),
    st.integers(1, 6),
    st.booleans(),
    st.booleans(),
)
EVENTS = st.tuples(
    st.sampled_from(["put", "put", "put", "remove"]),
    st.sampled_from("abc"),
    st.lists(ENDPOINTS, max_size=4),
)


@given(st.lists(EVENTS, max_size=12))
@settings(deadline=None)
def test_the_union_after_any_changes(events: list[tuple[str, str, list[Any]]]) -> None:
    there, model = slices(), dict[str, list[Any]]()
    for kind, name, endpoints in events:
        if kind == "put":
            there.put(a_slice(name, *endpoints))
            model[name] = endpoints
        else:
            there.remove(a_slice(name))
            model.pop(name, None)
        everybody = [e for some in model.values() for e in some if e["conditions"]["ready"]]
        found = there.answer()
        assert addresses(found) == {tuple(e["addresses"]) for e in everybody}
        who = {e.get("targetRef", {}).get("uid") or e["addresses"][0] for e in everybody}
        assert len(found.endpoints) == len(who)
        expected = Outcome.RESOLVED if everybody else Outcome.EMPTY if model else Outcome.NOT_FOUND
        assert found.outcome is expected


def test_pods_without_uids_that_share_a_hostname_are_not_paired_at_random() -> None:
    """Nothing says which of two addresses of IPv6 is that of the one of IPv4."""
    v4 = a_slice("a", pod("10.0.0.1", uid=None, hostname="web"))
    for v6 in (["fd00::1"], ["fd00::1", "fd00::2"]):
        pods = [pod(address, uid=None, hostname="web") for address in v6]
        found = addresses(answer(v4, a_slice("b", *pods, addressType="IPv6")))
        assert found == {("10.0.0.1", "fd00::1") if len(v6) == 1 else ("10.0.0.1",)}
