"""How requests are sent, and which URLs are for the service: what is decided before the first one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName

__all__ = ["TransportOptions", "host_of", "stands_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """How requests are sent, and sent again. Times are seconds."""

    host: Literal["service", "peer"] = "service"
    attempts: int = 3
    budget: float = 0.2
    connect_timeout: float = 0.5
    attempt_timeout: float | None = None
    total_timeout: float | None = None
    retry_503: bool = False
    drain: float = 30.0

    def __post_init__(self) -> None:
        def require(ok: bool, name: str, what: str) -> None:
            if not ok:
                raise ConfigurationError(f"{name}={getattr(self, name)!r}: {what}")

        require(self.host in ("service", "peer"), "host", "one of 'service' and 'peer' is wanted")
        require(isinstance(self.attempts, int) and self.attempts >= 1, "attempts", "at least 1 is needed")
        require(0 <= self.budget <= 1, "budget", "a share between 0 and 1 is wanted")
        for name in ("connect_timeout", "attempt_timeout", "total_timeout"):
            value = getattr(self, name)
            optional = value is None and name != "connect_timeout"
            require(optional or (value is not None and value > 0), name, "seconds above 0 are wanted")
        require(self.drain >= 0, "drain", "must not be negative")


def host_of(service: ServiceName) -> str:
    """The host in a URL that stands for this service."""
    if service.scheme == "static":
        return "static"
    if service.is_external:
        return service.service.rstrip(".")
    parts = [service.service]
    if service.namespace:
        parts.append(service.namespace)
    if service.domain:
        parts += ["svc", service.domain]
    return ".".join(parts)


def stands_for(host: str, service: ServiceName) -> bool:
    """Whether a URL's host means this service: its name, as far as it is written."""
    if service.scheme == "static":
        return True  # it has no name of its own
    host = host.rstrip(".").lower()
    if service.is_external:
        return host == service.service.rstrip(".")
    labels = host.split(".")
    if labels[0] != service.service or (len(labels) > 2 and labels[2] != "svc"):
        return False
    if len(labels) > 1 and service.namespace and labels[1] != service.namespace:
        return False
    return len(labels) < 4 or not service.domain or labels[3:] == service.domain.split(".")
