"""The words of a watch: its steps, where it asks, what it remembers; and what a Status of the API says.

Rules of this room:

* `_reflector` says steps, the drivers (`_drivers`) do them. Neither knows more of the other than this.
* What a server writes is cut to a length that people read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Find", "Get", "ServerState", "Step", "Target", "Wait", "message_of", "seconds_in", "seconds_of"]


@dataclass(frozen=True, slots=True)
class Find:
    """Find out where the API server is; then `found`."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Get:
    """Send a GET, and tell what comes until `Watching.done`. It may take until `Watching.deadline`."""

    target: str
    """Path and query."""
    fresh: bool
    """On a new connection."""
    renewed: bool = False
    """With credentials read anew: the last ones were refused."""


Step = Find | Wait | Get


@dataclass(frozen=True, slots=True)
class Target:
    """Where the slices are."""

    server: str
    """Host and port, as errors name them."""
    credentials: str
    """Server, and where the credentials come from."""
    namespace: str
    name: str
    """The Service's absolute DNS name."""
    pod_namespace: str | None = None


@dataclass(slots=True)
class ServerState:
    """What earlier watches of a source found out about its server."""

    no_watch_list: bool = False
    """`sendInitialEvents` is not served."""
    late: int = 0
    """How often in a row a sync did not come to its end in time; a slow server is late once."""
    forbidden: set[str] = field(default_factory=set)
    """Namespaces in which Services may not be read."""


def message_of(status: object) -> str:
    """What the server says, in one line."""
    text = status.get("message") if isinstance(status, dict) else status
    return " ".join(str(text).split())[:1000] or "no reason was given"


def seconds_of(text: str | None) -> float:
    """`Retry-After`, where it is a number of seconds."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 7 else 0.0


def seconds_in(status: Any) -> float:
    """`details.retryAfterSeconds` of a Status."""
    details = status.get("details") if isinstance(status, dict) else None
    given = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    return 0.0 if given is None else seconds_of(str(given))
