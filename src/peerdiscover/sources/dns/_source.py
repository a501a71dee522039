"""DNS: the source that asks a cluster's nameservers (Kubernetes DNS specification 1.1.0).

The floors of this room, each in a module of its own, each without the concerns of the next:

    environment    where we run: nameservers, namespace, cluster domain, oneself
    _questions      the words: server, question, batch, reply
    _messages       bytes to reply, with _wire for those that are plain
    _exchange       one question: which server next, UDP or TCP, how long        no socket, no clock
    _trust          what of an answer is believed
    _reading        from records to pods
    _batches        questions asked together, CNAMEs followed to their end
    _zones          who is in the own zone
    _plan           one lookup: which questions, and what follows from them      no socket, no clock
    _hints          why a name may not be there
    _sockets        one try on one socket
    _drivers        the waiting, once in threads and once awaited

Rules of this room:

* A lookup never raises what the network, the servers or the environment do: that is a failed answer.
* One `DNS` may serve any number of discoveries and threads: what it remembers, it remembers in
  single operations, without a lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import TYPE_CHECKING, get_args

from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.errors import ConfigurationError
from peerdiscover.sources._server import Server
from peerdiscover.sources._validation import Network
from peerdiscover.sources.environment import Environment, checked_domain, checked_namespace

from ._records import Family, LookupConfig, NameHistory

if TYPE_CHECKING:
    from ._drivers import Plan
    from ._exchange import ServerStats

__all__ = ["DNS"]

_NO_SERVER = (
    "no nameserver is known: resolv.conf has none; set PEERDISCOVER_NAMESERVERS, "
    'or give DNS(nameservers=["10.96.0.10"])'
)


class _NoServerError(Exception):
    """Nobody can be asked now. No `ConfigurationError`: a resolv.conf may yet be written."""


class DNS:
    """Asks nameservers over UDP and TCP.

    `nameservers`: `"10.96.0.10"`, `"127.0.0.1:5353"` or `"[::1]:5353"`. `namespace` is the one that
    names without a namespace are in; `cluster_domain` is usually `cluster.local`. What is not given
    comes from `PEERDISCOVER_NAMESERVERS`, `PEERDISCOVER_NAMESPACE`, `PEERDISCOVER_CLUSTER_DOMAIN`,
    then from the pod, and is read when it is needed: resolv.conf again whenever it changes.

    `family`: "ipv4" or "ipv6" asks for that family alone. "any" gives pods with hostnames the addresses
    of both, IPv4 first; of pods without hostnames it takes those of IPv4, or of IPv6 where there is
    proven no IPv4. `networks`: addresses outside these are not believed (the pod CIDRs, for instance).

    `ConfigurationError` where an argument cannot be right.
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
        environment: Environment | None = None,
    ) -> None:
        if isinstance(nameservers, str):
            raise ConfigurationError(f"DNS(nameservers={nameservers!r}): a list is wanted, [{nameservers!r}]")
        self._servers = tuple(map(Server.parse, nameservers)) if nameservers is not None else None
        if self._servers == ():
            raise ConfigurationError("DNS(nameservers=[]): at least one is wanted, or None")
        self._namespace = namespace and checked_namespace(namespace, "DNS(namespace=…): ")
        self._cluster_domain = cluster_domain and checked_domain(cluster_domain, "DNS(cluster_domain=…): ")
        if family not in get_args(Family):
            raise ConfigurationError(f"DNS(family={family!r}): use one of 'any', 'ipv4', 'ipv6'")
        self._family: Family = family
        self._networks = _networks(networks)
        self._environment = environment or Environment()
        self._stats: ServerStats | None = None
        self._histories: dict[str, NameHistory] = {}

    def __repr__(self) -> str:
        servers = "" if self._servers is None else f"nameservers={[str(server) for server in self._servers]}"
        return f"DNS({servers})"

    @property
    def namespace(self) -> str | None:
        """The namespace of names without one; None where it is not known. May raise `ConfigurationError`."""
        return self._namespace or self._environment.namespace()

    def lookup(self, ask: LookupRequest) -> Answer:
        """One answer. Blocks up to `ask.timeout` seconds."""
        from ._drivers import run_plan

        try:
            plan, servers, stats = self._begin(ask)
            return run_plan(plan, servers, stats, ask.timeout, ask.cancelled)
        except (ConfigurationError, _NoServerError) as error:
            return Answer.failed(error)

    async def alookup(self, ask: LookupRequest) -> Answer:
        """The same, awaited, under asyncio and trio."""
        from ._drivers import arun_plan

        try:
            plan, servers, stats = self._begin(ask)
            return await arun_plan(plan, servers, stats, ask.timeout)
        except (ConfigurationError, _NoServerError) as error:
            return Answer.failed(error)

    def _begin(self, ask: LookupRequest) -> tuple[Plan, tuple[Server, ...], ServerStats]:
        from ._exchange import ServerStats
        from ._lookup import plan_lookup

        service = ask.service
        namespace = None if service.is_external or service.namespace else self.namespace
        domain = self._cluster_domain or self._environment.cluster_domain() or "cluster.local"
        name = service.absolute(namespace, domain)
        servers = self._servers or self._environment.nameservers()
        if not servers:
            raise _NoServerError(_NO_SERVER)
        if self._stats is None:
            self._stats = ServerStats()
        config = LookupConfig(
            name=name,
            service=service,
            family=self._family,
            networks=self._networks,
            own_namespace=self._own_namespace(),
            cluster_domain=domain,
            history=self._histories.setdefault(name, NameHistory()),
        )
        return plan_lookup(ask, config), servers, self._stats

    def _own_namespace(self) -> str | None:
        try:
            return self.namespace
        except ConfigurationError:
            return None


def _networks(texts: Iterable[str] | None) -> tuple[Network, ...] | None:
    if texts is None:
        return None
    if isinstance(texts, str):
        raise ConfigurationError(f"DNS(networks={texts!r}): a list is wanted, [{texts!r}]")
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigurationError(f"DNS(networks=…): {error}") from None
