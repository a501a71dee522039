"""The pods that a transport has connections to: one pool for each, and how they end.

Invariants:

* Each pod has its own pool, since the cost of a pool grows with its connections.
* A pod that left the set gets no new request. Its idle connections are cut at once, the others when their
  response has been read, or after `drain` seconds: a timer does that, as nothing else may happen. A pod
  that comes back at the same address keeps its requests in flight.
* A pool that is full, with connections that no attempt uses, is replaced by a new one. So is one with an
  HTTP/2 connection that the pod has closed: the responses that are still read from it go on.
* A pool is closed by the driver (`closable` hands it over), since closing may have to be awaited. Pools are
  handed over one by one, so that none is forgotten if the driver is cancelled.
* `_lock` is held for moments, never while a connection is made, written to or closed. The same thread may
  take it again: the garbage collector closes responses wherever it likes.
* `drain` is measured by `time.monotonic` under every event loop, since the timer is a thread.
* In the child of a fork all connections are the parent's: those of threads are closed there without a word
  to the pod. Those of an event loop are left to it, as it does not work there.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from peerdiscover import _forks
from peerdiscover.peers import Peer

from ._attempts import Attempt, PodPool, release

if TYPE_CHECKING:
    from peerdiscover.discovery._base import _BaseDiscovery

_logger = logging.getLogger("peerdiscover")


class PodPools:
    """The pools by peer."""

    def __init__(
        self, discovery: _BaseDiscovery[Any], make_pool: Callable[[Peer], PodPool], drain: float
    ) -> None:
        self._discovery = discovery
        self._make_pool = make_pool
        self._drain = drain
        self._lock = threading.RLock()
        self._pods: dict[Peer, PodPool] = {}
        self.leaving: list[PodPool] = []
        self.unsubscribe: Callable[[], None] | None = None
        """Ends what `subscribe` began; None if it does not follow the set."""
        self._timer: threading.Timer | None = None
        self.closed = False
        """Whether the transport is: a request that this ended is not sent again."""
        self._has_warned = False

    def subscribe(self) -> None:
        """Follow the set from now on; `ClosedError` if the discovery is not open."""
        unsubscribe = self._discovery.on_change(lambda _: self.sync_pools())
        with self._lock:
            if self.unsubscribe is None:
                self.unsubscribe, unsubscribe = unsubscribe, lambda: None
            self.closed = False
        unsubscribe()  # another thread was first
        _forks.opened(self)

    @property
    def in_flight(self) -> int:
        """How many attempts there are, on all pods together."""
        with self._lock:
            return sum(len(pod.attempts) for pod in (*self._pods.values(), *self.leaving))

    def is_connecting(self, peer: Peer, now: float) -> bool:
        """Whether another request finds out if the pod is there; this one should go elsewhere, or wait."""
        pod = self._pods.get(peer)
        return pod is not None and pod.is_connecting(now)

    def is_full(self, peer: Peer) -> bool:
        """Whether a request would wait for a connection; it should go elsewhere first."""
        pod = self._pods.get(peer)
        return pod is not None and pod.is_full

    def start_if_free(
        self, peer: Peer, now: float, deadline: float, lease: Any, is_small: bool
    ) -> Attempt | None:
        """Return an attempt on this peer, as `Attempt` describes it; None if it `is_connecting` or `is_full`.

        The usual attempt takes no lock: it is seen by all that look before it looks whether its pod has left.
        """
        pod = self._pods.get(peer)
        if pod is not None:
            if (pod.attempts or pod.has_failed) and not pod.is_free(now):
                return None
            if not (pod.has_failed or pod.multiplexed):
                attempt = Attempt(pod, now, deadline, lease, is_small)
                pod.attempts.add(attempt)
                if pod.abort_at is None:
                    return attempt
                pod.attempts.discard(attempt)
        return self.start_attempt(peer, now, deadline, lease, is_small)

    def start_attempt(self, peer: Peer, now: float, deadline: float, lease: Any, is_small: bool) -> Attempt:
        """Return an attempt on this peer, as `Attempt` describes it."""
        with self._lock:
            pod = self._pods.get(peer)
            if pod is not None and (pod.has_failed or pod.multiplexed) and self._replaced(pod):
                pod = None
            if pod is None:
                pod = self._make_pool(peer)
                if peer in self._discovery.peers:
                    self._pods[peer] = pod
                else:  # it left after it was picked
                    pod.abort_at = time.monotonic() + self._drain
                    self.leaving.append(pod)
            attempt = Attempt(pod, now, deadline, lease, is_small)
            attempt.writes_before = pod.writes
            pod.attempts.add(attempt)
            if pod.abort_at is not None:
                self._start_timer(time.monotonic())
        return attempt

    def _replaced(self, pod: PodPool) -> bool:
        """Let a pool that cannot be used end once its responses were read. Call it with the lock."""
        lost = pod.lost_connections
        if not lost and not pod.is_closed_by_pod:
            return False
        del self._pods[pod.peer]
        pod.abort_at = math.inf
        self.leaving.append(pod)
        if lost:
            level, self._has_warned = (logging.DEBUG if self._has_warned else logging.WARNING), True
            _logger.log(
                level,
                "%s: replaced the connection pool of %s: it was full, with %d connections that no request "
                "uses (cancelled requests leave them, encode/httpcore#1093)",
                self._discovery.peers.service,
                pod.peer.key,
                lost,
            )
        return True

    def end_attempt(self, attempt: Attempt) -> bool:
        """An attempt failed, or its response was read. Return whether there may be pools to close."""
        pod = attempt.pod
        pod.attempts.discard(attempt)
        if attempt.lease is None and pod.abort_at is None:
            return False  # the usual end takes no lock: who takes the pod out of the set sees it no more
        with self._lock:
            lease, attempt.lease = attempt.lease, None
            left = pod.abort_at is not None
            if left:
                pod.close_idle(time.monotonic())
            closable = left and not pod.attempts
        release(lease)
        return closable

    def sync_pools(self) -> None:
        """Make the pools those of the set, which changed; or time has passed."""
        with self._lock:
            if self.closed:
                return
            now, peers = time.monotonic(), self._discovery.peers
            for peer in [peer for peer in self._pods if peer not in peers]:
                pod = self._pods.pop(peer)
                pod.abort_at = now + self._drain
                self.leaving.append(pod)
            for pod in list(self.leaving):
                self._sync_leaving(pod, pod.peer in peers, now)
            self._start_timer(now)

    def _sync_leaving(self, pod: PodPool, is_back: bool, now: float) -> None:
        """See to a pod that left, or is back. Call it with the lock."""
        if not is_back or pod.aborted:
            if pod.abort_at == math.inf:
                pod.abort_at = now + self._drain
            pod.close_idle(now)
        elif pod.peer in self._pods:
            pod.abort_at = math.inf  # new requests use a newer pool; those in flight may go on here
        else:
            self.leaving.remove(pod)
            pod.abort_at, self._pods[pod.peer] = None, pod

    def _start_timer(self, now: float) -> None:
        """Have `sync_pools` called when the next pod is to be cut. Call it with the lock."""
        due = [at for pod in self.leaving if pod.attempts and (at := pod.abort_at) and now < at < math.inf]
        if due and self._timer is None:
            self._timer = threading.Timer(min(due) - now, self._on_timer)
            self._timer.daemon = True
            self._timer.start()

    def _on_timer(self) -> None:
        with self._lock:
            self._timer = None
        self.sync_pools()

    def closable(self) -> Iterator[Any]:
        """Yield the pools that the driver is to close now: of pods that left, with nothing in flight."""
        while True:
            with self._lock:
                pod = next((pod for pod in self.leaving if self.closed or not pod.attempts), None)
                if pod is None:
                    return
                self.leaving.remove(pod)
            yield pod.pool

    def close(self) -> Iterator[Any]:
        """Return all pools, for the driver to close; what is in flight ends with them."""
        _forks.closed(self)
        with self._lock:
            self.closed = True
            for pod in self._pods.values():
                pod.abort_at = math.inf
                self.leaving.append(pod)
            self._pods = {}
            unsubscribe, self.unsubscribe = self.unsubscribe, None
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if unsubscribe is not None:
            unsubscribe()
        return self.closable()

    # For `_forks`

    def _before_fork(self) -> None:
        self._lock.acquire()

    def _after_fork_in_parent(self) -> None:
        self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        self._timer = None  # its thread is the parent's
        for pod in [*self._pods.values(), *self.leaving]:
            for connection in pod.connections:
                with suppress(Exception):
                    connection.detach()
        self._pods, self.leaving = {}, []

    def _at_exit(self) -> None:
        """The connections end with the process."""
