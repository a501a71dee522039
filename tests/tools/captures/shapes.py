"""The Services that a real CoreDNS is asked about, and the questions.

Pure data. The cluster should hold nothing else: PTR answers name every Service that has
the address. A shape is what the API server is given and what the embedded server is
built from, so that both have the same Service to answer for. It goes into the captures as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, NotRequired, TypedDict

NAMESPACE = "captures"
DOMAIN = "cluster.local"
ZONE = f"{NAMESPACE}.svc.{DOMAIN}."


class PortShape(TypedDict):
    """A port; "" is no name."""

    name: str
    port: int
    protocol: NotRequired[str]


class EndpointShape(TypedDict):
    """One endpoint of a slice."""

    addresses: list[str]
    hostname: NotRequired[str]
    ready: NotRequired[bool]
    pod: NotRequired[str]


class SliceShape(TypedDict):
    """One EndpointSlice: its endpoints one by one, or a `count` from the address `first` on.

    `hostname` is then a pattern such as `web-{}`.
    """

    ports: list[PortShape]
    endpoints: NotRequired[list[EndpointShape]]
    first: NotRequired[str]
    count: NotRequired[int]
    hostname: NotRequired[str]


class ServiceShape(TypedDict):
    """One Service. A `cluster_ips` that is there makes it a regular one; the capture fills it in."""

    name: str
    slices: NotRequired[list[SliceShape]]
    cluster_ips: NotRequired[list[str]]
    ports: NotRequired[list[PortShape]]
    external_name: NotRequired[str]


class QuestionShape(TypedDict):
    """A question. `edns` is the size of UDP answers taken; without it there is no EDNS."""

    name: str
    type: str
    transport: NotRequired[str]
    edns: NotRequired[int]
    raw: NotRequired[str]
    """What is odd about it: see `query_of` in `capture`."""


class Shape(TypedDict):
    """Services that belong together, and what is asked about them."""

    about: str
    services: list[ServiceShape]
    questions: list[QuestionShape]


HTTP: list[PortShape] = [{"name": "http", "port": 8080}]


def endpoints_of(shape: SliceShape) -> Iterator[EndpointShape]:
    """The endpoints of a slice, one by one."""
    yield from shape.get("endpoints", [])
    for i in range(shape.get("count", 0)):
        endpoint: EndpointShape = {"addresses": [str(ip_address(shape.get("first", "")) + i)]}
        if "hostname" in shape:
            endpoint["hostname"] = shape["hostname"].format(i)
        yield endpoint


def _slice(
    count: int, first: str, hostname: str | None = None, ports: list[PortShape] | None = None
) -> SliceShape:
    found: SliceShape = {"ports": HTTP if ports is None else ports, "first": first, "count": count}
    if hostname:
        found["hostname"] = hostname
    return found


def _slices(count: int, first: str, hostname: str | None = None) -> list[SliceShape]:
    """As many slices as it takes: the API server takes 1,000 endpoints in one."""
    start = ip_address(first)
    pattern = hostname
    return [_slice(min(1000, count - done), str(start + done), pattern) for done in range(0, count, 1000)]


def _ask(name: str, *types: str, **rest: Any) -> list[QuestionShape]:
    return [{"name": name, "type": kind, **rest} for kind in types]  # type: ignore[typeddict-item]


def _usual(service: str, *more: str) -> list[QuestionShape]:
    """What a resolver asks about a service: addresses, the bare SRV and those of `more` ports."""
    questions = _ask(f"{service}.{ZONE}", "A", "AAAA", "SRV", edns=1232)
    for port in more:
        questions += _ask(f"_{port}._tcp.{service}.{ZONE}", "SRV", edns=1232)
    return questions


def _sized(service: str, *types: str) -> list[QuestionShape]:
    """Over UDP without EDNS, with 1232 and 4096, and over TCP."""
    questions: list[QuestionShape] = []
    for kind in types:
        name = f"_http._tcp.{service}.{ZONE}" if kind == "SRV" else f"{service}.{ZONE}"
        questions += _ask(name, kind)
        questions += _ask(name, kind, edns=512)
        questions += _ask(name, kind, edns=1232)
        questions += _ask(name, kind, edns=4096)
        questions += _ask(name, kind, edns=1232, transport="tcp")
        questions += _ask(name, kind, transport="tcp")
    return questions


def _size_shape(counts: dict[str, int], first: str, *types: str, named: bool = False) -> Shape:
    services: list[ServiceShape] = []
    questions: list[QuestionShape] = []
    for service, count in counts.items():
        services.append({"name": service, "slices": _slices(count, first, "web-{}" if named else None)})
        questions += _sized(service, *types)
    about = " and ".join(map(str, counts.values()))
    return {"about": f"{about} endpoints", "services": services, "questions": questions}


WEB = f"web.{ZONE}"

_STATEFULSET: list[QuestionShape] = [
    *_sized("web", "A", "SRV"),
    *_usual("web", "http", "nope"),
    *_ask(f"_http._udp.{WEB}", "SRV", edns=1232),
    *_ask(f"http.tcp.{WEB}", "SRV", edns=1232),
    *_ask(f"_http._tcp.{WEB}", "A", "AAAA", edns=1232),
    *_ask(f"web-1.{WEB}", "A", "AAAA", "SRV", "TXT", edns=1232),
    *_ask(f"web-9.{WEB}", "A", "AAAA", "SRV", edns=1232),
    *_ask(f"a.b.c.{WEB}", "A", "SRV", edns=1232),
    *_ask(f"nope.{ZONE}", "A", "AAAA", "SRV", edns=1232),
    *_ask(f"_http._tcp.nope.{ZONE}", "SRV"),
    *_ask(f"nope.{ZONE}", "A"),
    *_ask(f"web.nowhere.svc.{DOMAIN}.", "A", "SRV", edns=1232),
    *_ask(ZONE, "A", "SRV"),
    *_ask(f"nowhere.svc.{DOMAIN}.", "A"),
    *_ask(f"svc.{DOMAIN}.", "A"),
    *_ask(f"nope.{DOMAIN}.", "A"),
    *_ask(f"{DOMAIN}.", "A", "SOA", "TXT"),
    *_ask(f"dns-version.{DOMAIN}.", "TXT", edns=1232),
    *_ask(f"dns-version.{DOMAIN}.", "TXT"),
    *_ask(f"dns-version.{DOMAIN}.", "A"),
    *_ask(WEB, "TXT", "CNAME", "MX", "PTR", "SOA", "NS", "HTTPS", "ANY", edns=1232),
    *_ask(f"nope.{ZONE}", "TXT", "CNAME", "SOA", "HTTPS", edns=1232),
    *_ask("www.example.com.", "A", "SRV", edns=1232),
    *_ask("www.example.com.", "A"),
    *_ask(f"web.{NAMESPACE}.svc.cluster.example.", "A"),
    *_ask(".", "A", "NS"),
    *_ask("1.0.200.10.in-addr.arpa.", "PTR", edns=1232),
    *_ask("9.9.200.10.in-addr.arpa.", "PTR", edns=1232),
    *_ask(WEB, "A", raw="no recursion desired"),
    *_ask(WEB, "A", raw="checking disabled"),
    *_ask(WEB, "A", raw="authentic data"),
    *_ask(WEB, "A", edns=1232, raw="dnssec ok"),
    *_ask(WEB, "A", edns=1232, raw="cookie and client subnet"),
    *_ask(WEB, "A", edns=1232, raw="edns version 1"),
    *_ask(WEB, "A", edns=100),
    *_ask(WEB, "A", edns=65535),
    *_ask(WEB, "A", edns=0),
    *_ask(WEB, "A", raw="class CH"),
    *_ask(WEB, "A", edns=1232, raw="class CH"),
    *_ask(WEB, "A", raw="status"),
    *_ask(WEB, "A", raw="two questions"),
    *_ask(WEB, "A", raw="no question"),
    *_ask(WEB, "A", raw="cut short"),
    *_ask(WEB, "AXFR", transport="tcp"),
]

SHAPES: dict[str, Shape] = {
    "statefulset": {
        "about": "three pods with hostnames, and everything that can be asked",
        "services": [{"name": "web", "slices": [_slice(3, "10.200.0.1", "web-{}")]}],
        "questions": _STATEFULSET,
    },
    "letters": {
        # Each name is asked in one spelling only: the server's cache keeps the letters it was first asked
        # with, and repeats them in every later answer.
        "about": "letters of other cases in the question",
        "services": [
            {"name": "upper", "slices": [_slice(2, "10.200.14.1", "web-{}")]},
            {"name": "mixed-letters", "slices": [_slice(2, "10.200.14.1", "web-{}")]},
        ],
        "questions": [
            *_ask(f"UPPER.{ZONE.upper()}", "A", "AAAA", "SRV", edns=1232),
            *_ask(f"NOBODY.{ZONE.upper()}", "A"),
            *_ask("Mixed-Letters.Captures.Svc.Cluster.Local.", "SRV", "A", edns=1232),
            *_ask(f"_HTTP._Tcp.mixed-letters.{ZONE}", "SRV", edns=1232),
            *_ask("WEB-0.mixed-letters.Captures.svc.CLUSTER.local.", "A", "SRV", edns=1232),
        ],
    },
    "deployment": {
        "about": "three pods without hostnames: labels made of addresses",
        "services": [{"name": "app", "slices": [_slice(3, "10.200.1.1")]}],
        "questions": [
            *_usual("app", "http"),
            *_ask(f"10-200-1-2.app.{ZONE}", "A", "AAAA", "SRV", edns=1232),
            *_ask(f"10-200-1-9.app.{ZONE}", "A", edns=1232),
        ],
    },
    "dual-stack": {
        "about": "both families, with hostnames",
        "services": [
            {
                "name": "dual",
                "slices": [_slice(2, "10.200.2.1", "web-{}"), _slice(2, "fd00:200:2::1", "web-{}")],
            }
        ],
        "questions": [*_usual("dual", "http"), *_ask(f"web-1.dual.{ZONE}", "A", "AAAA", "SRV", edns=1232)],
    },
    "dual-stack-dashed": {
        "about": "both families, without hostnames; one IPv6 address ends in ::",
        "services": [
            {
                "name": "dashed",
                "slices": [_slice(2, "10.200.3.1"), _slice(2, "fd00:200:3::")],
            }
        ],
        "questions": [
            *_usual("dashed", "http"),
            *_ask(f"fd00-200-3--0.dashed.{ZONE}", "A", "AAAA", edns=1232),
            *_ask(f"fd00-200-3--1.dashed.{ZONE}", "AAAA", edns=1232),
        ],
    },
    "ipv6": {
        "about": "IPv6 only, with hostnames",
        "services": [{"name": "six", "slices": [_slice(2, "fd00:200:4::1", "web-{}")]}],
        "questions": [
            *_usual("six", "http"),
            *_ask(f"web-0.six.{ZONE}", "A", "AAAA", edns=1232),
            *_ask("1." + "0." * 19 + "4.0.0.0.0.0.2.0.0.0.d.f.ip6.arpa.", "PTR", edns=1232),
        ],
    },
    "two-ports": {
        "about": "two named ports, one of them over UDP as well",
        "services": [
            {
                "name": "two",
                "slices": [
                    _slice(
                        2,
                        "10.200.5.1",
                        "web-{}",
                        [
                            {"name": "http", "port": 8080},
                            {"name": "metrics", "port": 9090},
                            {"name": "dns", "port": 53, "protocol": "UDP"},
                        ],
                    )
                ],
            }
        ],
        "questions": [
            *_usual("two", "http", "metrics", "dns"),
            *_ask(f"_dns._udp.two.{ZONE}", "SRV", "A", edns=1232),
            *_ask(f"web-0.two.{ZONE}", "SRV", "A", edns=1232),
        ],
    },
    "unnamed-port": {
        "about": "one port without a name",
        "services": [
            {"name": "unnamed", "slices": [_slice(2, "10.200.6.1", "web-{}", [{"name": "", "port": 80}])]}
        ],
        "questions": [*_usual("unnamed", "http"), *_ask(f"_._tcp.unnamed.{ZONE}", "SRV")],
    },
    "no-ports": {
        "about": "no ports at all",
        "services": [{"name": "portless", "slices": [_slice(2, "10.200.7.1", "web-{}", [])]}],
        "questions": [*_usual("portless", "http"), *_ask(f"web-0.portless.{ZONE}", "A", "SRV", edns=1232)],
    },
    "different-ports": {
        "about": "one port name, another number in each slice, as with a named target port during an update",
        "services": [
            {
                "name": "mixed",
                "slices": [
                    _slice(1, "10.200.8.1", "old-{}", [{"name": "http", "port": 8080}]),
                    _slice(1, "10.200.8.2", "new-{}", [{"name": "http", "port": 9090}]),
                ],
            }
        ],
        "questions": _usual("mixed", "http"),
    },
    "cluster-ip": {
        "about": "a regular Service with a virtual address",
        "services": [
            {
                "name": "vip",
                "cluster_ips": [],
                "ports": [{"name": "http", "port": 80}, {"name": "metrics", "port": 9090}],
                "slices": [
                    _slice(
                        2,
                        "10.200.9.1",
                        "web-{}",
                        [{"name": "http", "port": 8080}, {"name": "metrics", "port": 9090}],
                    )
                ],
            }
        ],
        "questions": [
            *_usual("vip", "http", "metrics", "nope"),
            *_ask(f"_http._tcp.vip.{ZONE}", "A", edns=1232),
            *_ask(f"web-0.vip.{ZONE}", "A", "SRV", edns=1232),
            *_ask("1.9.200.10.in-addr.arpa.", "PTR", edns=1232),
        ],
    },
    "external-name": {
        "about": "aliases of another Service, of nothing, and of a name outside the zone",
        "services": [
            {"name": "target", "slices": [_slice(2, "10.200.10.1", "web-{}")]},
            {"name": "inside", "external_name": f"target.{NAMESPACE}.svc.{DOMAIN}"},
            {"name": "dangling", "external_name": f"nope.{NAMESPACE}.svc.{DOMAIN}"},
            {"name": "outside", "external_name": "www.example.com"},
        ],
        "questions": [
            *_ask(f"inside.{ZONE}", "A", "AAAA", "SRV", "CNAME", "TXT", edns=1232),
            *_ask(f"_http._tcp.inside.{ZONE}", "SRV", edns=1232),
            *_ask(f"web-0.inside.{ZONE}", "A", edns=1232),
            *_ask(f"dangling.{ZONE}", "A", "CNAME", edns=1232),
            *_ask(f"outside.{ZONE}", "A", "SRV", "CNAME", edns=1232),
        ],
    },
    "nobody": {
        "about": "no slice, an empty one, only unready endpoints, and some that are ready",
        "services": [
            {"name": "no-slice", "slices": []},
            {"name": "empty-slice", "slices": [_slice(0, "10.200.11.1")]},
            {
                "name": "unready",
                "slices": [
                    {
                        "ports": HTTP,
                        "endpoints": [{"addresses": ["10.200.11.2"], "hostname": "web-0", "ready": False}],
                    }
                ],
            },
            {
                "name": "half-ready",
                "slices": [
                    {
                        "ports": HTTP,
                        "endpoints": [
                            {"addresses": ["10.200.11.3"], "hostname": "web-0", "ready": False},
                            {"addresses": ["10.200.11.4"], "hostname": "web-1", "ready": True},
                            {"addresses": ["10.200.11.5"], "hostname": "web-2"},
                        ],
                    }
                ],
            },
        ],
        "questions": [
            *_usual("no-slice", "http"),
            *_usual("empty-slice", "http"),
            *_usual("unready", "http"),
            *_ask(f"web-0.unready.{ZONE}", "A", edns=1232),
            *_usual("half-ready", "http"),
            *_ask(f"web-0.half-ready.{ZONE}", "A", edns=1232),
        ],
    },
    "shared": {
        "about": "several pods behind one hostname, and several behind one address",
        "services": [
            {
                "name": "one-name",
                "slices": [
                    {
                        "ports": HTTP,
                        "endpoints": [
                            {"addresses": ["10.200.12.1"], "hostname": "web"},
                            {"addresses": ["10.200.12.2"], "hostname": "web"},
                        ],
                    }
                ],
            },
            {
                "name": "one-address",
                "slices": [
                    {
                        "ports": HTTP,
                        "endpoints": [
                            {"addresses": ["10.200.12.3"], "hostname": "web-0"},
                            {"addresses": ["10.200.12.3"], "hostname": "web-1"},
                        ],
                    }
                ],
            },
            {
                "name": "one-dashed",
                "slices": [
                    {"ports": HTTP, "endpoints": [{"addresses": ["10.200.12.4"], "pod": "a"}]},
                    {"ports": HTTP, "endpoints": [{"addresses": ["10.200.12.4"], "pod": "b"}]},
                    {
                        "ports": [{"name": "http", "port": 9090}],
                        "endpoints": [{"addresses": ["10.200.12.4"]}],
                    },
                ],
            },
        ],
        "questions": [
            *_usual("one-name", "http"),
            *_ask(f"web.one-name.{ZONE}", "A", "SRV", edns=1232),
            *_usual("one-address", "http"),
            *_ask("3.12.200.10.in-addr.arpa.", "PTR", edns=1232),
            *_usual("one-dashed", "http"),
        ],
    },
    # What fits depends on the length of the names: the SRV limits are those of names as long as these.
    "size-512": _size_shape({"n28": 28, "n29": 29}, "10.200.16.1", "A"),
    "size-512-aaaa": _size_shape({"six16": 16, "six17": 17}, "fd00:200:16::1", "AAAA"),
    "size-512-srv": _size_shape(
        {"srv-at-512-5": 5, "srv-at-512-6": 6, "srv-at-512-7": 7}, "10.200.17.1", "SRV", named=True
    ),
    "size-1232": _size_shape({"n73": 73, "n74": 74}, "10.200.18.1", "A"),
    "size-1232-aaaa": _size_shape({"six41": 41, "six42": 42}, "fd00:200:18::1", "AAAA"),
    "size-1232-srv": _size_shape({"srv-at-1232a": 14, "srv-at-1232b": 15}, "10.200.19.1", "SRV", named=True),
    "size-4096": _size_shape({"n80": 80, "n252": 252}, "10.200.20.1", "A", "SRV", named=True),
    "size-tcp": _size_shape({"n4092": 4092, "n4093": 4093}, "10.201.0.1", "A"),
    "size-tcp-aaaa": _size_shape({"six2338": 2338, "six2339": 2339}, "fd00:201::1", "AAAA"),
    "size-tcp-srv": _size_shape({"srv-over-tcp": 742, "srv-past-tcp": 743}, "10.202.0.1", "SRV", named=True),
    "size-past-tcp": _size_shape({"n1000": 1000}, "10.203.0.1", "A", "SRV", named=True),
}

# Asked of a server that has `endpoint_pod_names` in its configuration.
POD_NAME_SHAPES: dict[str, Shape] = {
    "pod-names": {
        "about": "endpoint_pod_names: labels are the pods' names, where there is no hostname",
        "services": [
            {
                "name": "pods",
                "slices": [
                    {
                        "ports": HTTP,
                        "endpoints": [
                            {"addresses": ["10.200.13.1"], "pod": "app-7d9c5b8f64-x2k4q"},
                            {"addresses": ["10.200.13.2"], "pod": "app-7d9c5b8f64-29456"},
                            {"addresses": ["10.200.13.3"], "pod": "app-3", "hostname": "web-3"},
                            {"addresses": ["10.200.13.4"]},
                        ],
                    }
                ],
            }
        ],
        "questions": [
            *_usual("pods", "http"),
            *_ask(f"app-7d9c5b8f64-29456.pods.{ZONE}", "A", edns=1232),
            *_ask(f"10-200-13-1.pods.{ZONE}", "A", edns=1232),
            *_ask("1.13.200.10.in-addr.arpa.", "PTR", edns=1232),
        ],
    }
}
