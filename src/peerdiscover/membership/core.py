"""The core: what an answer does to the set, and when to ask again.

No socket, no clock, no lock, no await: a `Membership` is given the time and the answers, and says what
to ask and when it needs to be called again. A runtime (threads, or tasks) waits, asks and passes on.

    membership.start(now)
    while True:
        wait until membership.next_wakeup
        request = membership.begin()
        membership.apply(the source's answer to request, now)

A source that can watch is watched: when `watched` is true after `begin`, start the watch, pass what it
yields to `apply_watch`, and its end to `on_watch_end`.

Invariants:

* The reconciler, the schedule, the health and the watch state know nothing of each other: this class
  connects them.
* Everything to be logged goes to `journal.pending_logs`, for the runtime to log when it holds no lock.
* A lookup has a number. A refresh is answered by a lookup with a higher number than those that had
  started when the refresh was requested.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.identity import Identity
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer, PeerSet, View
from peerdiscover.policy import Policy

from .explaining import explain
from .health import Health
from .journal import Journal, count_of, reason_of
from .reconciler import Reconciler
from .schedule import Schedule
from .status import Status
from .watch_state import WatchState


class Membership:
    """One service's set, kept up to date by the answers it is given.

    `service`: what is discovered.
    `policy`: when to ask, and what an answer may do.
    `identity`: this pod, to be found among the peers.
    `random`: returns a float from 0 to 1.
    `kind`: `PeerSet.kind` until an answer says one; "unknown" by default.
    `can_watch`, `can_lookup`: what the source does; by default lookups only.
    `fallback`: what is asked while the watch is down, for the log; "lookups" by default.
    """

    def __init__(
        self,
        service: ServiceName,
        policy: Policy,
        identity: Identity,
        random: Callable[[], float],
        kind: str = "unknown",
        *,
        can_watch: bool = False,
        can_lookup: bool = True,
        fallback: str = "lookups",
    ) -> None:
        self.service = service
        self.policy = policy
        self.identity = identity
        self.reconciler = Reconciler(str(service), policy, identity, kind)
        self.health = Health(policy, random)
        self.journal = Journal(service, policy, by_watch=not can_lookup, fallback=fallback)
        self.pending_logs = self.journal.pending_logs
        """What the runtime has to log: `(logging level, text)`, oldest first."""
        self.started: int = 0
        """The number of the last lookup that started."""
        self.completed: int = 0
        """The number of the last lookup that was answered, or failed."""
        self._schedule = Schedule(policy, random)
        self._watch_state = WatchState(can_watch=can_watch, can_lookup=can_lookup)
        self._second_opinion = False

    # What is known

    @property
    def peers(self) -> PeerSet:
        return self.reconciler.peers

    @property
    def view(self) -> View:
        """The set, its suspects and its health, for pickers."""
        return self.health.annotate(self.reconciler.view)

    @property
    def watched(self) -> bool:
        """Whether a watch delivers the answers, so that there is nothing to ask."""
        return self._watch_state.watched

    def status(self, now: float) -> Status:
        """The state at this moment, as numbers. A lookup that is found to be overdue is logged, once."""
        reconciler, last = self.reconciler, self.journal.last
        failed = self.journal.failed
        overdue = self._schedule.overdue(now)
        error = reason_of(last) if last is not None and failed else None
        if overdue is not None:
            error = f"the source has not returned from a lookup for {overdue:.1f} s"
            if not self._schedule.in_flight:
                error = f"a lookup was due {overdue:.1f} s ago and has not started: nothing refreshes the set"
            self.journal.record_overdue(error)
        next_refresh = math.inf if self.watched else max(0.0, self._schedule.due - now)
        return Status(
            generation=self.peers.generation,
            age=math.inf if reconciler.confirmed_at is None else max(0.0, now - reconciler.confirmed_at),
            stale=failed or bool(reconciler.suspects) or overdue is not None,
            outcome=None if last is None else last.outcome,
            error=error,
            watch_error=self.journal.watch_error,
            next_refresh=0.0 if self._schedule.in_flight else next_refresh,
            suspects=tuple(peer for peer in self.peers if peer.key in reconciler.suspects),
            lookups=self.completed,
            failures=self.journal.failures,
            changes=self.journal.changes,
        )

    def explain(self, now: float) -> str:
        """For each peer, why it is in, held or out; what was dropped; the last answers; when next."""
        return explain(
            self.reconciler, self.health, self.identity, self.journal, self.status(now), now, self.watched
        )

    @property
    def overdue_at(self) -> float:
        """When the set freezes: a lookup will have taken too long, or have been due for too long."""
        return self._schedule.overdue_at

    def satisfies(self, min_peers: int, include_self: bool = True) -> bool:
        """Whether so many peers are known; with 0, whether there is any evidence."""
        return self.journal.has_evidence and count_of(self.peers, include_self) >= min_peers

    # When to ask, and what

    @property
    def next_wakeup(self) -> float:
        """When `begin` is due (`expire`, while a watch is up); infinite while a lookup is in flight."""
        expires = self.reconciler.expires_at() if self.journal.failed else math.inf
        if self.watched:
            return expires
        return math.inf if self._schedule.in_flight else min(self._schedule.due, expires)

    def start(self, now: float) -> None:
        """The first lookup is due. In the child of a fork, the next one is."""
        self.started = self.completed
        self._watch_state.start()
        self._schedule.start(now)

    def end(self) -> None:
        """Nothing is asked any more."""
        self._watch_state.start()
        self._schedule.stop()

    def begin(self) -> LookupRequest:
        """A lookup starts, or a watch does (`watched`). Returns what to ask."""
        self.started += 1
        self._second_opinion = self._schedule.begin()
        self._watch_state.begin()
        return LookupRequest(
            service=self.service,
            timeout=self.policy.timeout,
            second_opinion=self._second_opinion,
            known=self.reconciler.known_hostnames(),
            zone=self.reconciler.zone,
        )

    def request(self, now: float) -> int:
        """Ask at once. Returns the number of a lookup that answers the request once it is completed.

        A watch that is up has reported everything already. If it failed, its next answer counts.
        """
        if self.watched:
            return self.completed + (self.journal.last is None or self.journal.failed)
        self._schedule.request(now)
        return self.started + 1

    # What the application reports, and what time does

    def report_failure(self, peer: Peer, now: float, why: str = "") -> bool:
        """The application saw `peer` fail: ask again soon. Returns whether it was removed."""
        self.health.failed(peer, self.peers, now, why)
        if not self.watched:
            self._schedule.report(now)
        before = self.peers
        removed = self.reconciler.report_failure(peer, now)
        if removed:
            self._changed(before, now)
        return removed

    def report_success(self, peer: Peer, now: float) -> None:
        self.health.succeeded(peer, now)

    @property
    def next_tick(self) -> float:
        """When `tick` is due, independently of lookups; infinite if no peer's health changes by itself."""
        return self.health.next_tick

    def tick(self, now: float) -> bool:
        """Time has passed. Returns whether the health that pickers see has changed by that."""
        return now >= self.next_tick and self.health.tick(now)

    def expire(self, now: float) -> None:
        """A watch is up, and has been failing for so long that the set may have to be emptied."""
        before = self.peers
        self.reconciler.expire(now)
        if self.peers is not before:
            self._changed(before, now, max_stale=True)

    # What came

    def apply_watch(self, answer: Answer, now: float) -> None:
        if not self._watch_state.both:
            self.apply(answer, now)
        elif answer.is_evidence:
            self.started += 1  # it answers those who wait for a lookup that does not start any more
            self._watch_state.on_success()
            self.journal.record_watch_success()
            self.apply(answer, now)
        else:
            self._on_watch_failure(answer, now)

    def on_watch_end(self, answer: Answer, now: float) -> None:
        """The watch ended with this. `begin` starts it again when it is time."""
        if self._watch_state.both:
            self._on_watch_failure(answer, now)
        self._watch_state.on_end()
        if not self._watch_state.both:
            self.apply(answer, now)

    def _on_watch_failure(self, answer: Answer, now: float) -> None:
        """Lookups take over, so this is no failed answer: the set stays as it is."""
        if self.watched:
            self._schedule.start(now)
        self._watch_state.on_failure()
        if self.journal.record_watch_failure(answer):
            self.reconciler.source_changed()

    def apply(self, answer: Answer, now: float, duration: float = 0.0) -> Answer:
        """Apply what the source answered; `duration` is how many seconds that took, for `explain`.

        Returns the answer as it counts.
        """
        before = self.peers
        answer = self.reconciler.normalise(answer)
        has_new_suspects = self.reconciler.apply(answer, now)
        self.started = self.completed = max(self.completed + 1, self.started)
        self._reschedule(answer, now, has_new_suspects)
        self.journal.record(answer, self.peers, now, duration)
        if self.peers.generation != before.generation:
            self._changed(before, now, max_stale=not answer.is_evidence)
        return answer

    def _reschedule(self, answer: Answer, now: float, has_new_suspects: bool) -> None:
        schedule = self._schedule
        if not answer.is_evidence:
            schedule.on_failure(now, has_peers=bool(self.peers))
            return
        if answer.authoritative:
            schedule.on_peers(now, math.inf)
            return
        if answer.is_empty:
            schedule.on_empty(now, held=bool(self.peers), by_second_opinion=self._second_opinion)
        else:
            schedule.on_peers(now, answer.ttl)
        settles_at = self.reconciler.settles_at(now)
        if has_new_suspects:
            schedule.doubt(now, by_second_opinion=self._second_opinion, settles_at=settles_at)
        elif self.reconciler.suspects:
            schedule.settle(now, settles_at)

    def _changed(self, before: PeerSet, now: float, *, max_stale: bool = False) -> None:
        self.health.follow(before, self.peers, now)
        self.journal.record_change(before, self.peers, max_stale=max_stale)
