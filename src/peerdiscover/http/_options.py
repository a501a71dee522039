"""The options of transports and clients, and which URLs stand for the service.

Each option is written twice here and nowhere else: in a `TypedDict`, which editors and type checkers read,
and in `PodSettings` or `TransportSettings`, which have the defaults.
"""

from __future__ import annotations

import inspect
import math
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol, TypedDict, TypeGuard

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName
from peerdiscover.pickers import Picker


class ConnectionLimits(Protocol):
    """`httpx.Limits`, or httpx2's."""

    @property
    def max_connections(self) -> int | None: ...
    @property
    def max_keepalive_connections(self) -> int | None: ...
    @property
    def keepalive_expiry(self) -> float | None: ...


class PodOptions(TypedDict, total=False):
    """The options of all that sends requests over pods, with any library."""

    picker: Picker | None
    host: Literal["service", "peer"]
    attempts: int
    budget: float
    connect_timeout: float
    attempt_timeout: float | None
    total_timeout: float | None
    retry_503: bool
    drain: float


class TransportOptions(PodOptions, total=False):
    """The options of `PodTransport` and `AsyncPodTransport`, which say what each means."""

    verify: ssl.SSLContext | str | bool
    cert: str | tuple[str, str] | tuple[str, str, str] | None
    trust_env: bool
    http1: bool
    http2: bool
    limits: ConnectionLimits | None


class ClientOptions(TransportOptions, total=False):
    """The options of `Client` and `AsyncClient`: those of the transport, and httpx's own."""

    auth: Any
    params: Any
    headers: Any
    cookies: Any
    timeout: Any
    follow_redirects: bool
    max_redirects: int
    event_hooks: Any
    base_url: Any
    mounts: Any
    default_encoding: str | Callable[[bytes], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """What was given of `PodOptions`, and the defaults of the rest; validated."""

    picker: Picker | None = None
    host: Literal["service", "peer"] = "service"
    attempts: int = 3
    budget: float = 0.2
    connect_timeout: float = 0.5
    attempt_timeout: float | None = None
    total_timeout: float | None = None
    retry_503: bool = False
    drain: float = math.inf

    def __post_init__(self) -> None:
        require = self._require
        require(self.host in ("service", "peer"), "host", "'service' or 'peer'")
        require(isinstance(self.attempts, int) and self.attempts >= 1, "attempts", "a number, at least 1")
        require(_is_number(self.budget) and 0 <= self.budget <= 1, "budget", "a share between 0 and 1")
        for name in ("connect_timeout", "attempt_timeout", "total_timeout"):
            value = getattr(self, name)
            optional = value is None and name != "connect_timeout"
            require(optional or (_is_number(value) and value > 0), name, "seconds above 0")
        require(_is_number(self.drain) and self.drain >= 0, "drain", "seconds, at least 0")
        picker = self.picker
        require(
            picker is None or needs_no_key(picker), "picker", "one whose pick() or lease() needs no argument"
        )

    def _require(self, ok: bool, name: str, expected: str) -> None:
        if not ok:
            raise ConfigurationError(f"{name}={quoted(getattr(self, name))}: expected {expected}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings(PodSettings):
    """The same of `TransportOptions`."""

    verify: ssl.SSLContext | str | bool = True
    cert: str | tuple[str, str] | tuple[str, str, str] | None = None
    trust_env: bool = True
    http1: bool = True
    http2: bool = False
    limits: ConnectionLimits | None = None

    def __post_init__(self) -> None:
        PodSettings.__post_init__(self)
        has_h2 = not self.http2 or find_spec("h2") is not None
        self._require(has_h2, "http2", "the package h2 to be installed: pip install h2")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float)


def needs_no_key(picker: object) -> bool:
    choose = getattr(picker, "lease", None) or getattr(picker, "pick", None)
    try:
        inspect.signature(choose).bind()  # type: ignore[arg-type]  # that is the question
    except TypeError:
        return False
    return True


def host_of(service: ServiceName) -> str:
    """Return the host in a URL that stands for this service."""
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
    """Return whether a URL's host means this service: its name, as far as it is written."""
    if service.scheme == "static":
        return True  # a list of addresses has no name of its own
    host = host.rstrip(".").lower()
    if service.is_external:
        return host == service.service.rstrip(".")
    labels = host.split(".")
    if labels[0] != service.service or (len(labels) > 2 and labels[2] != "svc"):
        return False
    if len(labels) > 1 and service.namespace and labels[1] != service.namespace:
        return False
    return len(labels) < 4 or not service.domain or labels[3:] == service.domain.split(".")
