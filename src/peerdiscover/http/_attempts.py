"""A pod and the attempts on it: what is known of each, whichever kind of line there is.

Rules of this room:

* An attempt marks itself as the one under way in this thread or task (`UNDER_WAY`); each line it writes
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

__all__ = ["UNDER_WAY", "Attempt", "Cuttable", "Pod", "leave"]


_MOMENT = 0.05
"""Seconds for which it is known that a pod could not be dialled."""


class Cuttable(Protocol):
    """What of a line this needs."""

    shakes_hands: bool
    """Whether TLS has begun there, and is not agreed on yet: it is of no use so far."""

    def cut(self) -> None:
        """End it for both sides; whoever reads from it finds it ended."""

    def abandon(self) -> None:
        """In the child of a fork, where it is the parent's: give it up, and tell nobody."""


class Pod:
    """One pod, and the lines to it."""

    __slots__ = (
        "attempts",
        "cut",
        "lines",
        "patience",
        "peer",
        "pool",
        "refused",
        "shares_lines",
        "until",
        "write_error",
        "written",
    )

    def __init__(self, peer: Peer, patience: float, shares_lines: bool, write_error: type[Exception]) -> None:
        self.peer: Peer = peer
        self.patience: float = patience
        """Seconds that its kernel has to say anything."""
        self.shares_lines: bool = shares_lines
        """Whether several requests may be on one line (HTTP/2)."""
        self.write_error: type[Exception] = write_error
        """What a line raises when it cannot be written to: httpcore's."""
        self.pool: Any = None
        self.lines: set[Cuttable] = set()
        self.attempts: set[Attempt] = set()
        """Under way, until the answer has been read."""
        self.refused: float = -math.inf
        """When it could not be dialled, and since when not otherwise."""
        self.written: int = 0
        """How often anybody wrote to one of its lines."""
        self.until: float | None = None
        """It left the set; when what is under way is cut."""
        self.cut: bool = False
        """Whether that was done."""

    def in_doubt(self, now: float) -> bool:
        """Whether it could not be dialled a moment ago, or has no line while a request is about to have one:
        that one finds out about it.
        """
        if now < self.refused + _MOMENT:
            return True
        return (
            bool(self.attempts)
            and all(line.shakes_hands for line in self.lines.copy())
            and any(not attempt.written for attempt in self.attempts.copy())
        )

    def trim(self, now: float) -> None:
        """It left: cut the idle lines; all of them when it is time. Call it with the lock of `Pods`."""
        assert self.until is not None
        busy = {attempt.line for attempt in self.attempts.copy()}
        if now >= self.until:
            self.cut = self.cut or bool(self.attempts)
            busy.clear()
        elif None in busy:
            return  # an attempt is about to take a line, and nobody knows which
        for line in self.lines.difference(busy):
            line.cut()


class Attempt:
    """One attempt of a request on one pod."""

    __slots__ = (
        "_others",
        "began",
        "deadline",
        "dialled",
        "dialling",
        "heard",
        "lease",
        "line",
        "patience",
        "pod",
        "small",
        "written",
    )

    def __init__(
        self, pod: Pod, began: float, deadline: float, patience: float, lease: Any, small: bool
    ) -> None:
        self.pod: Pod = pod
        self.began: float = began
        self.deadline: float = deadline
        self.patience: float = patience
        """Seconds for dialling."""
        self.lease: Any = lease
        """What is to be left when it is over, where the picker counts."""
        self.small: bool = small
        """Whether the pod's kernel takes it whole, though the pod may be slow to read it."""
        self.line: Cuttable | None = None
        """The line it wrote to last."""
        self.written: bool = False
        self.dialling: bool = False
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
        return self.written or (not self.dialling and pod.shares_lines and pod.written != self._others)

    def dial(self) -> None:
        """It begins to dial: a line it had before did not take it."""
        self.line = None
        self.written = False
        self.dialling = True
        self._others = self.pod.written

    def connected(self) -> None:
        """It has a new line."""
        self.dialling = False
        self.dialled = True
        self.pod.refused = -math.inf

    def write(self, line: Cuttable) -> None:
        """It is about to write."""
        self.line = line
        self.written = True

    def within(self, timeout: float | None) -> float | None:
        """What is left of `timeout` seconds for it; never quite 0, which would mean not to wait at all."""
        if self.deadline == math.inf:
            return timeout
        left = max(self.deadline - time.monotonic(), 0.001)
        return left if timeout is None else min(timeout, left)

    def dials_within(self, timeout: float | None, times: int = 1) -> float:
        """What is left of `timeout` for dialling, `times` its patience at most."""
        patience = self.patience * times
        left = self.within(patience if timeout is None else min(timeout, patience))
        assert left is not None
        return left


UNDER_WAY: ContextVar[Attempt | None] = ContextVar("peerdiscover attempt", default=None)


def leave(lease: Any) -> None:
    """A request is over, or goes elsewhere; None: its picker does not count."""
    if lease is not None:
        lease.__exit__(None, None, None)
