"""Bootstrap settings for brokers and databases behind a headless Service: names in, their formats out.

    from peerdiscover import brokers

    pods = brokers.hosts("kafka-headless.default:9092", name="kafka", replicas=3)
    KafkaProducer(bootstrap_servers=brokers.kafka(pods))

Invariants:

* Everything here is pure: no DNS, no clock, no I/O.
* Pods go by name. A pod keeps its name when its address changes, and clients look a name up again each
  time they connect. Only a peer without a hostname goes by address, which is good until that pod restarts.
* Whatever a user, password, database or virtual host contains comes out of the program's own parser as it
  went in: each is percent-encoded whole (RFC 3986, 2.1).
* No error shows a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote

from ._host_ports import host_port, parse_static
from ._labels import LABEL, ordinal_of
from ._text import quoted
from .errors import ConfigurationError
from .names import ServiceName
from .peers import PeerSet

__all__ = [
    "HostPort",
    "amqp_urls",
    "hosts",
    "kafka",
    "kraft_voters",
    "mongodb",
    "postgres",
    "rabbitmq_nodes",
]

_ERLANG_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class HostPort(NamedTuple):
    """Where one pod listens: a pair, so it can be given wherever a driver takes `(host, port)`."""

    host: str
    """The pod's full name without the trailing dot, or its address without brackets."""
    port: int

    @property
    def ordinal(self) -> int | None:
        """The pod's number in its StatefulSet; None for an address, or a name that has none."""
        return ordinal_of(self.host.partition(".")[0])

    def __str__(self) -> str:
        return host_port(self.host, self.port)


Hosts = PeerSet | Iterable[HostPort]
"""What the functions of this module take: a set of peers, or what `hosts` returned."""


def hosts(
    service: str | ServiceName | PeerSet,
    *,
    name: str | None = None,
    replicas: int | None = None,
    start: int = 0,
    cluster_domain: str | None = None,
    namespace: str | None = None,
) -> tuple[HostPort, ...]:
    """The pods of a StatefulSet by name, in the order of their ordinals.

    `service`: the headless Service and the port as a number, such as `kafka-headless.default:9092`; or a
    `static:` list, whose entries are returned as they stand; or a `PeerSet`, whose peers are returned by
    name where they have one, else by address. Only a Service needs the other arguments:

    * `name`: the StatefulSet's name, which the pods' names begin with
    * `replicas`: how many pods there are to be, whether or not they run now
    * `start`: the first ordinal (`spec.ordinals.start`)
    * `cluster_domain`, `namespace`: for a `service` that does not say them; `cluster.local` by default

    `ConfigurationError` says what is missing. No pod is looked up: the names are those that the Kubernetes
    DNS specification (1.1.0, 2.4.1) gives to the pods of a StatefulSet.
    """
    if isinstance(service, PeerSet):
        return tuple(
            HostPort(p.fqdn.rstrip(".") if p.hostname and p.fqdn else p.address, p.port) for p in service
        )
    service = service if isinstance(service, ServiceName) else ServiceName.parse(service)
    if service.scheme == "static":
        return tuple(HostPort(entry.address, entry.port) for entry in parse_static(service.service))
    if not isinstance(service.port, int):
        raise ConfigurationError(
            f"{quoted(str(service))}: expected the port as a number, such as {service.service}:9092; "
            "only DNS knows what a port's name stands for, and it is not asked here"
        )
    if name is None or replicas is None:
        raise ConfigurationError(
            f"{quoted(str(service))}: expected the StatefulSet's name and the number of its pods: "
            'hosts(…, name="kafka", replicas=3)'
        )
    if not isinstance(name, str) or not LABEL.fullmatch(name):
        raise ConfigurationError(f"name={quoted(name)}: expected a StatefulSet's name, such as 'kafka'")
    _require_count("replicas", replicas, 1)
    _require_count("start", start, 0)
    parent = service.absolute(namespace, cluster_domain).rstrip(".")
    return tuple(HostPort(f"{name}-{i}.{parent}", service.port) for i in range(start, start + replicas))


def kafka(hosts: Hosts) -> list[str]:
    """Kafka's `bootstrap.servers`, one `host:port` each.

    kafka-python and aiokafka take the list; confluent-kafka takes `",".join(…)`, and a list is silently
    wrong there.
    """
    return [str(host) for host in _listed(hosts)]


def kraft_voters(hosts: Hosts, *, offset: int = 0) -> str:
    """Kafka's `controller.quorum.voters`: `0@HOST0:9093,1@HOST1:9093`.

    A node's id is its ordinal plus `offset`. `ConfigurationError` unless the ordinals follow each other
    without a hole: a voter that is left out because its pod was down would split the quorum.
    """
    _require_count("offset", offset, 0)
    numbered = _without_holes(_listed(hosts), "controller.quorum.voters")
    return ",".join(f"{ordinal + offset}@{host}" for ordinal, host in numbered)


def rabbitmq_nodes(hosts: Hosts, *, name: str = "rabbit") -> tuple[str, ...]:
    """RabbitMQ's node names, `rabbit@HOST`, for `cluster_formation.classic_config`.

    They are long names: the nodes need `RABBITMQ_USE_LONGNAME=true`. `ConfigurationError` for an IPv6
    address, which Erlang cannot read in a node's name.
    """
    if not isinstance(name, str) or not _ERLANG_NAME.fullmatch(name):
        raise ConfigurationError(f"name={quoted(name)}: expected letters, digits, - and _, such as 'rabbit'")
    listed = _listed(hosts)
    _refuse_ipv6(listed, "a node of RabbitMQ cannot be named by")
    return tuple(f"{name}@{host.host}" for host in listed)


def amqp_urls(hosts: Hosts, *, user: str, password: str, vhost: str = "/", tls: bool = False) -> list[str]:
    """One AMQP URL for each host: `amqp://USER:PASSWORD@HOST:5672/%2F`.

    The virtual host is percent-encoded, so the default one, "/", is written `%2F`: pika reads a bare `/` as
    no virtual host, and `//` as an empty one. kombu takes `";".join(…)`.
    """
    login = f"{_quoted('user', user)}:{_quoted('password', password)}"
    return [
        f"{'amqps' if tls else 'amqp'}://{login}@{host}/{_quoted('vhost', vhost)}" for host in _listed(hosts)
    ]


def postgres(
    hosts: Hosts,
    *,
    dbname: str,
    user: str | None = None,
    password: str | None = None,
    target_session_attrs: str = "read-write",
    sqlalchemy: bool = False,
    **options: str | int | bool,
) -> str:
    """A PostgreSQL URI with several hosts, as libpq (psycopg) and asyncpg read it.

    `target_session_attrs` ("read-write", "standby", "any", …) says which of them will do. `options` are
    further parameters, such as `connect_timeout=3`: a short one, since the address of a pod that is gone is
    given for one more TTL. `sqlalchemy=True` writes the hosts as `?host=a:1&host=b:2`, since SQLAlchemy
    refuses several before the path; that form cannot carry IPv6 addresses (`ConfigurationError`).
    """
    listed = _listed(hosts)
    query: list[tuple[str, str | int | bool]] = []
    if sqlalchemy:
        _refuse_ipv6(listed, "SQLAlchemy's form cannot carry")
        query = [("host", str(host)) for host in listed]
    query += [("target_session_attrs", target_session_attrs), *options.items()]
    at = "" if sqlalchemy else ",".join(map(str, listed))
    return f"postgresql://{_login(user, password)}{at}/{_quoted('dbname', dbname)}?{_query(query)}"


def mongodb(
    hosts: Hosts,
    *,
    replica_set: str,
    user: str | None = None,
    password: str | None = None,
    database: str | None = None,
    **options: str | int | bool,
) -> str:
    """A MongoDB URI with a seed list: `mongodb://USER:PASSWORD@H0:27017,H1:27017/DB?replicaSet=rs0`.

    `options` are further parameters of the connection string, such as `authSource="admin"`.
    """
    at = ",".join(map(str, _listed(hosts)))
    path = "" if database is None else _quoted("database", database)
    query = _query([("replicaSet", replica_set), *options.items()])
    return f"mongodb://{_login(user, password)}{at}/{path}?{query}"


def _listed(given: Hosts) -> Sequence[HostPort]:
    """The hosts that are given; `ConfigurationError` for none, and for what is none."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigurationError(
            f"{quoted(given)}: expected what hosts(…) returns, or a PeerSet (the `peers` of a discovery)"
        )
    listed = hosts(given) if isinstance(given, PeerSet) else tuple(given)
    for host in listed:
        if not isinstance(host, HostPort):
            raise ConfigurationError(
                f"{quoted(host)}: expected a HostPort, which hosts(…) returns, or a PeerSet"
            )
    if not listed:
        raise ConfigurationError("no hosts: the set of peers is empty; wait() for some, or name them")
    return listed


def _refuse_ipv6(listed: Sequence[HostPort], why: str) -> None:
    for host in listed:
        if ":" in host.host:
            raise ConfigurationError(f"{host}: {why} an IPv6 address; use pods with hostnames")


def _without_holes(listed: Sequence[HostPort], what: str) -> list[tuple[int, HostPort]]:
    numbered: dict[int, HostPort] = {}
    for host in listed:
        if host.ordinal is None:
            raise ConfigurationError(
                f"{host}: no ordinal in this name, and {what} is numbered; expected pods of a StatefulSet, "
                "such as kafka-0.kafka-headless"
            )
        if host.ordinal in numbered:
            raise ConfigurationError(
                f"{host} and {numbered[host.ordinal]}: ordinal {host.ordinal} is there twice"
            )
        numbered[host.ordinal] = host
    missing = [i for i in range(min(numbered), max(numbered)) if i not in numbered]
    if missing:
        raise ConfigurationError(
            f"{what}: {', '.join(map(str, missing))} missing between {min(numbered)} and {max(numbered)}; "
            "name all pods with hosts(…, replicas=…), whether or not they run now"
        )
    return sorted(numbered.items())


def _require_count(name: str, given: object, least: int) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or given < least:
        raise ConfigurationError(f"{name}={quoted(given)}: expected a whole number of at least {least}")


def _login(user: str | None, password: str | None) -> str:
    if user is None:
        if password is not None:
            raise ConfigurationError("a password without user=: expected both")
        return ""
    secret = "" if password is None else f":{_quoted('password', password)}"
    return f"{_quoted('user', user)}{secret}@"


def _quoted(what: str, given: str) -> str:
    if not isinstance(given, str):
        shown = "a value" if what == "password" else repr(given)
        raise ConfigurationError(f"{what}=: expected a string, not {shown} of type {type(given).__name__}")
    return quote(given, safe="")


def _query(pairs: Iterable[tuple[str, str | int | bool]]) -> str:
    texts = ((name, str(value).lower() if isinstance(value, bool) else str(value)) for name, value in pairs)
    return "&".join(f"{quote(name, safe='')}={quote(text, safe=':/,')}" for name, text in texts)
