"""What a request does next: on which pod, after which wait, and when it is over.

Rules of this room (told the time, and what became of an attempt; it does no I/O):

what became of an attempt            | the next one, on another pod
-------------------------------------|------------------------------------------------------------------
no byte of it was handed to a socket | always, whatever the method: the body is untouched, too
… for the pod's certificate failed,  | the same, but no further round where that was so with all pods: time
or its pool of connections was full  | does not mend it, or was waited for already
sent, and the server said that it    | where the body can be sent again
did not process it (HTTP/2)          |
sent, and no answer came: it may     | where it is idempotent (RFC 9110, 9.2.2) or marked so, and the
have been processed                  | body can be sent again, and the budget allows one more
answered 503 with Retry-After        | the same, where that is asked for; else it is the answer
the caller's own error               | never

* Each attempt takes a pod that was not tried yet. One that has no line, and that another request is
  just dialling, or could not a moment ago, is taken for the first attempt alone, where all are so; later
  ones wait instead. So a pod that is gone costs one request its patience, and not all that come meanwhile,
  and pods that all refuse are not dialled again and again by all who wait.
* Once all were tried there is a pause, which a change of the set ends, and all may be tried again, new
  ones first: 0.1 s, doubling to 1 s, of that half to the whole by chance. With nobody there the pause
  lasts until somebody is.
* Each time that really all were tried in vain there is twice the patience with dialling: it may be this
  process that is slow, or the network between.
* Who waited for news does not begin with everybody else who did: within a tenth of the time it waited, by
  chance, so that pods that are back are not trampled.
* No attempt begins after `until`. At most `attempts` may have been processed.
* The budget: of the requests of about the last ten seconds, a share may be sent again, and ten
  besides. A service that dies is not given a multiple of its load.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from peerdiscover.errors import NoPeersError
from peerdiscover.peers import Peer

__all__ = ["AttemptOutcome", "Budget", "FailedAttempt", "RetryState", "is_idempotent"]

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110, 9.2.2
_WINDOW = 10.0  # seconds over which the budget forgets
_FLOOR = 10.0
_GRAIN = 0.01  # seconds: not worth forgetting for
_PAUSE, _LONGEST_PAUSE = 0.1, 1.0


class AttemptOutcome(enum.Enum):
    """What became of an attempt; the values are what a person reads."""

    UNSENT = "not sent"
    BAD_CERTIFICATE = "not sent: its certificate does not verify"
    POOL_TIMEOUT = "not sent: no place in its pool of connections"
    REFUSED = "sent, and not processed"
    MAYBE_PROCESSED = "sent, no answer"
    UNAVAILABLE = "answered that it is unavailable"
    LOCAL_ERROR = "an error of the request itself"

    @property
    def sent(self) -> bool:
        """Whether a byte of it may have been handed to a socket."""
        return self not in (AttemptOutcome.UNSENT, *_IN_VAIN)


_IN_VAIN = {
    AttemptOutcome.BAD_CERTIFICATE: "time does not mend certificates",
    AttemptOutcome.POOL_TIMEOUT: "the pools of connections were full",
}
"""Where all pods ended so, there is no further round."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One attempt that failed."""

    peer: Peer
    what: str
    """The error, as a text."""
    seconds: float
    sent: bool
    """Whether it may have reached the pod."""

    def __str__(self) -> str:
        sent = "sent" if self.sent else "not sent"
        return f"{self.peer!r}: {self.what} after {self.seconds:.3f} s, {sent}"


class Budget:
    """How many requests may be sent again: a share of all, and a few besides. Told the time."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._requests = 0.0
        self._again = 0.0
        self._at = 0.0

    def request(self, now: float) -> None:
        """A request came."""
        self._forget(now)
        self._requests += 1

    def spend(self, now: float) -> bool:
        """Whether one may be sent again; it then counts as sent."""
        self._forget(now)
        if self._again + 1 > self._share * self._requests + (_FLOOR if self._share else 0) + 1e-6:
            return False
        self._again += 1
        return True

    def _forget(self, now: float) -> None:
        if now > self._at + _GRAIN:
            kept = math.exp((self._at - now) / _WINDOW)
            self._requests *= kept
            self._again *= kept
            self._at = now


def is_idempotent(method: str, headers: Iterable[tuple[bytes, bytes]], marked: object) -> bool:
    """Whether it may be sent again: by its method, or as its sender says.

    `marked` is the request's extension `idempotent`: True and False are taken at their word.
    """
    if marked is not None:
        return bool(marked)
    return method.upper() in _IDEMPOTENT or any(name.lower() == b"idempotency-key" for name, _ in headers)


class RetryState:
    """One request, from its first attempt to its last."""

    __slots__ = (
        "_attempts",
        "_budget",
        "_exhausted_rounds",
        "_hopeless",
        "_paused",
        "_pauses",
        "_repeatable",
        "_replayable",
        "_tried",
        "_waits_since",
        "failed",
        "over",
        "until",
    )

    def __init__(
        self, budget: Budget, *, until: float, attempts: int, repeatable: Callable[[], bool], replayable: bool
    ) -> None:
        self._budget = budget
        self._attempts = attempts
        self._repeatable = repeatable
        self._replayable = replayable
        self._pauses = 0
        self._exhausted_rounds = 0
        self._paused = False
        self._waits_since: float | None = None
        self._tried: set[Peer] = set()
        self._hopeless: dict[Peer, AttemptOutcome] = {}
        self.over: str = "the time is over"
        """Why there is no further round, where `pause` said so."""
        self.until: float = until
        self.failed: list[FailedAttempt] = []
        """The attempts so far."""

    @property
    def connect_timeout_factor(self) -> int:
        """How many times the patience of the first round the present one has."""
        return 1 << min(self._exhausted_rounds, 10)

    def choose(
        self,
        pick: Callable[[], Peer],
        others: Callable[[], Sequence[Peer]],
        in_doubt: Callable[[Peer], bool],
    ) -> Peer | None:
        """An untried pod; None where all were tried, or nobody is there.

        The picker is asked first, at most once for each of the `others`, who are all that there are. It
        may give the same ones again and again, or leave out those that failed elsewhere: once somebody
        was tried, anybody else will do. Whoever is `in_doubt` is taken for the first attempt only.
        """
        peer, everybody = None, others()
        if self._paused and all(other in self._tried or in_doubt(other) for other in everybody):
            # The pause was for this. Whoever others find out about may be so for long: it bars nobody.
            self._exhausted_rounds += bool(self._tried) and self._tried.issuperset(everybody)
            self._tried.clear()
        if not self._tried:
            self._paused = False
        for _ in range(max(len(everybody), 1)):
            try:
                peer = pick()
            except NoPeersError:
                break
            if peer not in self._tried and not in_doubt(peer):
                return peer
        if self.failed:
            # None of the picker's. Once somebody failed, anybody else will do.
            untried = (other for other in everybody if other not in self._tried)
            return next((other for other in untried if not in_doubt(other)), None)
        return peer  # the last one picked: the first would be the same one each time

    def pause(self, now: float, others: Sequence[Peer], random: Callable[[], float]) -> float | None:
        """How long to wait before all `others` may be tried again; None: never, and `over` says why."""
        left = self.until - now
        if others and self.failed and all(peer in self._hopeless for peer in others):
            self.over = _IN_VAIN[self._hopeless[others[0]]]
            return None
        if left <= 0:
            return None
        self._paused = True
        self._waits_since = now if self._waits_since is None else self._waits_since
        if not others:
            return left
        longest: float = min(_PAUSE * 2.0 ** min(self._pauses, 10), _LONGEST_PAUSE)
        self._pauses += 1
        return min(longest * (0.5 + random() / 2), left)

    def news(self, now: float, random: Callable[[], float]) -> float:
        """The set changed in a pause: seconds until the next attempt, once for each time it waited."""
        since, self._waits_since = self._waits_since, None
        return 0.0 if since is None else min((now - since) / 10 * random(), (self.until - now) / 4)

    def after(self, tried: FailedAttempt, fate: AttemptOutcome, now: float) -> str | None:
        """An attempt failed. None: there may be another one; else why there is none."""
        self.failed.append(tried)
        self._tried.add(tried.peer)
        if fate is AttemptOutcome.LOCAL_ERROR:
            return "it is the request's own"
        if now >= self.until:
            return "the time is over"
        self._hopeless.pop(tried.peer, None)
        if fate in _IN_VAIN:
            self._hopeless[tried.peer] = fate
        if not fate.sent:
            return None
        if fate is not AttemptOutcome.REFUSED and not self._repeatable():
            return "it may have been processed, and is not idempotent"
        if not self._replayable:
            return "its body is a stream, which cannot be sent again"
        if fate is AttemptOutcome.REFUSED:
            return None
        if sum(earlier.sent for earlier in self.failed) >= self._attempts:
            return f"{self._attempts} attempts are the limit"
        if not self._budget.spend(now):
            return "the budget for sending again is used up"
        return None
