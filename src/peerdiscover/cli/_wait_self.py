"""`wait --self`: what this pod is called, and whether DNS knows it at its own address.

Invariants:

* This pod's name and address come from its environment. If they are missing, the error says what to
  set; nothing is guessed. POD_IP and POD_IPS are taken as they are, loopback addresses included.
* The Service must list this pod's address first; only then is its own name looked up. A name that is
  looked up too early is remembered as missing by the caches in between, for up to 30 s (Kubernetes
  issue 92559).
* The lookup asks for A and AAAA, not SRV: that is what other programs resolve, and caches keep each
  type apart.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from peerdiscover._text import quoted
from peerdiscover.answers import Answer
from peerdiscover.errors import ConfigurationError, Outcome, ResolutionTimeoutError
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer, PeerSet
from peerdiscover.sources.dns.addresses import Addresses
from peerdiscover.sources.environment import Environment

from ._arguments import environ_with

_LOOKUP_TIMEOUT = 5.0
_PAUSE = 1.0
"""Seconds between two lookups of this pod's name."""

HINT = (
    "DNS knows a pod by its own name only if the pod has that hostname and a subdomain, as in a "
    "StatefulSet, and a pod that is not ready only with publishNotReadyAddresses: true"
)


@dataclass(frozen=True, slots=True)
class ThisPod:
    """The pod that waits: its absolute DNS name and its addresses."""

    fqdn: str
    addresses: frozenset[str]

    def is_in(self, peers: PeerSet | tuple[Peer, ...]) -> bool:
        """Return whether one of them has this pod's address."""
        return any(self.addresses.intersection(peer.addresses) for peer in peers)

    def not_in_dns(self, service: str, found: str, outcome: Outcome | None) -> ResolutionTimeoutError:
        """Return the error for a pod that DNS did not know in time; `found` says what DNS has instead."""
        expected = ", ".join(sorted(self.addresses))
        message = f"{service}: DNS does not give {expected} for {self.fqdn}; {found}. {HINT}"
        return ResolutionTimeoutError(message, service=service, name=self.fqdn, outcome=outcome)


def this_pod(service: ServiceName, namespace: str | None, cluster_domain: str | None) -> ThisPod:
    """Return this pod as a pod of `service`; `ConfigurationError` says what to set."""
    if service.scheme == "static" or service.is_external:
        raise ConfigurationError(
            f"{quoted(str(service))}: --self needs a Service of the cluster, whose pods have names of "
            "their own"
        )
    environ = environ_with(namespace, cluster_domain)
    environment = Environment(environ=environ)
    identity = environment.identity(service)
    declared = _declared_addresses(environ)
    if identity.name is None:
        own = environment.namespace()
        why = f"which is {own}; if that is wrong," if own else "which is not known:"
        raise ConfigurationError(
            f"{quoted(str(service))}: --self needs a Service of this pod's own namespace, {why} "
            "set PEERDISCOVER_NAMESPACE (from metadata.namespace)"
        )
    if not (declared or identity.addresses):
        raise ConfigurationError(
            "this pod's own address is not known: set POD_IP (from status.podIP) for --self"
        )
    domain = service.absolute(environment.namespace(), environment.cluster_domain())
    return ThisPod(f"{identity.name}.{domain}", declared or frozenset(identity.addresses))


def _declared_addresses(environ: Mapping[str, str]) -> frozenset[str]:
    """Return the addresses in POD_IP and POD_IPS; `ConfigurationError` shows what is no address."""
    found = set[str]()
    for name in ("POD_IP", "POD_IPS"):
        given = environ.get(name, "")
        for text in given.replace(",", " ").split():
            try:
                found.add(str(ip_address(text)))
            except ValueError:
                raise ConfigurationError(f"{name}={quoted(given)}: {quoted(text)} is no IP address") from None
    return frozenset(found)


def wait_for_own_name(
    me: ThisPod, service: ServiceName, nameservers: list[str] | None, seconds: float
) -> None:
    """Return once this pod's name has one of its addresses; `ResolutionTimeoutError` after `seconds`."""
    end = time.monotonic() + seconds
    addresses = Addresses(nameservers)
    while True:
        left = end - time.monotonic()
        found = addresses.resolve(me.fqdn, max(0.1, min(left, _LOOKUP_TIMEOUT)))
        if me.addresses & _addresses_in(found):
            return
        left = end - time.monotonic()
        if left <= 0:
            raise me.not_in_dns(str(service), _describe(found), found.outcome)
        time.sleep(min(_PAUSE, left))


def _addresses_in(found: Answer) -> set[str]:
    return {address for endpoint in found.endpoints for address in endpoint.addresses}


def _describe(found: Answer) -> str:
    if addresses := _addresses_in(found):
        return f"it gives {', '.join(sorted(addresses))}"
    return f"the last answer was: {found.outcome}" + (f", {found.error}" if found.error else "")
