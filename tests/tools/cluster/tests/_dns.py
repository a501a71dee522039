"""Questions to the cluster's CoreDNS, by dnspython alone."""

from __future__ import annotations

from dataclasses import dataclass

import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from tests.tools.cluster import Cluster
from tests.waiting import LONG


@dataclass(frozen=True)
class Answer:
    """What came back."""

    rcode_name: str
    records: tuple[str, ...]
    ttl: int | None


def ask(cluster: Cluster, name: str, kind: str = "A") -> Answer:
    """One question over TCP, so that nothing is cut off. The thread must be inside the cluster."""
    question = dns.message.make_query(name + ".", kind)
    said = dns.query.tcp(question, cluster.nameserver, timeout=LONG)
    wanted = dns.rdatatype.from_text(kind)
    sets = [one for one in said.answer if one.rdtype == wanted]
    records = tuple(sorted(str(record) for one in sets for record in one))
    return Answer(dns.rcode.to_text(said.rcode()), records, sets[0].ttl if sets else None)


def addresses(cluster: Cluster, name: str, kind: str = "A") -> set[str]:
    """The addresses that a name has."""
    return set(ask(cluster, name, kind).records)
