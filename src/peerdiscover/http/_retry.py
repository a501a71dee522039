"""What a request does next: on which pod, after which pause, and when it ends.

Invariants (it is given the time and the outcome of each attempt, and does no I/O):

outcome of an attempt                | the next attempt, on another pod
-------------------------------------|------------------------------------------------------------------
no byte of it was handed to a socket | always, whatever the method: the body is untouched, too
… because a certificate failed, its  | the same, but there is no further round if all pods ended so:
pool was full, the pod speaks no TLS | waiting does not fix a certificate, and was done for the pool (so
or there are no descriptors left     | one full pool ends it, if no other pod could be reached)
sent, and the server said that it    | if the body can be sent again
did not process it (HTTP/2)          |
sent, and no response came: it may   | if it is idempotent (RFC 9110, 9.2.2) or marked so, the body can
have been processed                  | be sent again, and the budget allows one more
503 with Retry-After                 | the same, if `retry_503` is set; else it is the response
the request itself is invalid, or    | never
the head of the response too large   |

* Each attempt takes a pod that was not tried yet. A pod without a connection, to which another request is
  connecting, or failed to connect a moment ago, is taken only for a first attempt, and only if all pods
  are like that; later attempts wait instead. So a pod that is gone costs one request its connect timeout,
  and not all that arrive meanwhile, and pods that all refuse are not hammered by all requests that wait.
* A pod whose connections are all in use is taken after all others, and waited for then.
* Once all pods were tried there is a pause, which a change of the set ends, and all may be tried again,
  new ones first: 0.1 s, doubling to 1 s, of that half to the whole by chance. If there are no pods the
  pause lasts until there is one.
* Each time that really all pods were tried without success the connect timeout doubles: it may be this
  process that is slow, or the network between.
* A request whose pause was ended by a change waits a little more: up to a tenth of the time it waited, by
  chance. So pods that are back are not trampled.
* No attempt begins after `deadline`. At most `attempts` pods may have processed the request.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field

from peerdiscover.errors import NoPeersError
from peerdiscover.peers import Peer

from ._budget import RetryBudget

_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110, 9.2.2
_KEY = ("idempotency-key", b"idempotency-key")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
EXPIRED = "the time has expired"


class AttemptOutcome(enum.Enum):
    """How an attempt ended; the values are for people to read."""

    UNSENT = "not sent"
    BAD_CERTIFICATE = "not sent: its certificate does not verify"
    POOL_TIMEOUT = "not sent: its connection pool was full"
    NO_DESCRIPTORS = "not sent: this process has no file descriptors left"
    NOT_TLS = "not sent: the pod does not speak TLS"
    CLIENT_CERTIFICATE = "not processed: the pod refused the client certificate"
    REFUSED = "sent, and not processed"
    MAYBE_PROCESSED = "sent, no response"
    UNAVAILABLE = "responded that it is unavailable"
    HEAD_TOO_LARGE = "responded with a head that is too large"
    LOCAL_ERROR = "the request itself is invalid"

    @property
    def sent(self) -> bool:
        """Whether the pod may have processed it."""
        return self not in (AttemptOutcome.UNSENT, *_HOPELESS)


_HOPELESS = {
    AttemptOutcome.BAD_CERTIFICATE: "waiting does not fix certificates",
    AttemptOutcome.POOL_TIMEOUT: "all connection pools are full",
    AttemptOutcome.NO_DESCRIPTORS: "this process has no file descriptors left",
    AttemptOutcome.NOT_TLS: "the pods do not speak TLS: write http:// in place of https://",
    AttemptOutcome.CLIENT_CERTIFICATE: "the pods refuse the client certificate (cert=)",
}
"""If all pods ended so there is no further round, for this reason."""

_POOLS_AND_REFUSALS = "all connection pools are full, or their pods cannot be reached"


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One attempt that failed."""

    peer: Peer
    what: str
    """The error, as a string."""
    seconds: float
    sent: bool
    """Whether it may have reached the pod."""

    def __str__(self) -> str:
        sent = "sent" if self.sent else "not sent"
        return f"{self.peer!r}: {self.what} after {self.seconds:.3f} s, {sent}"


def is_idempotent(method: str, headers: Iterable[str | bytes], marked: object) -> bool:
    """Return whether a request may be sent again, by its method, or as its sender says.

    `headers`: their names. `marked`: what the sender said of it; True and False decide by themselves.
    """
    if marked is not None:
        return bool(marked)
    return method.upper() in _IDEMPOTENT or any(name.lower() in _KEY for name in headers)


@dataclass(slots=True, eq=False)
class RetryState:
    """One request, from its first attempt to its last."""

    budget: RetryBudget
    _: KW_ONLY
    deadline: float
    attempts: int
    """How many pods may have processed it."""
    is_idempotent: Callable[[], bool]
    replayable: bool
    end_reason: str = EXPIRED
    """Why there is no further round, once `pause` returned None."""
    failed: list[FailedAttempt] = field(default_factory=list)
    """The attempts so far."""
    _pauses: int = 0
    _exhausted_rounds: int = 0
    _paused: bool = False
    _waiting_since: float | None = None
    _tried: set[Peer] = field(default_factory=set)
    _hopeless: dict[Peer, AttemptOutcome] = field(default_factory=dict)

    @property
    def connect_timeout_factor(self) -> int:
        """How many times the connect timeout of the first round the present round has."""
        return 1 << min(self._exhausted_rounds, 10)

    def choose(
        self,
        pick: Callable[[], Peer],
        others: Callable[[], Sequence[Peer]],
        is_connecting: Callable[[Peer], bool],
        is_full: Callable[[Peer], bool] = lambda _: False,
    ) -> Peer | None:
        """Return an untried pod; None if all were tried, or if there are none.

        The picker is asked first, at most once for each of the `others`, who are all that there are. It
        may give the same pods again and again, or leave out those that failed elsewhere: once an attempt
        failed, any other pod will do, by its SRV priority.
        """
        peer, all_others = None, others()
        if self._paused and all(other in self._tried or is_connecting(other) for other in all_others):
            # The pause was for this. Pods that other requests are connecting to may be so for long: they
            # must not keep this request from trying the rest again.
            self._exhausted_rounds += bool(self._tried) and self._tried.issuperset(all_others)
            self._tried.clear()
        if not self._tried:
            self._paused = False
        for _ in range(max(len(all_others), 1)):
            try:
                peer = pick()
            except NoPeersError:
                break
            if peer not in self._tried and not is_connecting(peer) and not is_full(peer):
                return peer
        if self.failed or (peer is not None and is_full(peer)):
            untried = [other for other in all_others if other not in self._tried and not is_connecting(other)]
            untried.sort(key=lambda other: other.priority)  # RFC 2782: the lowest number first
            other = next((other for other in untried if not is_full(other)), None)
            if other is not None or self.failed:
                return other or next(iter(untried), None)
        return peer  # the last one picked: the first would be the same one each time

    def pause(self, now: float, others: Sequence[Peer], random: Callable[[], float]) -> float | None:
        """Return how long to wait before all `others` may be tried again; None: never, for `end_reason`."""
        left = self.deadline - now
        if reason := self._hopeless_reason(others):
            self.end_reason = reason
            return None
        if left <= 0:
            return None
        self._paused = True
        self._waiting_since = now if self._waiting_since is None else self._waiting_since
        if not others:
            return left
        longest: float = min(_FIRST_PAUSE * 2.0 ** min(self._pauses, 10), _LONGEST_PAUSE)
        self._pauses += 1
        return min(longest * (0.5 + random() / 2), left)

    def _hopeless_reason(self, others: Sequence[Peer]) -> str | None:
        """Return why another round would end as this one did, if it would."""
        outcomes = {self._hopeless.get(peer) for peer in others}
        if None not in outcomes:
            return "; ".join(reason for outcome, reason in _HOPELESS.items() if outcome in outcomes)
        if AttemptOutcome.POOL_TIMEOUT in outcomes and self._tried.issuperset(others):
            return _POOLS_AND_REFUSALS
        return None

    def spread(self, now: float, random: Callable[[], float]) -> float:
        """The set changed during a pause: return the seconds until the next attempt, once for each wait."""
        since, self._waiting_since = self._waiting_since, None
        return 0.0 if since is None else min((now - since) / 10 * random(), (self.deadline - now) / 4)

    def record(self, failed: FailedAttempt, outcome: AttemptOutcome, now: float) -> str | None:
        """An attempt failed. Return why there is no other one; None if there may be one."""
        self.failed.append(failed)
        self._tried.add(failed.peer)
        if outcome is AttemptOutcome.LOCAL_ERROR:
            return "the request itself is invalid"
        if outcome is AttemptOutcome.HEAD_TOO_LARGE:
            return "the head of its response is larger than the HTTP library takes"
        if now >= self.deadline:
            return EXPIRED
        self._hopeless.pop(failed.peer, None)
        if outcome in _HOPELESS:
            self._hopeless[failed.peer] = outcome
        if not outcome.sent:
            return None
        if outcome is not AttemptOutcome.REFUSED and not self.is_idempotent():
            return "it may have been processed, and is not idempotent"
        if not self.replayable:
            return "its body is a stream, which cannot be sent again"
        if outcome is AttemptOutcome.REFUSED:
            return None
        if sum(earlier.sent for earlier in self.failed) >= self.attempts:
            return f"the limit is {self.attempts} attempts"
        if not self.budget.try_spend(now):
            return "the retry budget is used up"
        return None
