"""A headless service name goes in, a live and trustworthy set of pods comes out.

    with Discovery("web-headless.prod:8080") as web:
        peer = web.round_robin().pick()

The public names are those of `__all__`. They are loaded when they are first used, so that importing
the library costs little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aio import AsyncDiscovery
    from .answers import Answer, Ask, Endpoint, Outcome, Source
    from .broadcast import Receipt
    from .discovery import Discovery
    from .errors import (
        ClosedError,
        ConfigurationError,
        NameNotFoundError,
        NoPeersError,
        OrdinalNotFoundError,
        PeerDiscoverError,
        ResolutionError,
        ResolutionTimeoutError,
    )
    from .membership import Status
    from .names import ServiceName
    from .once import aresolve, resolve
    from .peers import Change, Identity, Peer, PeerSet
    from .pickers import Picker
    from .policy import Policy
    from .sources.dns import DNS
    from .sources.fallback import Fallback
    from .sources.kubernetes import Kubernetes
    from .sources.static import Static

__all__ = [  # noqa: RUF022 - sorted as `sorted` does it, which a reader can check
    "Answer",
    "Ask",
    "AsyncDiscovery",
    "Change",
    "ClosedError",
    "ConfigurationError",
    "DNS",
    "Discovery",
    "Endpoint",
    "Fallback",
    "Identity",
    "Kubernetes",
    "NameNotFoundError",
    "NoPeersError",
    "OrdinalNotFoundError",
    "Outcome",
    "Peer",
    "PeerDiscoverError",
    "PeerSet",
    "Picker",
    "Policy",
    "Receipt",
    "ResolutionError",
    "ResolutionTimeoutError",
    "ServiceName",
    "Source",
    "Static",
    "Status",
    "aresolve",
    "resolve",
]

_ROOMS = {
    "aio": ("AsyncDiscovery",),
    "answers": ("Answer", "Ask", "Endpoint", "Outcome", "Source"),
    "broadcast": ("Receipt",),
    "discovery": ("Discovery",),
    "errors": (
        "ClosedError",
        "ConfigurationError",
        "NameNotFoundError",
        "NoPeersError",
        "OrdinalNotFoundError",
        "PeerDiscoverError",
        "ResolutionError",
        "ResolutionTimeoutError",
    ),
    "membership": ("Status",),
    "names": ("ServiceName",),
    "once": ("aresolve", "resolve"),
    "peers": ("Change", "Identity", "Peer", "PeerSet"),
    "pickers": ("Picker",),
    "policy": ("Policy",),
    "sources.dns": ("DNS",),
    "sources.fallback": ("Fallback",),
    "sources.kubernetes": ("Kubernetes",),
    "sources.static": ("Static",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
