"""A headless Service of one's own, for tests and demonstrations: nameserver and pods on loopback.

`HeadlessService` has all of it in one object. `Nameserver` is its DNS server as a function from bytes
to bytes, and `Zone`, `Service`, `ServiceEndpoint` and `ServicePort` are what that answers from. Of
pytest there is the fixture `headless_service` (`peerdiscover.testing.plugin`, loaded by itself).
"""

from __future__ import annotations

from ._nameserver import Misbehaviour, Nameserver, Query, Transport
from ._service import HeadlessService
from ._zone import Service, ServiceEndpoint, ServicePort, Zone

__all__ = [
    "HeadlessService",
    "Misbehaviour",
    "Nameserver",
    "Query",
    "Service",
    "ServiceEndpoint",
    "ServicePort",
    "Transport",
    "Zone",
]
