"""A headless Service on loopback, for tests and demonstrations: its nameserver and its pods.

`HeadlessService` has everything in one object. `Nameserver` is its DNS server as a function from bytes
to bytes, which answers from a `Zone` of `Service`, `ServiceEndpoint` and `ServicePort`. pytest loads the
fixture `headless_service` (`peerdiscover.testing.plugin`) by itself.

Names are imported when they are first used, because pytest imports this package in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerdiscover._exports import lazy

if TYPE_CHECKING:
    from ._endpoints import Service, ServiceEndpoint, ServicePort
    from ._nameserver import Misbehaviour, Nameserver, Query, Transport
    from ._service import HeadlessService
    from ._zone import Zone

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
        "_endpoints": ("Service", "ServiceEndpoint", "ServicePort"),
        "_nameserver": ("Misbehaviour", "Nameserver", "Query", "Transport"),
        "_service": ("HeadlessService",),
        "_zone": ("Zone",),
    },
)
