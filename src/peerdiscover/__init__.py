"""A headless service name goes in, a live and trustworthy set of pods comes out.

    with Discovery("web-headless.prod:8080") as web:
        peer = web.round_robin().pick()

The public names are those of `__all__`. They are loaded when they are first used, so that importing
the library costs little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._exports import lazy

if TYPE_CHECKING:
    from .answers import Answer, Endpoint, LookupRequest, Source
    from .discovery.aio import AsyncDiscovery
    from .discovery.broadcast import Receipt
    from .discovery.once import aresolve, resolve
    from .discovery.sync import Discovery
    from .errors import (
        ClosedError,
        ConfigurationError,
        NameNotFoundError,
        NoPeersError,
        OrdinalNotFoundError,
        Outcome,
        PeerDiscoverError,
        ResolutionError,
        ResolutionTimeoutError,
    )
    from .identity import Identity
    from .membership import Status
    from .names import ServiceName
    from .peers import Change, Peer, PeerSet
    from .pickers import Picker
    from .policy import Policy
    from .sources.dns import DNS
    from .sources.fallback import Fallback
    from .sources.function import SourceLike
    from .sources.kubernetes import Kubernetes
    from .sources.static import Static

__all__ = [  # noqa: RUF022 - sorted as `sorted` does it, which a reader can check
    "Answer",
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
    "LookupRequest",
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
    "SourceLike",
    "Static",
    "Status",
    "aresolve",
    "resolve",
]

_EXPORTS = {
    "answers": ("Answer", "Endpoint", "LookupRequest", "Source"),
    "discovery.aio": ("AsyncDiscovery",),
    "discovery.broadcast": ("Receipt",),
    "discovery.once": ("aresolve", "resolve"),
    "discovery.sync": ("Discovery",),
    "errors": (
        "ClosedError",
        "ConfigurationError",
        "NameNotFoundError",
        "NoPeersError",
        "OrdinalNotFoundError",
        "Outcome",
        "PeerDiscoverError",
        "ResolutionError",
        "ResolutionTimeoutError",
    ),
    "membership.status": ("Status",),
    "names": ("ServiceName",),
    "identity": ("Identity",),
    "peers": ("Change", "Peer", "PeerSet"),
    "pickers": ("Picker",),
    "policy": ("Policy",),
    "sources.dns": ("DNS",),
    "sources.fallback": ("Fallback",),
    "sources.function": ("SourceLike",),
    "sources.kubernetes": ("Kubernetes",),
    "sources.static": ("Static",),
}

__getattr__, __dir__ = lazy(__name__, _EXPORTS)
