"""Keeps one service's peers up to date: what to ask next, and what an answer does to what is visible.

`ThreadedRuntime` and `TaskRuntime` are refreshers that wait and ask; `Discovery` and `AsyncDiscovery` each
have one. Invariants:

* `lock` guards the core. It is held for moments, and never while user code runs.
* A new set becomes visible in `show` alone: pickers first, so that none picks from an older set.
* An error that the rules do not foresee is a failed answer, and stands in the log: refreshing goes on.
"""

from __future__ import annotations

import enum
import logging
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from peerdiscover import _forks
from peerdiscover.answers import Answer, LookupRequest, PullSource, PushSource, Source
from peerdiscover.errors import ClosedError, ConfigurationError, NoPeersError, ResolutionTimeoutError
from peerdiscover.identity import Identity
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer, PeerSet
from peerdiscover.policy import Policy

from ._pickers import Pickers
from ._publisher import Callback, Publisher

if TYPE_CHECKING:
    from peerdiscover.membership import Membership


class State(enum.Enum):
    """The three states in the life of a discovery. It never goes back."""

    NEW = "not started"
    OPEN = "open"
    CLOSED = "closed"


class Refresher(_forks.Open):
    """One service's core, and what it makes visible. The runtimes add the lock, the clock and the waiting.

    Methods are called with the lock held, unless their docstring says otherwise.
    """

    lock: AbstractContextManager[object]
    propagate: tuple[type[BaseException], ...] = ()
    """What user code may raise through the refresher."""

    def __init__(self, service: ServiceName, source: Source, policy: Policy) -> None:
        self.service = service
        self.source = source
        self.policy = policy
        self.state = State.NEW
        self._create_lock()
        self.publisher = Publisher(str(service), self.propagate)
        self._create_core(Identity())
        self.view = self.core.view
        self.peers: PeerSet = self.view.peers
        self.pickers = Pickers(self.view)
        self.ready = False
        """A `start` has waited for the first peers, and found them."""
        self._starting = 0
        self._kept = False

    def _create_core(self, identity: Identity) -> None:
        # Imported with the first discovery: it is a tenth of what `import peerdiscover` would cost.
        from peerdiscover.membership import Membership

        self.client: str = identity.name or next(iter(identity.addresses), "") or random.randbytes(8).hex()
        """What this program is called among the clients of the service, for `subset`."""
        self.core: Membership = Membership(
            self.service,
            self.policy,
            identity,
            random.random,
            getattr(self.source, "kind", "unknown"),
            can_watch=isinstance(self.source, PushSource),
            can_lookup=isinstance(self.source, PullSource),
            fallback=getattr(self.source, "fallback", "lookups"),
        )

    # What a runtime adds

    def _create_lock(self) -> None:
        """Set `lock`."""
        raise NotImplementedError

    def now(self) -> float:
        """The time on the clock of the runtime. Needs no lock."""
        raise NotImplementedError

    def _wake(self) -> None:
        """Let everything that waits look again."""
        raise NotImplementedError

    # Its life

    def _enter_start(self, identity: Callable[[], Identity]) -> bool:
        """A call of `start` begins. Returns whether it is the one that opens the discovery."""
        if self.state is State.CLOSED:
            raise self._closed_error()
        opens = self.state is State.NEW
        if opens:
            self._create_core(identity())
            self.state = State.OPEN
        self._starting += 1
        return opens

    def _leave_start(self, succeeded: bool) -> bool:
        """A call of `start` ends. Returns whether to close: none has succeeded, and none is left to."""
        self._starting -= 1
        self._kept = self._kept or succeeded
        return not self._kept and not self._starting

    def _end(self) -> None:
        """Close: nothing is asked, and nothing is picked any more."""
        self.state = State.CLOSED
        self.core.end()
        self.publisher.clear()
        self.pickers.end(self._closed_error)
        self._wake()

    def require_open(self) -> None:
        """Raise `ClosedError` unless it is open. Needs no lock."""
        if self.state is not State.OPEN:
            raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        how = "enter it first, with `with` or `async with`" if self.state is State.NEW else "make a new one"
        return ClosedError(f"{self.service}: the discovery is {self.state.value}; {how}")

    # What to ask, and what came

    def _due(self) -> LookupRequest | float:
        """The lookup to make now, or for how many seconds there is none to make."""
        now = self.now()
        if self.core.tick(now):
            self._show()
        if (left := self.core.next_wakeup - now) > 0:
            return max(0.0, min(left, self.core.next_tick - now))
        if self.core.watched:
            self.core.expire(now)
            self._show()
            self._wake()
            return 0.0
        try:
            request = self.core.begin()
        except Exception as error:  # noqa: BLE001 - an error of ours is a failed answer like any other
            self._on_answer(self._fault("a lookup could not be prepared", error))
            return 0.0
        return replace(request, cancelled=lambda: self.state is State.CLOSED)

    def _request(self) -> Callable[[], bool]:
        """Ask at once. Returns a function that says whether a lookup that began after this call ended."""
        self.require_open()
        expected = self.core.request(self.now())
        self._wake()
        return lambda: self.core.completed >= expected

    def next_refresh(self) -> float:
        """In how many seconds the set is asked for again. Takes the lock."""
        with self.lock:
            return self.core.status(self.now()).next_refresh

    @property
    def next_due(self) -> float:
        """When there is something to do, if nothing happens before."""
        return min(self.core.next_wakeup, self.core.next_tick)

    def report_failure(self, peer: Peer, why: str) -> None:
        due = self.next_due
        self.core.report_failure(peer, self.now(), why)
        self._after_report(due)

    def report_success(self, peer: Peer) -> None:
        due = self.next_due
        self.core.report_success(peer, self.now())
        self._after_report(due)

    def _after_report(self, due: float) -> None:
        # A thousand requests may fail at once while a thousand tasks wait: they are woken only if this
        # changed something, or if there is something to do sooner than before.
        before = self.peers
        self._show()
        if self.peers is not before or self.next_due < due or self.core.pending_logs:
            self._wake()

    def _on_answer(self, answer: Answer, duration: float = 0.0) -> None:
        """Take in the answer to a lookup that took `duration` seconds."""
        if not self.core.watched:  # a watch that works again meanwhile knows better
            self._apply(answer, lambda answer, now: self.core.apply(answer, now, duration))

    def _on_watch_answer(self, answer: Answer) -> None:
        self._apply(answer, self.core.apply_watch)

    def _on_watch_end(self, answer: Answer) -> None:
        """Take in the failed answer that a watch ended with. The core decides when the next one begins."""
        self._apply(answer, self.core.on_watch_end)

    def _apply(self, answer: Answer, apply: Callable[[Answer, float], object]) -> None:
        if self.state is not State.OPEN:
            return  # it came after the end
        try:
            apply(answer, self.now())
        except Exception as error:  # noqa: BLE001 - an error of ours, or an answer that no source should give
            self.core.apply(self._fault("an answer could not be applied", error), self.now())
        self._show()
        self._wake()

    def _fault(self, what: str, error: Exception) -> Answer:
        import traceback

        text = "".join(traceback.format_exception(error))
        self.core.pending_logs.append((logging.ERROR, f"{self.service}: {what}: {text}"))
        return Answer.failed(f"{what}: {type(error).__name__}")

    def _show(self) -> None:
        """Make visible what the core has."""
        view = self.core.view
        if view.peers is not self.view.peers or view != self.view:  # of equal sets, one may know more
            self.view = view
            self.pickers.rebind(view)
            self.warn_of_zone()
        self.peers = view.peers

    def warn_of_zone(self) -> None:
        """Log once if preferring the local zone has no effect."""
        if (warning := self.pickers.zone_warning()) is not None:
            self.core.pending_logs.append((logging.WARNING, f"{self.service}: {warning}"))
            self._wake()

    def _has_pending(self) -> bool:
        return self.publisher.has_pending(self.core, self.peers)

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Have `callback` called for each change from now on; returns what ends that. Takes the lock."""
        with self.lock:
            self.require_open()
            token = self.publisher.subscribe(callback, self.peers)

        def unsubscribe() -> None:
            with self.lock:
                self.publisher.unsubscribe(token)

        return unsubscribe

    def _publish(self) -> None:
        """Log and call back what is pending. Called without the lock."""
        with self.lock:
            due = self.publisher.collect(self.core, self.peers)
        self.publisher.run(due)

    # What a caller waits for

    def _satisfied(self, min_peers: int, include_self: bool) -> bool:
        """Whether there are so many peers; raises what makes waiting for them pointless."""
        if (error := self.core.journal.misconfigured) is not None:
            raise ConfigurationError(str(error)) from error
        return self.core.satisfies(min_peers, include_self)

    def _timeout_error(self, min_peers: int, include_self: bool, began: float) -> ResolutionTimeoutError:
        """The error for a wait that began at `began`. Called without the lock."""
        with self.lock:
            now = self.now()
            return self.core.journal.timeout_error(self.peers, min_peers, include_self, now - began, now)

    def no_peers_error(self) -> NoPeersError:
        """The error for an attempt that found no peer. Called without the lock."""
        with self.lock:
            return self.core.journal.no_peers_error(
                self.now(), f"no peer became available within {self.policy.ready_timeout:g} s"
            )

    def last_answer_summary(self) -> str:
        """The last answer: what was asked, of which server, what came, and how long ago. Takes the lock."""
        with self.lock:
            return self.core.journal.last_answer_summary(self.now())
