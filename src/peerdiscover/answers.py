"""What a source is asked, and what it answers.

Invariants:

* Error is not empty. An answer is resolved, partial, empty, not found or failed. The first four
  are evidence about membership, partial is weak evidence, failed is none.
* A source says what it saw, no more: what that does to the set is decided in `membership`, by one set of
  rules for all sources.
* What a source drops, it reports: each entry of `dropped` is one line, for `explain()` and the log.

A source is any object with `kind` and `lookup` (pull), or `kind` and `watch` (push):

    class FromFile:
        kind = "file"

        def __init__(self, path):
            self.path = Path(path)

        def lookup(self, request):
            lines = self.path.read_text().split()  # if it raises: a failed answer, and no peer is removed
            return Answer.of([Endpoint.parse(line) for line in lines], ttl=10)

    Discovery("web", source=FromFile("/etc/peers"))

`lookup` may be a coroutine function. It may raise anything: that is a failed answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol, runtime_checkable

from ._host_ports import parse_host_port
from ._text import quoted
from .errors import ConfigurationError, Outcome
from .names import ServiceName

__all__ = [
    "Answer",
    "Endpoint",
    "LookupRequest",
    "PullSource",
    "PushSource",
    "Source",
    "family_of",
]


def family_of(address: str) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4


@lru_cache(maxsize=16384)
def canonical(address: str) -> str:
    """The address in canonical form; cached, since the same pods are seen again and again."""
    if not isinstance(address, str | IPv4Address | IPv6Address):
        raise TypeError  # ip_address takes numbers for addresses
    return str(ip_address(address))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One pod, as a source saw it.

    `addresses`: IP addresses, the preferred one first; they are brought into canonical form.
    `port`: the pod's port.
    `hostname`: its own label, such as `web-0`, if it has one.
    `fqdn`: its own absolute DNS name, with the trailing dot.
    `zone`, `node`: where it runs, if the source knows.
    `priority`: of its SRV record (RFC 2782), else 0. Pickers take the lowest that has a peer to pick.
    `is_instance`: the hostname is that of a machine, which may run several instances: the port is part of
    the peer's key.
    """

    addresses: tuple[str, ...]
    port: int
    hostname: str | None = None
    fqdn: str | None = None
    zone: str | None = None
    node: str | None = None
    priority: int = field(default=0, compare=False)
    is_instance: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        given = (self.addresses,) if isinstance(self.addresses, str) else tuple(self.addresses)
        try:
            addresses = tuple(map(canonical, given))
        except (TypeError, ValueError):
            shown = quoted(self.addresses)
            raise ConfigurationError(f"Endpoint(addresses={shown}): expected IP addresses") from None
        if not addresses:
            raise ConfigurationError("Endpoint(addresses=()): an endpoint has at least one address")
        if type(self.port) is not int or not 0 < self.port < 65536:
            raise ConfigurationError(f"Endpoint(port={quoted(self.port)}): a port lies between 1 and 65535")
        if type(self.priority) is not int or self.priority < 0:
            raise ConfigurationError(f"Endpoint(priority={quoted(self.priority)}): expected 0 or more")
        object.__setattr__(self, "addresses", addresses)

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """`10.0.0.1:8080`, `[fd00::1]:8080`, either behind `hostname=`; else `ConfigurationError`."""
        entry = parse_host_port(text)
        return cls((entry.address,), entry.port, entry.hostname)


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """One lookup, as a source gets it."""

    service: ServiceName
    timeout: float = 5.0
    """Seconds that the lookup may take, all its steps together."""
    second_opinion: bool = False
    """The last answer is in doubt: ask another server or replica, past caches if possible."""
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Hostnames that are in the set now, with their addresses; those unseen for longest first."""
    zone: str | None = None
    """This pod's zone, if it is known."""
    cancelled: Callable[[], bool] = lambda: False
    """Whether the answer is not needed any more. A blocking source checks it now and then."""
    on_cancelled: Callable[[Callable[[], object]], Callable[[], object]] = lambda _: lambda: None
    """`on_cancelled(act)` calls `act`, from another thread, once the answer is not needed any more.

    That wakes a source that blocks in a thread: `act` may set an event, or shut down a socket. It is
    called at once if the request is cancelled already. Returns a function that forgets `act` again.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a source saw. Build one with `of` or `failed`; anything else by naming fields."""

    outcome: Outcome
    endpoints: tuple[Endpoint, ...] = ()
    """In the order they came; for a partial answer that order is evidence."""
    ttl: float | None = None
    """Seconds for which asking again brings nothing new; None: no advice; infinite: never."""
    authoritative: bool = False
    """From a watch of the API server, or its like: applied at once, without hold or second opinion."""
    failed_families: frozenset[int] = frozenset()
    """4, 6: families that could not be asked; their peers stay."""
    unnamed: tuple[Endpoint, ...] = ()
    """Endpoints whose hostname could not be asked, in a service whose pods have hostnames."""
    gone: frozenset[str] = frozenset()
    """Known hostnames that do not exist, each by a lookup of its own. A second answer has to agree."""
    gone_ttl: float | None = None
    """Seconds for which looking those up again brings nothing new; None: no advice."""
    unresolved: frozenset[str] = frozenset()
    """Pods that the source lists, but whose addresses it could not resolve: hostnames, or addresses of pods
    without one. The answer is whole as to which pods there are; known ones stay as they are."""
    ordered: bool = False
    """A partial answer that is always cut at the same place: absence past the cut says nothing."""
    kind: str = ""
    """See `PeerSet.kind`; "": as it was, at first that of the source."""
    dropped: tuple[str, ...] = ()
    """What was in the answer and does not count, and why: one line each."""
    warnings: tuple[str, ...] = ()
    """What the user should know about the service: one line each, logged once."""
    servers: tuple[str, ...] = ()
    """The servers that were asked."""
    name: str = ""
    """The absolute name that was asked."""
    error: BaseException | str | None = None
    """Why it, or a family, failed. While no peers are known, a `ConfigurationError` reaches the callers."""
    hint: str = ""
    """Why the name may not exist: one sentence."""

    def __post_init__(self) -> None:
        self._convert("endpoints", "unnamed", as_=tuple, of=Endpoint)
        self._convert("dropped", "warnings", "servers", as_=tuple, of=str)
        self._convert("gone", "unresolved", as_=frozenset, of=str)
        self._convert("failed_families", as_=frozenset, of=int)
        if not isinstance(self.outcome, Outcome):
            raise ConfigurationError(f"Answer(outcome={quoted(self.outcome)}): expected an Outcome")
        for name, ttl in (("ttl", self.ttl), ("gone_ttl", self.gone_ttl)):
            if ttl is not None and not (isinstance(ttl, int | float) and ttl >= 0):
                raise ConfigurationError(f"Answer({name}={quoted(ttl)}): expected seconds, or None")

    def _convert(self, *names: str, as_: type[tuple[object, ...] | frozenset[object]], of: type) -> None:
        """Convert these fields, or refuse them: a source may be user code."""
        for name in names:
            given = getattr(self, name)
            converted = as_(given)
            if isinstance(given, str) or not all(isinstance(one, of) for one in converted):
                raise ConfigurationError(f"Answer({name}={quoted(given)}): expected a list of {of.__name__}")
            object.__setattr__(self, name, converted)

    @classmethod
    def of(cls, endpoints: Iterable[Endpoint], *, ttl: float | None = None, kind: str = "") -> Answer:
        """A complete answer: these endpoints and no others. Without endpoints it is an empty one."""
        found = tuple(endpoints)
        return cls(outcome=Outcome.RESOLVED if found else Outcome.EMPTY, endpoints=found, ttl=ttl, kind=kind)

    @classmethod
    def failed(cls, error: BaseException | str) -> Answer:
        """No answer, and why."""
        return cls(outcome=Outcome.FAILED, error=error)

    def replace(self, **changes: object) -> Answer:
        """A copy with other fields."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def is_evidence(self) -> bool:
        """Whether it says anything about membership."""
        return self.outcome is not Outcome.FAILED

    @property
    def is_empty(self) -> bool:
        """Whether it says that there are no peers."""
        return self.outcome in (Outcome.EMPTY, Outcome.NOT_FOUND)


@runtime_checkable
class PullSource(Protocol):
    """A source that is asked for each answer."""

    @property
    def kind(self) -> str: ...

    def lookup(self, request: LookupRequest, /) -> Answer | Awaitable[Answer]:
        """One answer. May block for up to `request.timeout` seconds; raising is a failed answer."""
        ...


@runtime_checkable
class PushSource(Protocol):
    """A source that reports changes by itself.

    `watch` yields complete answers, the first as soon as it can: an iterator in threads, an
    asynchronous one under asyncio and trio. Answers should be authoritative. While it cannot watch it
    yields failed ones; when it ends or raises, that is a failure, and it is started again after the wait
    that failures have. A source that also has `lookup` is asked by that while the watch fails.
    """

    @property
    def kind(self) -> str: ...

    def watch(self, request: LookupRequest, /) -> Iterator[Answer] | AsyncIterator[Answer]: ...


Source = PullSource | PushSource
