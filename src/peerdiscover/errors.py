"""The tree of errors. Each says what was asked, which servers were asked, and what to do.

PeerDiscoverError
├── ConfigurationError (ValueError)        a name, a policy or a pod's environment that cannot work
├── ResolutionError                        a name was asked and did not give what the caller waits for
│   ├── NameNotFoundError (NoPeersError)   the servers say that the name is not there
│   └── ResolutionTimeoutError (TimeoutError)   time ran out; nothing was proven
├── NoPeersError                           no peers available
│   ├── NameNotFoundError                  (see above)
│   └── OrdinalNotFoundError               no pod, or two, with that ordinal
└── ClosedError                            used before the start or after the end
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

__all__ = [
    "ClosedError",
    "ConfigurationError",
    "NameNotFoundError",
    "NoPeersError",
    "OrdinalNotFoundError",
    "Outcome",
    "PeerDiscoverError",
    "ResolutionError",
    "ResolutionTimeoutError",
]


class Outcome(enum.Enum):
    """What kind of answer a source gave. Here, at the bottom, since errors carry it."""

    RESOLVED = "resolved"
    """All pods, as far as the source knows."""
    PARTIAL = "partial"
    """Some of the pods: the answer was cut short."""
    EMPTY = "empty"
    """The name exists, and no pods are behind it."""
    NOT_FOUND = "not found"
    """The name does not exist. CoreDNS says so when no pod is ready, too."""
    FAILED = "failed"
    """No answer: a timeout, SERVFAIL, REFUSED, something malformed, an exception."""

    def __str__(self) -> str:
        return self.value


class PeerDiscoverError(Exception):
    """The root of everything that peerdiscover raises on its own account."""


class ConfigurationError(PeerDiscoverError, ValueError):
    """What the caller wrote, or the pod's environment, cannot work. It shows that and says what to do."""


class ResolutionError(PeerDiscoverError):
    """A name was asked and did not give what the caller waits for.

    `service` is what the caller wrote, `name` the absolute name that was asked ("" if there
    is none, as with a callable), `servers` those that were asked, `outcome` the last answer's
    (None: there was no answer yet).
    """

    def __init__(
        self,
        message: str,
        *,
        service: str = "",
        name: str = "",
        servers: Sequence[str] = (),
        outcome: Outcome | None = None,
    ) -> None:
        super().__init__(message)
        self.service = service
        self.name = name
        self.servers: tuple[str, ...] = tuple(servers)
        self.outcome = outcome


class NoPeersError(PeerDiscoverError):
    """No peers are available: the set is empty, or holds only peers that the picker leaves out."""


class NameNotFoundError(ResolutionError, NoPeersError):
    """The servers say that the name does not exist, or that no pod behind it is ready.

    Over DNS the two look the same (CoreDNS answers NXDOMAIN for both).
    """


class ResolutionTimeoutError(ResolutionError, TimeoutError):
    """Time ran out. Nothing was proven about the peers: it never means that there are none."""


class OrdinalNotFoundError(NoPeersError):
    """No pod, or more than one, has the ordinal that was asked for."""


class ClosedError(PeerDiscoverError):
    """Used before it was started or after it was closed; the message says which."""
