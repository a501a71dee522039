"""Labels of names: which are well-formed, and what a pod's label says about the pod.

Invariants:

* A label that CoreDNS made from an address (`10-244-0-7`) is an address, not a hostname.
* An ordinal is what a StatefulSet appends: `-` and digits at the end of the hostname.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
"""A label of a Service, a namespace, a pod (RFC 1123)."""
DNS_LABEL = re.compile(r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?", re.ASCII)
"""A label of any DNS name: outside a cluster they have underscores, too."""

_ORDINAL = re.compile(r"-([0-9]{1,9})$", re.ASCII)
# The suffix that Deployments and DaemonSets append is five characters of this alphabet, which
# can all be digits. No StatefulSet counts that far, so such an ending is no ordinal.
_RANDOM_SUFFIX = re.compile(r"-[2456789]{5}$", re.ASCII)


def dashed_address(label: str) -> str | None:
    """The address that CoreDNS made this label from, or None if it is a hostname.

    CoreDNS (kubernetes plugin, `endpointHostname`) writes `-` for `.` and `:`, and a `0` behind a
    trailing `-`, for endpoints without a hostname.
    """
    if "-" not in label:
        return None
    for separator in ".", ":":
        try:
            return str(ip_address(label.replace("-", separator)))
        except ValueError:
            continue
    return None


def dashed(address: str) -> str:
    """The label that CoreDNS makes of an address."""
    label = address.replace(".", "-").replace(":", "-")
    return f"{label}0" if label.endswith("-") else label


def ordinal_of(hostname: str | None) -> int | None:
    """The ordinal at the end of a StatefulSet pod's hostname, or None.

    Ordinals need not start at 0 (`spec.ordinals.start`), and names such as `foo-0-bar-1` occur: the
    last number counts.
    """
    if hostname is None:
        return None
    label, _, cluster = hostname.partition(".")
    if "." not in cluster:  # `web-0.east`: a pod of a multi-cluster Service
        hostname = label
    if _RANDOM_SUFFIX.search(hostname):
        return None
    found = _ORDINAL.search(hostname)
    return int(found[1]) if found else None
