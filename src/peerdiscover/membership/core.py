"""The core: what an answer does to the set, and when to ask again.

No socket, no clock, no lock, no await: a `Membership` is told the time and the answers, and says what
to ask and when it wants to be woken. The shells wait, ask and pass on.

    now = clock()
    membership.start(now)
    while True:
        wait until membership.wake
        ask = membership.begin()
        membership.take(source's answer to ask, now)

A source that tells by itself is watched: where `watched` is true after `begin`, begin to watch, hand
what it tells to `apply_watch`, and its end to `on_watch_end`.

Rules of this room:

* Judging (`reconciler`), scheduling (`schedule`) and whether to ask or to watch (`watch_state`) know
  nothing of each other; this class introduces them.
* What is to be logged is put into `pending_logs`, for the shell to log when it holds no lock.
* A lookup has a number. A refresh is answered by a lookup with a higher number than those that had
  begun when it was wanted.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.errors import (
    ConfigurationError,
    NameNotFoundError,
    NoPeersError,
    Outcome,
    ResolutionError,
    ResolutionTimeoutError,
)
from peerdiscover.names import ServiceName
from peerdiscover.peers import Change, Identity, Peer, PeerSet, View
from peerdiscover.policy import Policy

from .explaining import AnswerRecord, brief_reason_of, counted, explain, inconclusive_reason, reason_of
from .health import Health
from .reconciler import Reconciler
from .schedule import Schedule
from .status import Status
from .watch_state import WatchState

__all__ = ["Membership"]

E = TypeVar("E", bound=ResolutionError)


class Membership:
    """One service's set, kept by the answers it is told."""

    def __init__(
        self,
        service: ServiceName,
        policy: Policy,
        identity: Identity,
        random: Callable[[], float],
        kind: str = "unknown",
        *,
        tells: bool = False,
        asked: bool = True,
    ) -> None:
        self.service = service
        self.policy = policy
        self._identity = identity
        self._reconciler = Reconciler(str(service), policy, identity, kind)
        self._schedule = Schedule(policy, random)
        self._health = Health(policy, random)
        self.pending_logs: deque[tuple[int, str]] = deque(maxlen=1000)
        """(logging level, text), oldest first."""
        self.started: int = 0
        """The number of the last lookup that went out."""
        self.completed: int = 0
        """The number of the last lookup that was answered, or failed."""
        self._watch_state = WatchState(tells=tells, asked=asked)
        self._second_opinion = False
        self._failures = 0
        self._changes = 0
        self._recent_answers: deque[AnswerRecord] = deque(maxlen=10)
        self._last: Answer | None = None
        self._evidence = False
        self._said: set[str] = set()

    # What is known

    @property
    def peers(self) -> PeerSet:
        """The set as it is."""
        return self._reconciler.peers

    @property
    def view(self) -> View:
        """The set, its suspects and its health, for pickers."""
        return self._health.annotate(self._reconciler.view)

    @property
    def zone(self) -> str | None:
        """The zone that the program runs in, where it is known."""
        return self._reconciler.zone

    @property
    def watched(self) -> bool:
        """The source tells by itself, and there is nothing to ask."""
        return self._watch_state.watched

    def status(self, now: float) -> Status:
        """How things are."""
        judge, last = self._reconciler, self._last
        failed = self._failed
        overdue = self._schedule.overdue(now)
        error = reason_of(last) if last is not None and failed else None
        if overdue is not None:
            error = f"the source has not returned from a lookup for {overdue:.1f} s"
        next_refresh = math.inf if self.watched else max(0.0, self._schedule.due - now)
        return Status(
            generation=judge.peers.generation,
            age=math.inf if judge.confirmed_at is None else max(0.0, now - judge.confirmed_at),
            stale=failed or bool(judge.suspects) or overdue is not None,
            outcome=None if last is None else last.outcome,
            error=error,
            watch_error=self._watch_state.down,
            next_refresh=0.0 if self._schedule.under_way else next_refresh,
            suspects=tuple(peer for peer in judge.peers if peer.key in judge.suspects),
            lookups=self.completed,
            failures=self._failures,
            changes=self._changes,
        )

    def explain(self, now: float) -> str:
        """For each peer, why it is in, held or out; what was dropped; the last answers; when next."""
        return explain(
            self.service,
            self._reconciler,
            self._health,
            self._identity,
            self._recent_answers,
            self._last,
            self.status(now),
            now,
            watched=self.watched,
        )

    # When to ask, and what

    @property
    def next_wakeup(self) -> float:
        """When `begin` is due (`expire`, while a watch is up); infinite while a lookup is under way."""
        expires = self._reconciler.expires_at() if self._failed else math.inf
        if self.watched:
            return expires
        return math.inf if self._schedule.under_way else min(self._schedule.due, expires)

    def start(self, now: float) -> None:
        """The first question is due; in the child of a fork, the next one is."""
        self.started = self.completed
        self._watch_state.start()
        self._schedule.start(now)

    def end(self) -> None:
        """Nothing is asked any more."""
        self._watch_state.start()
        self._schedule.stop()

    def begin(self) -> LookupRequest:
        """A lookup goes out, or a watch begins (`watched`); what to ask."""
        self.started += 1
        self._second_opinion = self._schedule.begin()
        judge = self._reconciler
        unseen = [judge.peers.by_key[key] for key in (*judge.suspects, *judge.doubts)]
        known: dict[str, tuple[str, ...]] = {}
        for peer in [*unseen, *judge.peers]:
            if peer.hostname is not None:
                have = known.get(peer.hostname, ())
                known[peer.hostname] = have + tuple(a for a in peer.addresses if a not in have)
        self._watch_state.begin()
        return LookupRequest(
            service=self.service,
            timeout=self.policy.timeout,
            second_opinion=self._second_opinion,
            known=known,
            zone=judge.zone,
        )

    def request(self, now: float) -> int:
        """Ask at once. Returns the number of a lookup that answers the request when it is finished.

        A watch that is up has told everything already; of one that is down, the next word counts.
        """
        if self.watched:
            return self.completed + (self._last is None or self._failed)
        self._schedule.request(now)
        return self.started + 1

    def report_failure(self, peer: Peer, now: float, why: str = "") -> bool:
        """The application saw `peer` fail: ask again soon. Returns whether it went from the set."""
        self._health.failed(peer, self.peers, now, why)
        if not self.watched:
            self._schedule.report(now)
        before = self.peers
        went = self._reconciler.report_failure(peer, now)
        if went:
            self._changed(before, now)
        return went

    def is_blamed(self, peer: Peer) -> bool:
        """Whether a failure of `peer` is remembered."""
        return peer in self._health.failure_records

    def report_success(self, peer: Peer, now: float) -> None:
        """The application reached `peer`."""
        self._health.succeeded(peer, now)

    @property
    def next_tick(self) -> float:
        """When `tick` is due, whatever else is; infinite where nobody's health changes by itself."""
        return self._health.wake

    def tick(self, now: float) -> bool:
        """Time has passed. Returns whether that changed what pickers are to know of health."""
        return now >= self._health.wake and self._health.tick(now)

    # What came

    def apply_watch(self, answer: Answer, now: float) -> None:
        """Take in what a watch told."""
        if not self._watch_state.both:
            self.apply(answer, now)
        elif answer.is_evidence:
            self.started += 1  # it answers whoever waits for a question that is not asked any more
            if self._watch_state.on_success():
                self.pending_logs.append((logging.INFO, f"{self.service}: the watch works again"))
            self.apply(answer, now)
        else:
            self._watch_is_down(answer, now)

    def on_watch_end(self, answer: Answer, now: float) -> None:
        """The watch ended, and this is what it ended with. `begin` begins it anew when it is time."""
        if self._watch_state.both:
            self._watch_is_down(answer, now)
        self._watch_state.ended()
        if not self._watch_state.both:
            self.apply(answer, now)

    def _watch_is_down(self, answer: Answer, now: float) -> None:
        """Somebody else can be asked meanwhile: it is said once, and the set stays as it is."""
        if self.watched:
            self._schedule.start(now)
        if self._watch_state.on_failure(reason_of(answer)):
            self._reconciler.source_changed()
            text = f"the watch is down, and is done without: {brief_reason_of(answer)}"
            self.pending_logs.append((logging.WARNING, f"{self.service}: {text}"))

    def apply(self, answer: Answer, now: float, seconds: float = 0.0) -> Answer:
        """Take in what the source answered; `seconds` is how long it took, for `explain`.

        Returns the answer as it counts.
        """
        if answer.outcome is Outcome.RESOLVED and not (answer.endpoints or answer.unnamed):
            answer = answer.replace(outcome=Outcome.EMPTY)
        if self._reconciler.is_inconclusive(answer):
            answer = answer.replace(outcome=Outcome.FAILED, error=answer.error or inconclusive_reason(answer))
        if not answer.authoritative and self._reconciler.is_vip_only(answer):
            answer = answer.replace(outcome=Outcome.FAILED, error=_HIDES, warnings=())
        before, first = self.peers, not self._evidence
        doubt = self._reconciler.apply(answer, now)
        self.started = self.completed = max(self.completed + 1, self.started)
        self._failures += not answer.is_evidence
        self._evidence = self._evidence or answer.is_evidence
        self._reschedule(answer, now, doubt)
        self._note_answer(answer, now, seconds)
        self._last = answer.replace(endpoints=(), unnamed=())  # not to hold a thousand of them
        if self.peers.generation != before.generation:
            self._changed(before, now, without_evidence=not answer.is_evidence)
        if first and answer.is_evidence and not self.peers:
            self.pending_logs.append((logging.INFO, f"{self.service}: nobody yet ({answer.outcome})"))
        return answer

    def expire(self, now: float) -> None:
        """A watch is up, and has been failing for so long that the set may have to be emptied."""
        before = self.peers
        self._reconciler.expire(now)
        if self.peers.generation != before.generation:
            self._changed(before, now, without_evidence=True)

    @property
    def _failed(self) -> bool:
        return self._last is not None and not self._last.is_evidence

    def _reschedule(self, answer: Answer, now: float, doubt: bool) -> None:
        schedule = self._schedule
        if not answer.is_evidence:
            schedule.failed(now, nobody=not self.peers)
            return
        if answer.authoritative:
            schedule.on_peers(now, math.inf)
            return
        if answer.is_empty:
            schedule.on_empty(now, held=bool(self.peers))
        else:
            schedule.on_peers(now, answer.ttl)
        if doubt:
            settles_at = self._reconciler.settles_at(now)
            schedule.doubt(now, by_second_opinion=self._second_opinion, settles_at=settles_at)
        elif self._reconciler.suspects:
            schedule.settle(now, self._reconciler.settles_at(now))

    # Whether what a caller waits for is there

    def satisfies(self, min_peers: int, include_self: bool = True) -> bool:
        """Whether so many peers are known; with 0, whether anything is."""
        return self._evidence and self.count(include_self) >= min_peers

    def count(self, include_self: bool = True) -> int:
        """How many peers are known, with or without oneself."""
        return len(self.peers) if include_self else len(self.peers.others)

    @property
    def misconfigured(self) -> ConfigurationError | None:
        """What makes waiting for the first evidence pointless: the question cannot be answered as it is."""
        error = self._last.error if self._last is not None else None
        if not self._evidence and isinstance(error, ConfigurationError):
            return error
        return None

    def timeout_error(
        self, min_peers: int, include_self: bool, waited: float, now: float
    ) -> ResolutionTimeoutError:
        """The error for whoever waited in vain."""
        count = self.count(include_self)
        others = "" if include_self else " other"
        known = f"{count} of {min_peers}{others} peers" if min_peers else "nothing known"
        text = f"{known} after {waited:.1f} s; {self.last_answer_summary(now)}"
        return self._error(ResolutionTimeoutError, text)

    def not_found_error(self, now: float) -> NameNotFoundError:
        """The error for whoever asked once and was told that nobody is there."""
        return self._error(NameNotFoundError, self.last_answer_summary(now))

    def no_peers_error(self, now: float, what: str = "there is nobody to pick") -> NoPeersError:
        """The error for whoever wants a peer now."""
        return NoPeersError(f"{self.service}: {what}; {self.last_answer_summary(now)}")

    def last_answer_summary(self, now: float) -> str:
        """The last answer: what was asked, of whom, what came, and how long ago."""
        if not self._recent_answers:
            return "there was no answer yet"
        last = self._recent_answers[-1]
        asked = f"{last.answer.name} " if last.answer.name else ""
        servers = f" (asked {', '.join(last.answer.servers)})" if last.answer.servers else ""
        why = f": {reason_of(last.answer)}" if not last.answer.is_evidence else ""
        hint = f"; {last.answer.hint}" if last.answer.hint else ""
        hint += f"; the watch is down: {self._watch_state.down}" if self._watch_state.down else ""
        return f"{asked}{last.answer.outcome}{why}{servers}, {max(0.0, now - last.at):.1f} s ago{hint}"

    def _error(self, kind: type[E], text: str) -> E:
        last = self._last
        return kind(
            f"{self.service}: {text}",
            service=str(self.service),
            name=last.name if last else "",
            servers=last.servers if last else (),
            outcome=last.outcome if last else None,
        )

    # What is to be said in the log

    def _changed(self, before: PeerSet, now: float, *, without_evidence: bool = False) -> None:
        self._changes += 1
        self._health.follow(before, self.peers, now)
        change = Change.between(before, self.peers)
        self.pending_logs.append(
            (logging.INFO, f"{self.service}: {counted(len(self.peers), 'peer')}: {change}")
        )
        if without_evidence:
            text = f"emptied without evidence: max_stale={self.policy.max_stale:g} s without an answer"
            self.pending_logs.append((logging.WARNING, f"{self.service}: {text}"))

    def _note_answer(self, answer: Answer, now: float, seconds: float) -> None:
        name = str(self.service)
        self._recent_answers.append(
            AnswerRecord(now, answer.replace(endpoints=(), unnamed=()), len(answer.endpoints), seconds)
        )
        count = f", {counted(len(answer.endpoints), 'endpoint')}" if answer.endpoints else ""
        self.pending_logs.append(
            (logging.DEBUG, f"{name}: {answer.outcome}{count} in {seconds * 1000:.1f} ms")
        )
        failed_before = self._failed
        if not answer.is_evidence and not failed_before:
            kept = f"; what is known is kept: {counted(len(self.peers), 'peer')}" if self.peers else ""
            self.pending_logs.append((logging.WARNING, f"{name}: no answer: {brief_reason_of(answer)}{kept}"))
        elif answer.is_evidence and failed_before:
            self.pending_logs.append((logging.INFO, f"{name}: answers again: {answer.outcome}{count}"))
        warnings = answer.warnings
        if answer.outcome is Outcome.PARTIAL:
            warnings = ("an answer was cut short: it holds some of the pods only", *warnings)
        for level, lines in ((logging.WARNING, warnings), (logging.INFO, answer.dropped)):
            for line in lines:
                if line not in self._said and len(self._said) < 1000:
                    self._said.add(line)
                    self.pending_logs.append((level, f"{name}: {line}"))


_HIDES = "a virtual address, which says nothing of the pods that the watch told of"
