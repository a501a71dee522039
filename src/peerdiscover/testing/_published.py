"""What DNS publishes of the pods, and what a client makes of that. Values only, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peerdiscover._host_ports import host_port
from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Peer

from ._endpoints import Service, ServiceEndpoint, ServicePort
from ._pods import Pod

_SLICE = 100  # endpoints a slice: the default of the EndpointSlice controller


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """How the pods of one Service appear in DNS.

    `shared_hostname`: all pods have one hostname. `pod_names`: pods without hostnames are published
    by name.
    """

    name: str
    namespace: str
    cluster_domain: str
    shared_hostname: bool
    pod_names: bool

    def service(self, pods: Sequence[Pod], vip: Pod | None, ports: Mapping[str, int]) -> Service:
        """Return the Service with these pods, and with a virtual address if there is one."""
        endpoints = [
            ServiceEndpoint(address, _service_ports(pod.ports), pod.hostname, pod.name)
            for pod in pods
            for address in pod.addresses
        ]
        six = [endpoint for endpoint in endpoints if ":" in endpoint.address]
        four = [endpoint for endpoint in endpoints if ":" not in endpoint.address]
        slices = [
            tuple(family[i : i + _SLICE]) for family in (four, six) for i in range(0, len(family), _SLICE)
        ]
        addresses = vip.addresses if vip else ()
        return Service(
            self.name, self.namespace, tuple(slices), addresses, _service_ports(vip.ports if vip else ports)
        )

    def peers(self, pods: Sequence[Pod], vip: Pod | None) -> list[Peer]:
        """Return the peers that a client should find, each key once."""
        if vip is not None:
            return [self._peer(vip, alone=True)]
        peers = [self._peer(pod, alone=len(pods) == 1) for pod in pods]
        return list({peer.key: peer for peer in peers}.values())

    def _peer(self, pod: Pod, *, alone: bool) -> Peer:
        first, port = pod.addresses[0], next(iter(pod.ports.values()))
        label = pod.hostname or (pod.name if self.pod_names else "")
        if not label:  # without a name nothing connects two families
            return Peer(host_port(first, port), first, port)
        fqdn = f"{label}.{self.name}.{self.namespace}.svc.{self.cluster_domain}."
        key = f"{label}@{first}" if self.shared_hostname and not alone else label
        return Peer(key, first, port, pod.addresses, label, fqdn)


def ports_of(ports: Mapping[str, int] | int | None, named: int | str | None) -> dict[str, int]:
    """Return port numbers by name, from the argument or else from the port in the Service's name."""
    if ports is None:
        return {"": named} if isinstance(named, int) else {named or "http": 8080}
    found = {"": ports} if isinstance(ports, int) else dict(ports)
    if not found or not all(0 < number < 65536 for number in found.values()):
        raise ConfigurationError(f"ports={quoted(ports)}: expected port numbers (1 to 65535) by name")
    return found


def _service_ports(ports: Mapping[str, int]) -> tuple[ServicePort, ...]:
    return tuple(ServicePort(number, name) for name, number in ports.items())
