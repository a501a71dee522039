"""A pod, its connections, and the attempts on it.

Invariants:

* The attempt that a thread or task is making is `CURRENT_ATTEMPT`. Each connection that it writes to
  notes that on it before the first byte. The bytes of a TLS handshake are not a request's.
* HTTP/2 has many requests on one connection, and one may write what another prepared. There an attempt is
  unsent only if nothing was written to any connection of its pod since, or if it could not connect.
* The waits on a connection are cut to what the attempt has left. (Over HTTP/2 an attempt also waits for a
  stream, and for others that read: those waits are httpcore's.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from peerdiscover.peers import Peer

_FAILURE_MEMORY = 0.05
"""Seconds for which a failure to connect to a pod counts for other requests, too."""


class Abortable(Protocol):
    """What a `PodPool` needs of a connection."""

    @property
    def tls_handshaking(self) -> bool:
        """Whether a TLS handshake has begun and not ended there: it cannot carry a request yet."""
        ...

    @property
    def is_closed_by_pod(self) -> bool:
        """Whether the pod has closed it, as far as the kernel says (Linux); a response may be unread yet."""
        ...

    def abort(self) -> None:
        """End it for both sides; a thread or task that reads from it sees its end."""

    def detach(self) -> None:
        """Give it up in the child of a fork, without a word to the pod: it is the parent's."""


@dataclass(slots=True, eq=False, repr=False)
class PodPool:
    """One pod, and the connections to it."""

    peer: Peer
    connect_timeout: float
    """Seconds that its kernel has to respond at all."""
    clock: Callable[[], float]
    """The time that attempts are measured in."""
    multiplexed: bool = False
    """Whether several requests may share a connection (HTTP/2)."""
    max_connections: int | None = None
    core: Any = None
    """httpcore or httpcore2, whose errors the connections raise."""
    before_tls: Callable[[], object] = lambda: None
    """Called before each TLS handshake."""
    name: str = field(init=False)
    """The pod's own name, or its address, as certificates have it."""
    authority: str = field(init=False)
    """The same with its port, as the header `Host` has it."""
    pool: Any = None
    """The pool of connections, of the library beneath."""
    connections: set[Abortable] = field(default_factory=set)
    attempts: set[Attempt] = field(default_factory=set)
    """Those in flight, until their response has been read."""
    last_connect_failure: float = -math.inf
    """When a request could not connect to it; a connection made since then clears it."""
    has_failed: bool = False
    """Whether an attempt ended with an error: without one no connection is lost."""
    writes: int = 0
    """How often its connections were written to."""
    abort_at: float | None = None
    """The pod left the set; when requests that are in flight are cut (`time.monotonic`)."""
    aborted: bool = False
    """Whether that was done."""

    def __post_init__(self) -> None:
        peer = self.peer
        self.name = peer.fqdn.rstrip(".") if peer.fqdn else peer.address
        self.authority = f"{self.name}:{peer.port}" if peer.fqdn else peer.hostport

    def is_free(self, now: float) -> bool:
        """Whether it is neither `is_connecting` nor `is_full`."""
        if not self.attempts:
            return now >= self.last_connect_failure + _FAILURE_MEMORY
        return not (self.is_connecting(now) or self.is_full)

    def is_connecting(self, now: float) -> bool:
        """Whether a request could not connect a moment ago, or is about to: there is no connection yet.

        That request finds out whether the pod is there; others need not.
        """
        if now < self.last_connect_failure + _FAILURE_MEMORY:
            return True
        return (
            bool(self.attempts)
            and all(connection.tls_handshaking for connection in self.connections.copy())
            and any(not attempt.written for attempt in self.attempts.copy())
        )

    @property
    def is_full(self) -> bool:
        """Whether another request would have to wait for a connection."""
        if self.max_connections is None or len(self.attempts) < self.max_connections:
            return False
        return not (self.multiplexed and any(c.is_available() for c in self.pool.connections))

    @property
    def lost_connections(self) -> int:
        """How many connections of a pool that is full are in use by no attempt.

        httpcore 1.0.9 loses those of requests that are cancelled while they wait for one: they stay
        CONNECTING for ever (encode/httpcore#1093).
        """
        if not self.has_failed or self.max_connections is None:
            return 0
        connections = self.pool.connections
        if len(connections) < self.max_connections:
            return 0
        in_use = sum(not (c.is_available() or c.is_idle() or c.is_closed()) for c in connections)
        return max(in_use - len(self.attempts), 0) if in_use == len(connections) else 0

    @property
    def is_closed_by_pod(self) -> bool:
        """Whether requests would share a connection that the pod has closed: httpcore does not look."""
        return self.multiplexed and any(c.is_closed_by_pod for c in self.connections.copy())

    def close_idle(self, now: float) -> None:
        """Cut the idle connections, since the pod left; all of them at `abort_at`.

        Call it with the lock of `PodPools`.
        """
        assert self.abort_at is not None
        busy = {attempt.connection for attempt in self.attempts.copy()}
        if now >= self.abort_at:
            self.aborted = self.aborted or bool(self.attempts)
            busy.clear()
        elif None in busy:
            return  # an attempt is about to take a connection, and which one is not known
        for connection in self.connections.difference(busy):
            connection.abort()


class Attempt:
    """One attempt of a request on one pod.

    * `started_at`, `deadline`: in the time of the pod's `clock`.
    * `lease`: what is released when the attempt ends, if the picker counts; else None.
    * `is_small`: whether the pod's kernel takes the request whole, though the pod may be slow to read it.
    """

    connection: Abortable | None = None
    """The one it wrote to last."""
    written = False
    connecting = False
    """Whether it is connecting, or could not."""
    is_new_connection = False
    received = False
    """Whether it reads what the pod sends: then an error may be in that."""
    connect_timeout_factor = 1
    """How many times the connect timeout it has for connecting."""
    writes_before = 0
    """What `writes` of a `multiplexed` pod was when it began, or began to connect."""

    def __init__(self, pod: PodPool, started_at: float, deadline: float, lease: Any, is_small: bool) -> None:
        self.pod = pod
        self.started_at = started_at
        self.deadline = deadline
        self.lease = lease
        self.is_small = is_small

    @property
    def connect_timeout(self) -> float:
        """Seconds for connecting."""
        return self.pod.connect_timeout * self.connect_timeout_factor

    @property
    def sent(self) -> bool:
        """Whether a byte of it may have been handed to a socket."""
        pod = self.pod
        return self.written or (not self.connecting and pod.multiplexed and pod.writes != self.writes_before)

    def on_connect(self) -> None:
        """It begins to connect: a connection that it had before did not take it."""
        self.connection = None
        self.written = False
        self.connecting = True
        self.writes_before = self.pod.writes

    def on_connected(self) -> None:
        """It has a new connection."""
        self.connecting = False
        self.is_new_connection = True
        self.pod.last_connect_failure = -math.inf

    def within(self, timeout: float | None) -> float | None:
        """Return what is left of `timeout` seconds; never quite 0, which would mean not to wait at all."""
        if self.deadline == math.inf:
            return timeout
        left = max(self.deadline - self.pod.clock(), 0.001)
        return left if timeout is None else min(timeout, left)

    def connect_within(self, timeout: float | None, times: int = 1) -> float:
        """Return what is left of `timeout` for connecting, at most `times` the connect timeout."""
        most = self.connect_timeout * times
        left = self.within(most if timeout is None else min(timeout, most))
        assert left is not None
        return left


CURRENT_ATTEMPT: ContextVar[Attempt | None] = ContextVar("peerdiscover attempt", default=None)


def current_attempt() -> Attempt:
    """Return the attempt that a pool connects for, and a connection writes for."""
    attempt = CURRENT_ATTEMPT.get()
    assert attempt is not None, "these connections are used for attempts alone"
    return attempt


def release(lease: Any) -> None:
    """Release a picker's lease, since a request ended or goes elsewhere; None: its picker does not count."""
    if lease is not None:
        lease.__exit__(None, None, None)
