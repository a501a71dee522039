"""A headless Service of one's own, for tests and demonstrations: nameserver and pods on loopback.

`HeadlessService` has all of it in one object. `Nameserver` is its DNS server as a function from bytes
to bytes, and `Zone`, `Service`, `ServiceEndpoint` and `ServicePort` are what that answers from. Of
pytest there is the fixture `headless_service` (`peerdiscover.testing.plugin`, loaded by itself).

The names are loaded when they are first used: pytest imports this package in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerdiscover._exports import lazy

if TYPE_CHECKING:
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

__getattr__, __dir__ = lazy(
    __name__,
    {
        "_nameserver": ("Misbehaviour", "Nameserver", "Query", "Transport"),
        "_service": ("HeadlessService",),
        "_zone": ("Service", "ServiceEndpoint", "ServicePort", "Zone"),
    },
)
