"""`wait --self`: who the pod is that waits, and whether DNS knows it at its own address.

Rules of this room:

* The own name and address are those that the pod's surroundings tell. Where they do not, the error
  says what to set: nothing is guessed.
* First the service must list the own address; only then is the own name asked for. A name that is
  asked for too early is remembered as missing, for up to 30 s, by the caches on the way (Kubernetes
  issue 92559).
* A and AAAA are asked, not SRV: that is what other programs resolve, and caches keep each apart.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from peerdiscover.errors import ConfigurationError, Outcome, ResolutionTimeoutError
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer, PeerSet
from peerdiscover.sources.dns.addresses import Addresses, ResolvedName
from peerdiscover.sources.environment import Environment

__all__ = ["WHY", "Oneself", "oneself", "wait_for_own_name"]

_SECONDS = 5.0
"""For one question."""
_APART = 1.0
"""Seconds between two questions for the own name."""

WHY = (
    "DNS has a pod under its own name only where the pod has that hostname and a subdomain, as in a "
    "StatefulSet, and one that is not ready only with publishNotReadyAddresses: true"
)


@dataclass(frozen=True, slots=True)
class Oneself:
    """The pod that waits: its absolute DNS name, and its addresses."""

    fqdn: str
    addresses: frozenset[str]

    def is_in(self, peers: PeerSet | tuple[Peer, ...]) -> bool:
        """Whether the own address is among theirs."""
        return any(self.addresses.intersection(peer.addresses) for peer in peers)

    def missing(self, service: str, last: str, outcome: Outcome | None) -> ResolutionTimeoutError:
        """The error for when DNS did not know the pod in time."""
        own = ", ".join(sorted(self.addresses))
        text = f"{service}: DNS does not give {own} for {self.fqdn}; {last}. {WHY}"
        return ResolutionTimeoutError(text, service=service, name=self.fqdn, outcome=outcome)


def oneself(service: ServiceName, namespace: str | None, cluster_domain: str | None) -> Oneself:
    """Who the pod is that waits, as a pod of `service`; `ConfigurationError` says what to set."""
    if service.scheme == "static" or service.is_external:
        raise ConfigurationError(
            f"{str(service)!r}: --self needs a Service of the cluster: only its pods have names"
        )
    given = {"PEERDISCOVER_NAMESPACE": namespace, "PEERDISCOVER_CLUSTER_DOMAIN": cluster_domain}
    environ = {**os.environ, **{name: value for name, value in given.items() if value}}
    around = Environment(environ=environ)
    own = around.identity(service)
    told = Environment(environ=environ, addresses=lambda _: ()).identity(service)  # POD_IP and POD_IPS alone
    if own.name is None:
        raise ConfigurationError(
            f"{str(service)!r}: --self needs a Service of this pod's own namespace, which is "
            f"{around.namespace() or 'not known'}; where that is wrong, set PEERDISCOVER_NAMESPACE "
            "(from metadata.namespace)"
        )
    if not own.addresses:
        raise ConfigurationError(
            "this pod's own address is not known: set POD_IP (from status.podIP) for --self"
        )
    above = service.absolute(around.namespace(), around.cluster_domain())
    return Oneself(f"{own.name}.{above}", frozenset(told.addresses or own.addresses))


def wait_for_own_name(
    me: Oneself, service: ServiceName, nameservers: list[str] | None, seconds: float
) -> None:
    """Return when the own name has an own address; `ResolutionTimeoutError` after `seconds`."""
    end = time.monotonic() + seconds
    addresses = Addresses(nameservers)
    while True:
        left = end - time.monotonic()
        found = addresses.resolve(me.fqdn, max(0.1, min(left, _SECONDS)))
        if me.addresses & found.addresses:
            return
        left = end - time.monotonic()
        if left <= 0:
            raise me.missing(str(service), _said(found), found.outcome)
        time.sleep(min(_APART, left))


def _said(found: ResolvedName) -> str:
    if found.addresses:
        return f"it gives {', '.join(sorted(found.addresses))}"
    return f"the last answer was: {found.outcome}" + (f", {found.error}" if found.error else "")
