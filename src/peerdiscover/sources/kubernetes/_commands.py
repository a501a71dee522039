"""What a `Reflector` asks its driver to do, where it asks, and what is remembered of the server.

Invariants:

* The reflector decides, a driver (`_drivers`) acts. Neither knows more of the other than this.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ._redaction import Redactor


@dataclass(frozen=True, slots=True)
class Find:
    """Find out where the API server is; then call `found`."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Get:
    """Send a GET and pass on what comes, until `Reflector.done` or `Reflector.deadline`."""

    path: str
    """Path and query."""
    reconnect: bool
    """On a new connection."""
    reload_token: bool = False
    """With the token read again: the last one was refused."""


Command = Find | Wait | Get


@dataclass(frozen=True, slots=True)
class Target:
    """Where the slices are."""

    server: str
    """Host and port, as errors name them."""
    credentials: str
    """The server, and where the credentials come from."""
    namespace: str
    name: str
    """The Service's absolute DNS name."""
    pod_namespace: str | None = None
    """The namespace of this pod."""
    redactor: Redactor = field(default_factory=Redactor)
    """Takes our credentials out of what the server says."""


@dataclass(slots=True)
class ServerState:
    """What earlier watches of a source found out about its server."""

    no_watch_list: bool = False
    """`sendInitialEvents` is not served."""
    late: int = 0
    """How many syncs in a row did not end in time. A slow server is late once."""
    forbidden: set[str] = field(default_factory=set)
    """Namespaces in which Services may not be read."""
