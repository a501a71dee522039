"""DNS: the source that asks a cluster's nameservers (Kubernetes DNS specification 1.1.0).

Invariants:

* A lookup never raises what the network, the servers or the environment cause: that is a failed answer.
* One `DNS` may serve any number of discoveries and threads. What it remembers, it stores in single
  operations, without a lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Literal, get_args

from peerdiscover._text import printable, quoted
from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.errors import ConfigurationError
from peerdiscover.sources._server import Server
from peerdiscover.sources._validation import Network
from peerdiscover.sources.environment import Environment, checked_domain, checked_namespace

from ._answer_builder import Family, LookupConfig
from ._remembered import NameHistory, ServerStats, remember

if TYPE_CHECKING:
    from ._types import Plan

MAX_NAMES = 1000
"""Names of which something is remembered. A program that asks for more begins anew with the oldest."""

_NO_SERVER = (
    "no nameserver is known: resolv.conf has none. Set PEERDISCOVER_NAMESERVERS, "
    'or write DNS(nameservers=["10.96.0.10"])'
)


class _NoServerError(Exception):
    """There is no nameserver now. Not a `ConfigurationError`, since resolv.conf may yet be written."""


class DNS:
    """Asks nameservers over UDP and TCP.

    `nameservers`: `"10.96.0.10"`, `"127.0.0.1:5353"` or `"[::1]:5353"`; by default those of
    `PEERDISCOVER_NAMESERVERS`, then those of resolv.conf, which is read again whenever it changes.
    `namespace`: the namespace of names that have none; by default `PEERDISCOVER_NAMESPACE`, then the pod's.
    `cluster_domain`: by default `PEERDISCOVER_CLUSTER_DOMAIN`, then the pod's, then `cluster.local`.
    `family`: "ipv4" or "ipv6" asks for that family alone. With "any", pods with hostnames have the
    addresses of both, IPv4 first. Pods without hostnames are taken from IPv4, or from IPv6 if there
    is proven to be no IPv4.
    `networks`: addresses outside of these are rejected; the pod CIDRs, for instance. By default all count.
    `targets`: "any" accepts SRV targets outside of the service; by default they are rejected.

    Raises `ConfigurationError` for an argument that cannot be right.
    """

    kind = "dns"

    def __init__(
        self,
        nameservers: Iterable[str] | None = None,
        namespace: str | None = None,
        cluster_domain: str | None = None,
        family: Family = "any",
        networks: Iterable[str] | None = None,
        *,
        targets: Literal["service", "any"] = "service",
        environment: Environment | None = None,
    ) -> None:
        if isinstance(nameservers, str):
            raise ConfigurationError(
                f"DNS(nameservers={quoted(nameservers)}): expected a list, [{quoted(nameservers)}]"
            )
        self._servers = tuple(map(Server.parse, nameservers)) if nameservers is not None else None
        if self._servers == ():
            raise ConfigurationError("DNS(nameservers=[]): expected at least one, or None")
        self._namespace = namespace and checked_namespace(namespace, "DNS(namespace=…): ")
        self._cluster_domain = cluster_domain and checked_domain(cluster_domain, "DNS(cluster_domain=…): ")
        if family not in get_args(Family):
            raise ConfigurationError(f"DNS(family={quoted(family)}): use one of 'any', 'ipv4', 'ipv6'")
        self._family: Family = family
        self._networks = _networks(networks)
        if targets not in ("service", "any"):
            raise ConfigurationError(f"DNS(targets={quoted(targets)}): use one of 'service', 'any'")
        self._any_target = targets == "any"
        self._environment = environment or Environment()
        self._stats = ServerStats()
        self._histories: dict[str, NameHistory] = {}

    def __repr__(self) -> str:
        servers = "" if self._servers is None else f"nameservers={[str(server) for server in self._servers]}"
        return f"DNS({servers})"

    @property
    def namespace(self) -> str | None:
        """The namespace of names without one; None if unknown. May raise `ConfigurationError`."""
        return self._namespace or self._environment.namespace()

    def lookup(self, request: LookupRequest) -> Answer:
        """One answer. Blocks up to `request.timeout` seconds."""
        from ._drivers import run_plan

        try:
            plan, servers, stats = self._begin(request)
            return run_plan(plan, servers, stats, request.timeout, request.cancelled)
        except (ConfigurationError, _NoServerError) as error:
            return Answer.failed(error)

    async def alookup(self, request: LookupRequest) -> Answer:
        """`lookup`, awaited, under asyncio and trio."""
        from ._drivers import arun_plan

        try:
            plan, servers, stats = self._begin(request)
            return await arun_plan(plan, servers, stats, request.timeout)
        except (ConfigurationError, _NoServerError) as error:
            return Answer.failed(error)

    def _begin(self, request: LookupRequest) -> tuple[Plan, tuple[Server, ...], ServerStats]:
        from ._lookup import plan_lookup

        service = request.service
        namespace = None if service.is_external or service.namespace else self.namespace
        domain = self._cluster_domain or self._environment.cluster_domain() or "cluster.local"
        name = service.absolute(namespace, domain)
        servers = self._servers or self._environment.nameservers()
        if not servers:
            raise _NoServerError(_NO_SERVER)
        if self._servers is None:
            self._stats.options = self._environment.resolver_options()
        history = self._histories.get(name) or NameHistory()
        remember(self._histories, name, history, MAX_NAMES)
        config = LookupConfig(
            name=name,
            service=service,
            family=self._family,
            networks=self._networks,
            any_target=self._any_target,
            local_namespace=self._local_namespace(),
            cluster_domain=domain,
            asks_elsewhere=self._servers is None and self._environment.asks_elsewhere(),
            history=history,
        )
        return plan_lookup(request, config), servers, self._stats

    def _local_namespace(self) -> str | None:
        with suppress(ConfigurationError):
            return self.namespace
        return None


def _networks(texts: Iterable[str] | None) -> tuple[Network, ...] | None:
    if texts is None:
        return None
    if isinstance(texts, str):
        raise ConfigurationError(f"DNS(networks={quoted(texts)}): expected a list, [{quoted(texts)}]")
    networks = []
    for text in texts:
        if not isinstance(text, str | IPv4Network | IPv6Network):  # ip_network takes numbers for addresses
            raise ConfigurationError(f"DNS(networks=…): {quoted(text)} is no network; write 10.244.0.0/16")
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise ConfigurationError(f"DNS(networks=…): {printable(str(error))}") from None
    return tuple(networks)
