"""What is remembered of answers and changes: for the log, for errors, and for `explain`.

Invariants:

* Log records wait in `pending_logs` until the caller holds no lock.
* Each level has a queue of its own, so that a flood of one level drops nothing of another.
* A failure is logged once, when it begins. That it ended is logged at the same level.
* A warning, or a line about something that was dropped from an answer, is logged once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from peerdiscover._text import counted, printable
from peerdiscover.answers import Answer
from peerdiscover.errors import (
    ConfigurationError,
    NameNotFoundError,
    NoPeersError,
    Outcome,
    ResolutionError,
    ResolutionTimeoutError,
)
from peerdiscover.names import ServiceName
from peerdiscover.peers import Change, PeerSet
from peerdiscover.policy import Policy

E = TypeVar("E", bound=ResolutionError)

_MAX_PENDING = 250
"""Log records that wait, of each level. Then the oldest is dropped."""
_MAX_LINE = 4000
_MAX_LOGGED_ONCE = 1000
"""Different lines of each level that are logged once, without a limit on their rate."""
_LOGGED_APART = 60.0
"""Seconds between those that come after them. `explain` has the others."""


@dataclass(frozen=True, slots=True, eq=False)
class AnswerRecord:
    """One answer, without its endpoints: a thousand of them would be held for nothing."""

    at: float
    answer: Answer
    endpoints: int
    duration: float


class PendingLogs:
    """Log records as `(level, text)`, in the order in which they came."""

    def __init__(self) -> None:
        self._by_level: dict[int, deque[tuple[int, int, str]]] = {}
        self._added = 0

    def append(self, record: tuple[int, str]) -> None:
        self._added += 1
        queue = self._by_level.setdefault(record[0], deque(maxlen=_MAX_PENDING))
        queue.append((self._added, *record))

    def clear(self) -> None:
        self._by_level.clear()

    def __len__(self) -> int:
        return sum(map(len, self._by_level.values()))

    def __iter__(self) -> Iterator[tuple[int, str]]:
        records = sorted(record for queue in self._by_level.values() for record in queue)
        return ((level, text) for _, level, text in records)


class Journal:
    """What one service's set remembers. `by_watch`: a watch alone delivers its answers."""

    def __init__(self, service: ServiceName, policy: Policy, *, by_watch: bool, fallback: str) -> None:
        self._service = str(service)
        self._policy = policy
        self._subject = "watch" if by_watch else "lookup"
        self.fallback = fallback
        """What is asked while a watch is down, in words."""
        self.pending_logs = PendingLogs()
        self.recent_answers: deque[AnswerRecord] = deque(maxlen=10)
        """The newest last."""
        self.has_evidence = False
        """Whether an answer said anything about membership yet."""
        self.failures = 0
        self.changes = 0
        self.watch_error: str | None = None
        """Why the watch failed for which something else is asked; None while it works."""
        self.failure_level = logging.WARNING
        """At which failures and recoveries are logged."""
        self._keeping = False
        self._overdue = False
        self._logged: dict[int, dict[str, float]] = {}

    @property
    def last(self) -> Answer | None:
        """The last answer, without its endpoints."""
        return self.recent_answers[-1].answer if self.recent_answers else None

    @property
    def failed(self) -> bool:
        return self.last is not None and not self.last.is_evidence

    @property
    def misconfigured(self) -> ConfigurationError | None:
        """Why it is pointless to wait for the first evidence: the lookup cannot work as it is."""
        error = self.last.error if self.last is not None else None
        return error if not self.has_evidence and isinstance(error, ConfigurationError) else None

    def record(self, answer: Answer, peers: PeerSet, now: float, duration: float) -> None:
        """An answer was applied, and `peers` is the set after it."""
        failed_before, first = self.failed, not self.has_evidence
        self.failures += not answer.is_evidence
        self.has_evidence = self.has_evidence or answer.is_evidence
        brief = answer.replace(endpoints=(), unnamed=())
        self.recent_answers.append(AnswerRecord(now, brief, len(answer.endpoints), duration))
        count = counted(len(answer.endpoints), "endpoint")
        found = f"{answer.outcome}, {count}" if answer.endpoints else str(answer.outcome)
        self._log(logging.DEBUG, f"{found} in {duration * 1000:.1f} ms")
        if self._overdue:
            self._overdue = False
            self._log(logging.WARNING, f"lookups run again: {found}")
        if failed_before and answer.is_evidence:
            self._log(self.failure_level, f"{self._subject} recovered: {found}")
        elif not failed_before and not answer.is_evidence:
            kept = f", keeping {counted(len(peers), 'peer')}" if peers else ""
            self._log(self.failure_level, f"{self._subject} failed{kept}: {brief_reason_of(answer)}")
        if first and answer.is_evidence and not peers:
            self._log(logging.INFO, f"no peers yet ({answer.outcome})")
        self._record_absence(answer, peers)
        cut = ("the answer was truncated: it lists only some of the pods",)
        self._log_once(logging.WARNING, (*cut * (answer.outcome is Outcome.PARTIAL), *answer.warnings), now)
        self._log_once(logging.INFO, answer.dropped, now)

    def _record_absence(self, answer: Answer, peers: PeerSet) -> None:
        """Peers that are kept although the answer says that there are none."""
        if answer.is_empty and peers and not self._keeping:
            until = f" for up to {self._policy.hold:g} s" if self._policy.on_empty == "hold" else ""
            text = f"no peers reported ({answer.outcome}), keeping {counted(len(peers), 'peer')}{until}"
            self._log(logging.WARNING, text)
        elif self._keeping and answer.endpoints:
            count = counted(len(answer.endpoints), "endpoint")
            self._log(logging.WARNING, f"peers reported again: {answer.outcome}, {count}")
        if answer.is_evidence:
            self._keeping = answer.is_empty and bool(peers)

    def record_change(self, before: PeerSet, after: PeerSet, *, max_stale: bool = False) -> None:
        """The set changed; `max_stale`: without evidence, since no answer came for so long."""
        self.changes += 1
        # A set that is empty and has changed before was emptied: its first peers end that.
        is_recovery = not before and before.generation > 0
        level = logging.INFO if after and not is_recovery else logging.WARNING
        count = counted(len(after), "peer") if after else "no peers left"
        self._log(level, f"{count}: {Change.between(before, after)}")
        if max_stale:
            limit = f"max_stale={self._policy.max_stale:g} s"
            self._log(logging.WARNING, f"set emptied without evidence: no answer within {limit}")

    def record_overdue(self, error: str) -> None:
        """A lookup is overdue: the set cannot change until it ends."""
        if not self._overdue:
            self._overdue = True
            self._log(logging.WARNING, error)

    def record_watch_failure(self, answer: Answer) -> bool:
        """A watch failed, and something else is asked meanwhile. Returns whether it worked before."""
        is_new, self.watch_error = self.watch_error is None, reason_of(answer)
        if is_new:
            text = f"watch failed, falling back to {self.fallback}: {brief_reason_of(answer)}"
            self._log(self.failure_level, text)
        return is_new

    def record_watch_success(self) -> None:
        if self.watch_error is not None:
            self.watch_error = None
            self._log(self.failure_level, "watch recovered")

    # The errors of those who waited

    def timeout_error(
        self, peers: PeerSet, min_peers: int, include_self: bool, waited: float, now: float
    ) -> ResolutionTimeoutError:
        """The error for a caller that waited `waited` seconds for `min_peers`."""
        others = "" if include_self else " other"
        known = (
            f"{count_of(peers, include_self)} of {min_peers}{others} peers" if min_peers else "no evidence"
        )
        text = f"{known} after {waited:.1f} s; {self.last_answer_summary(now)}"
        return self._error(ResolutionTimeoutError, text)

    def not_found_error(self, now: float) -> NameNotFoundError:
        """The error for a caller that resolves once, when the answer is that there are no peers."""
        return self._error(NameNotFoundError, self.last_answer_summary(now))

    def no_peers_error(self, now: float, what: str = "no peers available") -> NoPeersError:
        """The error for a caller that needs a peer now."""
        return NoPeersError(f"{self._service}: {what}; {self.last_answer_summary(now)}")

    def last_answer_summary(self, now: float) -> str:
        """The last answer: what was asked, which servers, what came, and how long ago."""
        if not self.recent_answers:
            return "no answer yet"
        last = self.recent_answers[-1]
        asked = f"{last.answer.name} " if last.answer.name else ""
        servers = f" (asked {', '.join(last.answer.servers)})" if last.answer.servers else ""
        why = f": {reason_of(last.answer)}" if not last.answer.is_evidence else ""
        watch = f"watch failed: {self.watch_error}" if self.watch_error else ""
        notes = "".join(f"; {note}" for note in (self._hint(), watch) if note)
        return f"{asked}{last.answer.outcome}{why}{servers}, {max(0.0, now - last.at):.1f} s ago{notes}"

    def _hint(self) -> str:
        """Why there are no peers. While there are none, only every other question looks for the reason."""
        last, *before = (record.answer for record in islice(reversed(self.recent_answers), 2))
        return last.hint or next((one.hint for one in before if one.outcome is last.outcome), "")

    def _error(self, kind: type[E], text: str) -> E:
        last = self.last
        return kind(
            f"{self._service}: {text}",
            service=self._service,
            name=last.name if last else "",
            servers=last.servers if last else (),
            outcome=last.outcome if last else None,
        )

    def _log(self, level: int, text: str) -> None:
        self.pending_logs.append((level, printable(f"{self._service}: {text}", _MAX_LINE)))

    def _log_once(self, level: int, lines: Iterable[str], now: float) -> None:
        logged = self._logged.setdefault(level, {})
        for line in lines:
            if line in logged:
                continue
            if len(logged) >= _MAX_LOGGED_ONCE:
                if now - next(reversed(logged.values())) < _LOGGED_APART:
                    continue
                del logged[next(iter(logged))]
            logged[line] = now
            self._log(level, line)


def count_of(peers: PeerSet, include_self: bool) -> int:
    """How many peers there are, with or without this pod."""
    return len(peers) if include_self else len(peers.others)


def reason_of(answer: Answer) -> str:
    """Why an answer failed. It may have lines that say what to do, such as a Role to apply."""
    return "no reason was given" if answer.error is None else str(answer.error)


def brief_reason_of(answer: Answer) -> str:
    """The same in one line, for the log and for everything that says it more than once."""
    return reason_of(answer).partition("\n")[0]
