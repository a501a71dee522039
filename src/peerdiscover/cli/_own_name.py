"""`wait --self`: who the pod is that waits, and whether DNS knows it at its own address.

Rules of this room:

* The own name and address are those that the pod's surroundings tell. Where they do not, the error
  says what to set: nothing is guessed.
* First the service must list the own address; only then is the own name asked for. A name that is
  asked for too early is remembered as missing, for up to 30 s, by the caches on the way (Kubernetes
  issue 92559).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from peerdiscover.answers import Answer, Ask, Outcome
from peerdiscover.errors import ConfigurationError, ResolutionTimeoutError
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer, PeerSet
from peerdiscover.sources.surroundings import Surroundings

if TYPE_CHECKING:
    from peerdiscover.sources.dns import DNS

__all__ = ["Family", "Oneself", "family_of", "oneself", "wait_for_own_name"]

Family = Literal["any", "ipv4", "ipv6"]

_APART = 1.0
"""Seconds between two questions for the own name."""

_WHY = (
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
        text = f"{service}: DNS does not give {own} for {self.fqdn}; {last}. {_WHY}"
        return ResolutionTimeoutError(text, service=service, name=self.fqdn, outcome=outcome)


def oneself(service: ServiceName, namespace: str | None, cluster_domain: str | None) -> Oneself:
    """Who the pod is that waits, as a pod of `service`; `ConfigurationError` says what to set."""
    if service.scheme != "dns" or service.is_external:
        raise ConfigurationError(
            f"{str(service)!r}: --self needs a Service of the cluster: only its pods have names"
        )
    given = {"PEERDISCOVER_NAMESPACE": namespace, "PEERDISCOVER_CLUSTER_DOMAIN": cluster_domain}
    environ = {**os.environ, **{name: value for name, value in given.items() if value}}
    around = Surroundings(environ=environ)
    own = around.identity(service)
    told = Surroundings(environ=environ, addresses=lambda _: ()).identity(service)  # POD_IP and POD_IPS alone
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


def wait_for_own_name(me: Oneself, service: ServiceName, source: DNS, seconds: float) -> None:
    """Return when the own name has an own address; `ResolutionTimeoutError` after `seconds`."""
    end = time.monotonic() + seconds
    port = service.port if isinstance(service.port, int) else 1  # any number: it is not looked at
    name = ServiceName.parse(f"{me.fqdn}:{port}")
    while True:
        left = end - time.monotonic()
        answer = source.lookup(Ask(service=name, timeout=max(0.1, min(left, 5.0))))
        found = [address for endpoint in answer.endpoints for address in endpoint.addresses]
        if me.addresses.intersection(found):
            return
        left = end - time.monotonic()
        if left <= 0:
            raise me.missing(str(service), _said(answer, found), answer.outcome)
        time.sleep(min(_APART, left))


def _said(answer: Answer, found: list[str]) -> str:
    if found:
        return f"it gives {', '.join(found)}"
    return f"the last answer was: {answer.outcome}" + (f", {answer.error}" if answer.error else "")


def family_of(me: Oneself) -> Family:
    """The family to ask for: that of the own addresses, where they are of one."""
    families = {"ipv6" if ":" in address else "ipv4" for address in me.addresses}
    if len(families) > 1:
        return "any"
    return "ipv6" if "ipv6" in families else "ipv4"
