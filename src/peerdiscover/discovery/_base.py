"""What a discovery shows: everything of it that neither waits nor asks.

Both shells (`discovery`, `aio`) are made of this. Rules of this room:

* `_lock` guards the core. It is held for moments, never while user code runs: log lines and callbacks
  are collected under it and handed on after it.
* A new set is shown by `_show` alone: pickers first, then `peers`.
* Before the start and after the end, `peers`, `status` and `explain` answer all the same, `report_*`
  do nothing, and everything else raises `ClosedError`.
"""

from __future__ import annotations

import enum
import inspect
import logging
import math
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from peerdiscover.answers import Answer, LookupRequest, PullSource, PushSource, Source
from peerdiscover.errors import (
    ClosedError,
    ConfigurationError,
    NoPeersError,
    OrdinalNotFoundError,
    ResolutionTimeoutError,
)
from peerdiscover.identity import Identity
from peerdiscover.names import ServiceName
from peerdiscover.peers import Change, Peer, PeerSet
from peerdiscover.pickers import Picker
from peerdiscover.policy import Policy
from peerdiscover.sources import source_for

from ._changes import ChangeCursor, ChangeReader
from ._pickers import _PickerMixin

if TYPE_CHECKING:
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from peerdiscover.membership import Membership, Status
    from peerdiscover.sources import SourceLike

    from .attempts import Failover
    from .broadcast import Broadcast, Late, RollingBroadcast

__all__ = ["Callback", "State", "_BaseDiscovery", "as_service_name", "identity_for", "log"]

log: logging.Logger = logging.getLogger("peerdiscover")

Callback = Callable[[Change], object]


class State(enum.Enum):
    """Where in its life a discovery is."""

    NEW = "not started"
    OPEN = "open"
    CLOSED = "closed"


def as_service_name(service: str | ServiceName) -> ServiceName:
    """The parts of a service's name, given as text or as parts."""
    return service if isinstance(service, ServiceName) else ServiceName.parse(service)


def identity_for(service: ServiceName, me: Identity | None) -> Identity:
    """Who oneself is: as given, or as the pod's surroundings tell."""
    if me is not None and not isinstance(me, Identity):
        raise ConfigurationError(f"me={me!r}: an Identity is wanted, such as Identity(name='web-0')")
    from peerdiscover.sources.environment import Environment

    if me is None:
        return Environment().identity(service)
    return me if me.zone is not None else replace(me, zone=Environment().zone())


class _BaseDiscovery(_PickerMixin):
    """One service's peers, kept up to date. See `Discovery` and `AsyncDiscovery`."""

    peers: PeerSet
    """The current set; reading it never blocks."""

    _lock: AbstractContextManager[object]
    _propagate: tuple[type[BaseException], ...] = ()
    """What goes through, whoever raised it."""

    def __init__(
        self,
        service: str | ServiceName,
        *,
        source: SourceLike | None = None,
        policy: Policy = Policy(),  # noqa: B008 - frozen
        me: Identity | None = None,
    ) -> None:
        if not isinstance(policy, Policy):
            raise ConfigurationError(f"policy={policy!r}: a Policy is wanted")
        self._service = as_service_name(service)
        if me is not None:
            identity_for(self._service, me)  # refuses what is none
        self._policy = policy
        self._me = me
        self._source: Source = source_for(self._service, source)
        self._lock = self._new_lock()
        self._state = State.NEW
        super().__init__()
        self._subscribers: dict[object, tuple[Callback, ChangeCursor]] = {}
        self._core = self._new_core(Identity())
        self.peers = self._core.peers
        self._view = self._core.view

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {str(self._service)!r}, {self._state.value}, {len(self.peers)} peers>"

    def _become_open(self) -> None:
        """Called with the lock held, once."""
        if self._state is not State.NEW:
            raise self._closed_error()
        self._core = self._new_core(identity_for(self._service, self._me))
        self._state = State.OPEN

    def _new_core(self, identity: Identity) -> Membership:
        from peerdiscover.membership import (
            Membership,  # with the first discovery: a tenth of what importing would cost
        )

        self._client = identity.name or next(iter(identity.addresses), "") or random.randbytes(8).hex()
        return Membership(
            self._service,
            self._policy,
            identity,
            random.random,
            getattr(self._source, "kind", "unknown"),
            can_watch=isinstance(self._source, PushSource),
            can_lookup=isinstance(self._source, PullSource),
            fallback=getattr(self._source, "fallback", "lookups"),
        )

    # What is known

    @property
    def status(self) -> Status:
        """How the discovery is doing: see `Status`."""
        with self._lock:
            return self._core.status(self._now())

    def explain(self) -> str:
        """For people: each peer and why it is in, held or out; what was dropped; when next."""
        with self._lock:
            text = self._core.explain(self._now())
        return text if self._state is State.OPEN else f"{text}: the discovery is {self._state.value}"

    # Picking: see `_PickerMixin`

    def ordinal(self, i: int) -> Peer:
        """The pod with that ordinal, whatever its address is today.

        `OrdinalNotFoundError` names the ordinals there are, or the pods that claim it.
        """
        self._require_open()
        try:
            return self.peers.ordinal(i)
        except OrdinalNotFoundError as error:
            raise OrdinalNotFoundError(f"{error}; {self._last_answer_summary()}") from None

    # What the application tells

    def report_failure(self, peer: Peer, error: BaseException | None = None) -> None:
        """The application could not reach `peer`: ask again at once, at most once a second.

        Pickers leave it out for a second, then longer (`Policy.eject_after` and the fields beside it).
        A peer that is held although the last answers lacked it goes.
        """
        if self._state is not State.OPEN:
            return
        log.debug("%s: the application could not reach %r: %r", self._service, peer, error)
        with self._lock:
            due = self._next
            self._core.report_failure(peer, self._now(), type(error).__name__ if error else "")
            self._after_report(due)

    def report_success(self, peer: Peer) -> None:
        """The application reached `peer`: what was held against it is forgotten. Costs next to nothing."""
        if self._state is not State.OPEN or not self._core.is_blamed(peer):
            return
        with self._lock:
            due = self._next
            self._core.report_success(peer, self._now())
            self._after_report(due)

    def on_change(self, callback: Callback) -> Callable[[], None]:
        """Have `callback(change)` called for each change from now on; returns what ends that.

        It is called by whoever refreshes, with no lock held, and may call anything. Changes that
        come quickly may be told as one. What it raises is logged and stops nothing.
        """
        if not callable(callback) or inspect.iscoroutinefunction(callback):
            raise ConfigurationError(
                f"on_change({callback!r}): a plain function is wanted; nobody would await it"
            )
        token = object()
        with self._lock:
            self._require_open()
            self._subscribers[token] = (callback, ChangeCursor(self.peers))

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers.pop(token, None)

        return unsubscribe

    # For the shells

    def _failover(
        self,
        on: type[Exception] | tuple[type[Exception], ...],
        stop: StopBaseT | None,
        wait: WaitBaseT | None,
        picker: Picker | None,
    ) -> Failover:
        from .attempts import Failover

        return Failover(
            self,
            on=on,
            stop=stop,
            wait=wait,
            picker=self.round_robin() if picker is None else picker,
            now=self._now,
            view=lambda: self._view,
            nobody=self._no_peers_error,
            patience=self._policy.ready_timeout,
        )

    def _broadcast(
        self, late: Late, timeout: float | None, limit: int, include_self: bool
    ) -> Broadcast[Any] | RollingBroadcast[Any]:
        from .broadcast import Broadcast, RollingBroadcast

        self._require_open()
        if late == "report":
            return Broadcast(self.peers, limit=limit, include_self=include_self)
        if late != "include":
            raise ConfigurationError(f"late={late!r}: expected 'report' or 'include'")
        deadline = math.inf if timeout is None else self._now() + timeout
        return RollingBroadcast(lambda: self.peers, limit, include_self, deadline)

    def _reader(self) -> ChangeReader:
        self._require_open()
        return ChangeReader(lambda: self.peers, lambda: self._state is State.CLOSED)

    def _last_answer_summary(self) -> str:
        with self._lock:
            return self._core.journal.last_answer_summary(self._now())

    def _no_peers_error(self) -> NoPeersError:
        with self._lock:
            return self._core.journal.no_peers_error(
                self._now(), f"no peer became available within {self._policy.ready_timeout:g} s"
            )

    def _new_lock(self) -> AbstractContextManager[object]:
        raise NotImplementedError

    def _now(self) -> float:
        raise NotImplementedError

    def _wake(self) -> None:
        """Let whoever waits look again. Called with the lock held."""
        raise NotImplementedError

    def _warn(self, text: str) -> None:
        self._core.pending_logs.append((logging.WARNING, f"{self._service}: {text}"))
        self._wake()

    def _require_open(self) -> None:
        if self._state is not State.OPEN:
            raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        how = "enter it first, with `with` or `async with`" if self._state is State.NEW else "make a new one"
        return ClosedError(f"{self._service}: the discovery is {self._state.value}; {how}")

    def _due(self) -> LookupRequest | float:
        """What to ask now, or for how many seconds nothing is to be asked. Called with the lock held."""
        now = self._now()
        if self._core.tick(now):
            self._show()
        if (left := self._core.next_wakeup - now) > 0:
            return max(0.0, min(left, self._core.next_tick - now))
        if self._core.watched:
            self._core.expire(now)
            self._show()
            self._wake()
            return 0.0
        try:
            ask = self._core.begin()
        except Exception as error:  # noqa: BLE001 - a fault of ours, and an outcome like any other
            self._take(self._fault("a question could not be made", error))
            return 0.0
        return replace(ask, cancelled=lambda: self._state is State.CLOSED)

    @property
    def _next(self) -> float:
        """When there is something to do, if nothing happens. Called with the lock held."""
        return min(self._core.next_wakeup, self._core.next_tick)

    def _after_report(self, due: float) -> None:
        """The application told how a call went. Called with the lock held.

        Many may fail at once, while many wait: they are woken where that changed something, or where it
        is time to act sooner than when it was `due`.
        """
        before = self.peers
        self._show()
        if self.peers is not before or self._next < due or self._core.pending_logs:
            self._wake()

    def _take(self, answer: Answer, seconds: float = 0.0) -> None:
        """The answer to a question. Called with the lock held."""
        if not self._core.watched:  # a watch that works again meanwhile knows better
            self._take_in(answer, lambda answer, now: self._core.apply(answer, now, seconds))

    def _watch_told(self, answer: Answer) -> None:
        """What a watch told. Called with the lock held."""
        self._take_in(answer, self._core.apply_watch)

    def _watch_ended(self, answer: Answer) -> None:
        """What the watch ended with. It is begun again when the core says so. Called with the lock held."""
        self._take_in(answer, self._core.on_watch_end)

    def _take_in(self, answer: Answer, take: Callable[[Answer, float], object]) -> None:
        """An answer came; after the end it changes nothing. Called with the lock held."""
        if self._state is not State.OPEN:
            return
        try:
            take(answer, self._now())
        except Exception as error:  # noqa: BLE001 - a fault of ours, or an answer that no source should give
            self._core.apply(self._fault("an answer could not be judged", error), self._now())
        self._show()
        self._wake()

    def _fault(self, what: str, error: Exception) -> Answer:
        """An error that the rules do not foresee is a failed answer, and stands in the log as it is."""
        import traceback

        text = "".join(traceback.format_exception(error))
        self._core.pending_logs.append((logging.ERROR, f"{self._service}: {what}: {text}"))
        return Answer.failed(f"{what}: {type(error).__name__}")

    def _show(self) -> None:
        """Show what the core has: pickers first, so that none picks from an older set than is shown."""
        view = self._core.view
        if not view.is_the_same_as(self._view):
            self._rebind(view)
        self.peers = view.peers

    def _there(self, min_peers: int, include_self: bool) -> bool:
        """Whether what `wait` waits for is there; raises what makes waiting pointless."""
        if (error := self._core.journal.misconfigured) is not None:
            raise ConfigurationError(str(error)) from error
        return self._core.satisfies(min_peers, include_self)

    def _timeout_error(self, min_peers: int, include_self: bool, began: float) -> ResolutionTimeoutError:
        with self._lock:
            now = self._now()
            return self._core.journal.timeout_error(self.peers, min_peers, include_self, now - began, now)

    def _end(self) -> None:
        """The end: nothing is picked any more. Called with the lock held."""
        self._state = State.CLOSED
        self._core.end()
        self._subscribers.clear()
        for picker in self._pickers.values():
            picker.end(self._closed_error)

    def _has_pending(self) -> bool:
        return bool(self._core.pending_logs) or any(
            cursor.last is not self.peers for _, cursor in self._subscribers.values()
        )

    def _publish_pending(self) -> None:
        """Log and call back what has piled up. Called without the lock."""
        with self._lock:
            notes = list(self._core.pending_logs)
            self._core.pending_logs.clear()
            due = [
                (token, callback, change)
                for token, (callback, cursor) in self._subscribers.items()
                if (change := cursor.advance(self.peers))
            ]
        for level, text in notes:
            with self._guarded():
                log.log(level, "%s", text)
        for token, callback, change in due:
            if token in self._subscribers:  # an earlier one may have ended it
                with self._guarded():
                    callback(change)

    # For `_forks`; what the child of a fork and the end of the process mean depends on the shell

    def _before_fork(self) -> None:
        self._lock.__enter__()

    def _after_fork_in_parent(self) -> None:
        self._lock.__exit__(None, None, None)

    def _after_fork_in_child(self) -> None:
        raise NotImplementedError

    def _at_exit(self) -> None:
        raise NotImplementedError

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Run a stranger's code: whatever it raises is logged, as far as logging works, and that is all."""
        try:
            yield
        except self._propagate:
            raise
        except BaseException:  # SystemExit too: it would end the refresher in silence
            with suppress(Exception):
                log.exception("%s: a callback for changes, or a handler of the log, failed", self._service)
