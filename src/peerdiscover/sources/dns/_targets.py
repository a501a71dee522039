"""Which targets of SRV records are accepted. Pure.

Invariants:

* In a cluster, the target of an SRV record is the service itself, or one label beneath it
  (Kubernetes DNS specification 1.1.0, 2.4.2). A target elsewhere belongs to another service.
* A port is not 0. The target "." says that there is no such service (RFC 2782).
* Each refusal is one line that shows the record. The rest of the answer stands.
"""

from __future__ import annotations

from collections.abc import Iterable

from peerdiscover._labels import DNS_LABEL, dashed_address

from ._types import Srv

__all__ = ["label_beneath", "target_rejection"]


def label_beneath(target: str, parents: Iterable[str]) -> str | None:
    """The label of `target` directly beneath one of `parents`; "" for a parent itself; else None."""
    for parent in parents:
        if target == parent:
            return ""
        label = target.removesuffix("." + parent)
        if label != target and (DNS_LABEL.fullmatch(label) or dashed_address(label)):
            return label
    return None


def target_rejection(record: Srv, parents: tuple[str, ...] | None) -> str:
    """Why an SRV record is rejected; "" if it is accepted. `parents`: None for a name outside the cluster."""
    if record.target == ".":
        return "it says that there is no such service"
    if record.port == 0:
        return "port 0"
    if parents is not None and label_beneath(record.target, parents) is None:
        return f"the target lies outside {parents[0]}"
    return ""
