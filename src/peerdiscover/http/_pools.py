"""The pods that a transport has lines to: one pool of connections each, and how they end.

Rules of this room:

* One pool a pod, since a pool's cost grows with its connections.
* A pod that left the set gets no new request. Its idle lines are cut at once, the others when their
  answer has been read, or when `drain` seconds are over: a timer sees to that, as nothing else may happen.
  One that comes back at the same address keeps what is under way.
* A pool is closed by whoever drives (`closing` hands it over): closing may have to be awaited. They are
  handed over one by one, so that none is forgotten where the driver is cancelled.
* `_lock` is held for moments, never while anything is dialled, sent or closed. The same thread may come
  back to it: the garbage collector ends answers wherever it likes.
* In the child of a fork all lines are the parent's: those of threads are closed there without a word. Those
  of an event loop are left to it, as it is no good there.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from peerdiscover import _forks
from peerdiscover.peers import Peer, PeerSet

from ._attempts import Attempt, PodPool, release

__all__ = ["PodPools", "Watched"]


class Watched(Protocol):
    """What of a discovery this needs."""

    @property
    def peers(self) -> PeerSet: ...
    def on_change(self, callback: Callable[[Any], object]) -> Callable[[], None]: ...


class PodPools:
    """The pods by peer."""

    def __init__(self, discovery: Watched, make: Callable[[Peer], PodPool], drain: float) -> None:
        self._discovery = discovery
        self._make = make
        self._drain = drain
        self._lock = threading.RLock()
        self._pods: dict[Peer, PodPool] = {}
        self._leaving: list[PodPool] = []
        self._unsubscribe: Callable[[], None] | None = None
        self._timer: threading.Timer | None = None
        self._closed = False

    def watch(self) -> None:
        """From now on pods that leave the set are told; `ClosedError` where the discovery is not open."""
        if self._unsubscribe is None:
            unsubscribe = self._discovery.on_change(lambda _: self.sync_pools())
            with self._lock:
                if self._unsubscribe is None:
                    self._unsubscribe, unsubscribe = unsubscribe, lambda: None
                self._closed = False
            unsubscribe()  # another thread was first
            _forks.opened(self)

    @property
    def any(self) -> bool:
        """Whether there is a line, or was."""
        return bool(self._pods or self._leaving)

    def is_connecting(self, peer: Peer) -> bool:
        """Whether another request finds out if it is there: this one had better go elsewhere, or wait."""
        pod = self._pods.get(peer)
        return pod is not None and pod.is_connecting(time.monotonic())

    def begin(
        self, peer: Peer, now: float, deadline: float, patience: float, lease: Any, small: bool
    ) -> Attempt:
        """An attempt on this peer."""
        with self._lock:
            pod = self._pods.get(peer)
            if pod is None:
                pod = self._make(peer)
                if peer in self._discovery.peers:
                    self._pods[peer] = pod
                else:  # it left after it was picked
                    pod.until = time.monotonic() + self._drain
                    self._leaving.append(pod)
            attempt = Attempt(pod, now, deadline, patience, lease, small)
            pod.attempts.add(attempt)
            if pod.until is not None:
                self._arm(time.monotonic())
        return attempt

    def end(self, attempt: Attempt) -> bool:
        """It is over, its answer read. Returns whether pools may be waiting to be closed."""
        pod = attempt.pod
        with self._lock:
            pod.attempts.discard(attempt)
            lease, attempt.lease = attempt.lease, None
            left = pod.until is not None
            if left:
                pod.close_idle(time.monotonic())
            emptied = left and not pod.attempts
        release(lease)
        return emptied

    def sync_pools(self) -> None:
        """The set changed, or time has passed: who left is trimmed."""
        with self._lock:
            if self._closed:
                return
            now, peers = time.monotonic(), self._discovery.peers
            for peer in [peer for peer in self._pods if peer not in peers]:
                pod = self._pods.pop(peer)
                pod.until = now + self._drain
                self._leaving.append(pod)
            for pod in list(self._leaving):
                self._look_at(pod, pod.peer in peers, now)
            self._arm(now)

    def _look_at(self, pod: PodPool, is_back: bool, now: float) -> None:
        """One that left: it may be back. Call it with the lock."""
        if not is_back or pod.cut:
            if pod.until == math.inf:
                pod.until = now + self._drain
            pod.close_idle(now)
        elif pod.peer in self._pods:
            pod.until = math.inf  # requests go over newer lines
        else:
            self._leaving.remove(pod)
            pod.until, self._pods[pod.peer] = None, pod

    def _arm(self, now: float) -> None:
        """See to it that somebody looks when the next one's time is over. Call it with the lock."""
        due = [
            until for pod in self._leaving if pod.attempts and (until := pod.until) and now < until < math.inf
        ]
        if due and self._timer is None:
            self._timer = threading.Timer(min(due) - now, self._time_is_over)
            self._timer.daemon = True
            self._timer.start()

    def _time_is_over(self) -> None:
        with self._lock:
            self._timer = None
        self.sync_pools()

    def closing(self) -> Iterator[Any]:
        """Pools that are to be closed now: their pods left, and nothing is under way there."""
        if self._leaving:
            yield from self._emptied(lambda pod: not pod.attempts)

    def close(self) -> Iterator[Any]:
        """All pools, to be closed; what is under way ends with them."""
        _forks.closed(self)
        with self._lock:
            self._closed = True
            for pod in self._pods.values():
                pod.until = math.inf
                self._leaving.append(pod)
            self._pods = {}
            unsubscribe, self._unsubscribe = self._unsubscribe, None
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if unsubscribe is not None:
            unsubscribe()
        yield from self._emptied(lambda _: True)

    def _emptied(self, which: Callable[[PodPool], bool]) -> Iterator[Any]:
        while True:
            with self._lock:
                pod = next(filter(which, self._leaving), None)
                if pod is None:
                    return
                self._leaving.remove(pod)
            yield pod.pool

    # For `_forks`

    def _before_fork(self) -> None:
        self._lock.acquire()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        self._timer = None  # its thread is the parent's
        for pod in [*self._pods.values(), *self._leaving]:
            for line in pod.connections:
                with suppress(Exception):
                    line.detach()
        self._pods, self._leaving = {}, []

    def _at_exit(self) -> None:
        """The connections end with the process."""
