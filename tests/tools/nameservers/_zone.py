"""What a cluster's DNS holds for a headless Service, as records of an ordinary zone.

After the Kubernetes DNS specification 1.1.0, 2.4, and CoreDNS where it goes beyond: SRV on the bare
name holds every port of every pod, and a pod without a hostname gets a label made of its address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import dns.name
import dns.rrset

__all__ = ["Pod", "pods_of", "service_records", "zone_file"]

HTTP: Mapping[str, int] = {"http": 8080}


@dataclass(frozen=True, slots=True)
class Pod:
    """A ready pod. Without a hostname it is one of a Deployment."""

    addresses: tuple[str, ...]
    hostname: str | None = None

    def labels(self) -> list[tuple[str, tuple[str, ...]]]:
        """The labels below the service's name that stand for it, each with its addresses."""
        if self.hostname is not None:
            return [(self.hostname, self.addresses)]
        # Two labels for a pod of both families: nothing in DNS says that they are one pod.
        return [(dashed(address), (address,)) for address in self.addresses]


def dashed(address: str) -> str:
    """The label that CoreDNS makes of an address (kubernetes plugin, `endpointHostname`)."""
    label = address.replace(".", "-").replace(":", "-")
    return label + "0" if label.endswith("-") else label


def pods_of(
    name: str | None,
    count: int,
    *,
    start: int = 0,
    first: str = "10.244.0.1",
    and_first: str | None = None,
) -> list[Pod]:
    """`count` pods with addresses that follow each other: `name-START`, … or without hostnames.

    `and_first` adds a second address to each, of the other family.
    """
    starts = [ip_address(first)] + ([ip_address(and_first)] if and_first else [])
    return [
        Pod(tuple(str(a + i) for a in starts), None if name is None else f"{name}-{start + i}")
        for i in range(count)
    ]


def service_records(
    name: str, pods: Iterable[Pod], *, ports: Mapping[str, int] = HTTP, ttl: int = 5
) -> list[dns.rrset.RRset]:
    """The records of the headless Service with that absolute name. An unnamed port has the name ""."""
    owner = dns.name.from_text(name)
    records: dict[tuple[dns.name.Name, str], list[str]] = {}

    def add(at: dns.name.Name, kind: str, text: str) -> None:
        texts = records.setdefault((at, kind), [])
        if text not in texts:  # hostNetwork pods share an address and stand once in A
            texts.append(text)

    for pod in pods:
        for label, addresses in pod.labels():
            target = dns.name.from_text(label, owner)
            for address in addresses:
                kind = "AAAA" if ":" in address else "A"
                add(owner, kind, address)
                add(target, kind, address)
            for port_name, number in ports.items():
                add(owner, "SRV", f"0 50 {number} {target}")
                if port_name:
                    at = dns.name.from_text(f"_{port_name}._tcp", owner)
                    add(at, "SRV", f"0 50 {number} {target}")
    return [dns.rrset.from_text(at, ttl, "IN", kind, *texts) for (at, kind), texts in records.items()]


def zone_file(zone: str, records: Sequence[dns.rrset.RRset] = (), *, negative_ttl: int = 5) -> str:
    """A zone with its SOA and NS, as a text."""
    head = [
        f"{zone}. {negative_ttl} IN SOA ns.dns.{zone}. hostmaster.{zone}. 1 7200 1800 86400 {negative_ttl}",
        f"{zone}. {negative_ttl} IN NS ns.dns.{zone}.",
        f"ns.dns.{zone}. {negative_ttl} IN A 10.96.0.10",
    ]
    return "\n".join([*head, *(record.to_text() for record in records), ""])
