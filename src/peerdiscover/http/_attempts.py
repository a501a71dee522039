"""A pod and the attempts on it: what is known of each, whichever kind of line there is.

Rules of this room:

* An attempt marks itself as the one under way in this thread or task (`CURRENT_ATTEMPT`); each line it writes
  to says so to it, before the first byte. Bytes of a TLS handshake are none of a request's.
* HTTP/2 has many requests on a line, and one may write what another has prepared: there an attempt is
  unsent only when nobody wrote to any line of that pod meanwhile, or when it could not dial.
* The waits on a line are cut to what the attempt has left. (Over HTTP/2 an attempt also waits for a stream,
  and for others that read: those waits are httpcore's.)
"""

from __future__ import annotations

import math
import time
from contextvars import ContextVar
from typing import Any, Protocol

from peerdiscover.peers import Peer

__all__ = ["CURRENT_ATTEMPT", "Abortable", "Attempt", "PodPool", "release"]


_MOMENT = 0.05
"""Seconds for which it is known that a pod could not be dialled."""


class Abortable(Protocol):
    """What of a line this needs."""

    tls_handshaking: bool
    """Whether TLS has begun there, and is not agreed on yet: it is of no use so far."""

    def abort(self) -> None:
        """End it for both sides; whoever reads from it finds it ended."""

    def detach(self) -> None:
        """In the child of a fork, where it is the parent's: give it up, and tell nobody."""


class PodPool:
    """One pod, and the lines to it."""

    __slots__ = (
        "attempts",
        "connect_timeout",
        "connections",
        "cut",
        "last_connect_failure",
        "multiplexed",
        "peer",
        "pool",
        "until",
        "write_error",
        "written",
    )

    def __init__(self, peer: Peer, patience: float, shares_lines: bool, write_error: type[Exception]) -> None:
        self.peer: Peer = peer
        self.connect_timeout: float = patience
        """Seconds that its kernel has to say anything."""
        self.multiplexed: bool = shares_lines
        """Whether several requests may be on one line (HTTP/2)."""
        self.write_error: type[Exception] = write_error
        """What a line raises when it cannot be written to: httpcore's."""
        self.pool: Any = None
        self.connections: set[Abortable] = set()
        self.attempts: set[Attempt] = set()
        """Under way, until the answer has been read."""
        self.last_connect_failure: float = -math.inf
        """When it could not be dialled, and since when not otherwise."""
        self.written: int = 0
        """How often anybody wrote to one of its lines."""
        self.until: float | None = None
        """It left the set; when what is under way is cut."""
        self.cut: bool = False
        """Whether that was done."""

    def is_connecting(self, now: float) -> bool:
        """Whether it could not be dialled a moment ago, or has no line while a request is about to have one:
        that one finds out about it.
        """
        if now < self.last_connect_failure + _MOMENT:
            return True
        return (
            bool(self.attempts)
            and all(line.tls_handshaking for line in self.connections.copy())
            and any(not attempt.written for attempt in self.attempts.copy())
        )

    def close_idle(self, now: float) -> None:
        """It left: cut the idle lines; all of them when it is time. Call it with the lock of `Pods`."""
        assert self.until is not None
        busy = {attempt.line for attempt in self.attempts.copy()}
        if now >= self.until:
            self.cut = self.cut or bool(self.attempts)
            busy.clear()
        elif None in busy:
            return  # an attempt is about to take a line, and nobody knows which
        for line in self.connections.difference(busy):
            line.abort()


class Attempt:
    """One attempt of a request on one pod."""

    __slots__ = (
        "_others",
        "began",
        "connect_timeout",
        "connecting",
        "deadline",
        "dialled",
        "heard",
        "lease",
        "line",
        "pod",
        "small",
        "written",
    )

    def __init__(
        self, pod: PodPool, began: float, deadline: float, patience: float, lease: Any, small: bool
    ) -> None:
        self.pod: PodPool = pod
        self.began: float = began
        self.deadline: float = deadline
        self.connect_timeout: float = patience
        """Seconds for dialling."""
        self.lease: Any = lease
        """What is to be left when it is over, where the picker counts."""
        self.small: bool = small
        """Whether the pod's kernel takes it whole, though the pod may be slow to read it."""
        self.line: Abortable | None = None
        """The line it wrote to last."""
        self.written: bool = False
        self.connecting: bool = False
        """Whether it is dialling, or could not."""
        self.dialled: bool = False
        """Whether the line is new."""
        self.heard: bool = False
        """Whether it has read anything."""
        self._others = pod.written

    @property
    def sent(self) -> bool:
        """Whether a byte of it may have been handed to a socket."""
        pod = self.pod
        return self.written or (not self.connecting and pod.multiplexed and pod.written != self._others)

    def connect(self) -> None:
        """It begins to dial: a line it had before did not take it."""
        self.line = None
        self.written = False
        self.connecting = True
        self._others = self.pod.written

    def connected(self) -> None:
        """It has a new line."""
        self.connecting = False
        self.dialled = True
        self.pod.last_connect_failure = -math.inf

    def write(self, line: Abortable) -> None:
        """It is about to write."""
        self.line = line
        self.written = True

    def within(self, timeout: float | None) -> float | None:
        """What is left of `timeout` seconds for it; never quite 0, which would mean not to wait at all."""
        if self.deadline == math.inf:
            return timeout
        left = max(self.deadline - time.monotonic(), 0.001)
        return left if timeout is None else min(timeout, left)

    def connect_deadline(self, timeout: float | None, times: int = 1) -> float:
        """What is left of `timeout` for dialling, `times` its patience at most."""
        patience = self.connect_timeout * times
        left = self.within(patience if timeout is None else min(timeout, patience))
        assert left is not None
        return left


CURRENT_ATTEMPT: ContextVar[Attempt | None] = ContextVar("peerdiscover attempt", default=None)


def release(lease: Any) -> None:
    """A request is over, or goes elsewhere; None: its picker does not count."""
    if lease is not None:
        lease.__exit__(None, None, None)
