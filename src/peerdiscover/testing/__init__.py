"""A headless Service of one's own, for tests and demonstrations: nameserver and pods on loopback.

`HeadlessService` has all of it in one object. `Nameserver` is its DNS server as a function from bytes
to bytes, and `Zone`, `Service`, `ServiceEndpoint` and `ServicePort` are what that answers from. Of
pytest there is the fixture `headless_service` (`peerdiscover.testing.plugin`, loaded by itself).

The names are loaded when they are first used: pytest imports this package in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import _nameserver, _service, _zone

    for module in (_service, _nameserver, _zone):
        if name in module.__all__:
            return getattr(module, name)
    raise AssertionError(name)


def __dir__() -> list[str]:
    return __all__
