"""The pods that a transport has lines to: one pool of connections each, and how they end.

Rules of this room:

* One pool a pod, since a pool's cost grows with its connections.
* A pod that left the set gets no new request. Its idle lines are cut at once, the others when their
  answer has been read, or when `drain` seconds are over: a timer sees to that, as nothing else may happen.
* A pool is closed by whoever drives (`closing` hands it over): closing may have to be awaited. They are
  handed over one by one, so that none is forgotten where the driver is cancelled.
* `_lock` is held for moments, never while anything is dialled, sent or closed.
* In the child of a fork all lines are the parent's: they are closed there without a word.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from peerdiscover import _processes
from peerdiscover.peers import Peer, PeerSet

from ._lines import AsyncLine, Attempt, Line

__all__ = ["Pod", "Pods", "Watched"]


class Watched(Protocol):
    """What of a discovery this needs."""

    @property
    def peers(self) -> PeerSet: ...
    def on_change(self, callback: Callable[[Any], object]) -> Callable[[], None]: ...


class Pod:
    """One pod, and the lines to it."""

    __slots__ = (
        "attempts",
        "lines",
        "patience",
        "peer",
        "pool",
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
        self.lines: set[Line | AsyncLine] = set()
        self.attempts: set[Attempt] = set()
        """Under way, until the answer has been read."""
        self.written: int = 0
        """How often anybody wrote to one of its lines."""
        self.until: float | None = None
        """It left the set; when what is under way is cut."""

    @property
    def in_doubt(self) -> bool:
        """Whether it has no line, and a request is about to have one, and so to find out about it."""
        return (
            bool(self.attempts)
            and all(line.shakes_hands for line in self.lines.copy())
            and any(not attempt.written for attempt in self.attempts.copy())
        )

    def trim(self, now: float) -> None:
        """It left: cut the idle lines; all of them when it is time."""
        assert self.until is not None
        busy = {attempt.line for attempt in self.attempts}
        if now >= self.until:
            busy.clear()
        elif None in busy:
            return  # an attempt is about to take a line, and nobody knows which
        for line in self.lines.difference(busy):
            line.cut()


class Pods:
    """The pods by peer."""

    def __init__(self, discovery: Watched, make: Callable[[Peer], Pod], drain: float) -> None:
        self._discovery = discovery
        self._make = make
        self._drain = drain
        self._lock = threading.Lock()
        self._pods: dict[Peer, Pod] = {}
        self._leaving: list[Pod] = []
        self._unsubscribe: Callable[[], None] | None = None
        self._timer: threading.Timer | None = None

    def watch(self) -> None:
        """From now on pods that leave the set are told; `ClosedError` where the discovery is not open."""
        if self._unsubscribe is None:
            unsubscribe = self._discovery.on_change(lambda _: self.follow())
            with self._lock:
                if self._unsubscribe is None:
                    self._unsubscribe, unsubscribe = unsubscribe, lambda: None
            unsubscribe()  # another thread was first
            _processes.opened(self)

    @property
    def any(self) -> bool:
        """Whether there is a line, or was."""
        return bool(self._pods or self._leaving)

    def in_doubt(self, peer: Peer) -> bool:
        """Whether another request is finding out whether it is there; this one had better go elsewhere."""
        pod = self._pods.get(peer)
        return pod is not None and pod.in_doubt

    def begin(
        self, peer: Peer, now: float, deadline: float, patience: float, lease: Any, small: bool
    ) -> Attempt:
        """An attempt on this peer."""
        with self._lock:
            pod = self._pods.get(peer)
            if pod is None:
                pod = self._pods[peer] = self._make(peer)
            attempt = Attempt(pod, now, deadline, patience, lease, small)
            pod.attempts.add(attempt)
        return attempt

    def end(self, attempt: Attempt) -> bool:
        """It is over, its answer read. Returns whether pools may be waiting to be closed."""
        pod = attempt.pod
        with self._lock:
            pod.attempts.discard(attempt)
            lease, attempt.lease = attempt.lease, None
        if lease is not None:
            lease.__exit__(None, None, None)
        if pod.until is None:
            return False
        pod.trim(time.monotonic())
        return not pod.attempts

    def follow(self) -> None:
        """The set changed, or time has passed: who left is trimmed."""
        now, peers = time.monotonic(), self._discovery.peers
        with self._lock:
            for peer in [peer for peer in self._pods if peer not in peers]:
                pod = self._pods.pop(peer)
                pod.until = now + self._drain
                self._leaving.append(pod)
            leaving = list(self._leaving)
            self._arm(now)
        for pod in leaving:
            pod.trim(now)

    def _arm(self, now: float) -> None:
        """See to it that somebody looks when the next one's time is over. Call it with the lock."""
        due = [until for pod in self._leaving if pod.attempts and (until := pod.until) and until > now]
        if due and self._timer is None:
            self._timer = threading.Timer(min(due) - now, self._time_is_over)
            self._timer.daemon = True
            self._timer.start()

    def _time_is_over(self) -> None:
        with self._lock:
            self._timer = None
        self.follow()

    def closing(self) -> Iterator[Any]:
        """Pools that are to be closed now: their pods left, and nothing is under way there."""
        if self._leaving:
            self.follow()
            yield from self._emptied(lambda pod: not pod.attempts)

    def close(self) -> Iterator[Any]:
        """All pools, to be closed; what is under way ends with them."""
        _processes.closed(self)
        with self._lock:
            for pod in self._pods.values():
                pod.until = time.monotonic()
                self._leaving.append(pod)
            self._pods = {}
            unsubscribe, self._unsubscribe = self._unsubscribe, None
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if unsubscribe is not None:
            unsubscribe()
        yield from self._emptied(lambda _: True)

    def _emptied(self, which: Callable[[Pod], bool]) -> Iterator[Any]:
        while True:
            with self._lock:
                pod = next(filter(which, self._leaving), None)
                if pod is None:
                    return
                self._leaving.remove(pod)
            yield pod.pool

    # For `_processes`

    def _before_fork(self) -> None:
        self._lock.acquire()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._timer = None  # its thread is the parent's
        for pod in [*self._pods.values(), *self._leaving]:
            for line in pod.lines:
                with suppress(Exception):
                    line.abandon()
        self._pods, self._leaving = {}, []

    def _at_exit(self) -> None:
        """The connections end with the process."""
