"""Which targets of SRV records are accepted, and which pods they are. Pure.

Invariants:

* In a cluster the target of an SRV record is the service itself or a pod beneath it (Kubernetes DNS
  specification 1.1.0, 2.4.2), in whatever domain: the service's own labels, SERVICE.NAMESPACE.svc, stand
  in it. So a server may rewrite zones. Between the pod's label and those of the service there may be one
  more, the cluster's, as the multi-cluster API has it. A target elsewhere belongs to another service.
* A port is not 0. The target "." says that the service is decidedly not offered (RFC 2782).
* Each rejection is one line that shows the record. The rest of the answer stands.
"""

from __future__ import annotations

from collections.abc import Iterable

from peerdiscover._labels import DNS_LABEL, dashed_address

from ._types import Reply, Srv

_NOT_OFFERED = "."
"""The target of a service that is decidedly not offered."""

_MAX_LABELS = 2
"""Labels before those of the service: the pod's, and the cluster's."""


def is_not_offered(srv: Reply) -> bool:
    """Whether the reply is the one record that says so."""
    return bool(srv.services) and all(record.target == _NOT_OFFERED for record in srv.services)


def label_beneath(target: str, parents: Iterable[str]) -> str | None:
    """What stands before the service in `target`: "web-0", "web-0.east", "" for itself; None: elsewhere."""
    for parent in parents:
        if target == parent:
            return ""
        label = _before(target, parent)
        if label and all(DNS_LABEL.fullmatch(part) or dashed_address(part) for part in label.split(".")):
            return label
    return None


def _before(target: str, parent: str) -> str | None:
    labels, service = target.split("."), parent.split(".")
    if service[2:3] != ["svc"]:  # outside of a cluster
        rest = target.removesuffix("." + parent)
        return rest if rest != target and "." not in rest else None
    for i in range(1, _MAX_LABELS + 1):
        if labels[i : i + 3] == service[:3] and len(labels) > i + 4:
            return ".".join(labels[:i])
    return None


def target_rejection(record: Srv, parents: tuple[str, ...] | None) -> str:
    """Why an SRV record is rejected; "" if it is accepted. `parents`: None if targets may be anywhere."""
    if record.target == _NOT_OFFERED:
        return "it says that there is no such service"
    if record.port == 0:
        return "port 0"
    if parents is not None and label_beneath(record.target, parents) is None:
        return f"the target lies outside {parents[0]}; DNS(targets='any') accepts it"
    return ""
