"""One call, from the caller's request to its status: on which pod, and whether once more.

Invariants (it is given the time and how each attempt ended, and does no I/O):

how an attempt ended                       | the next attempt, on another pod
-------------------------------------------|------------------------------------------------------------
the pod's channel could not connect        | always: no pod received it
UNAVAILABLE, for whatever reason else: the | if the method is `idempotent`, the request is not a stream,
connection broke, or the pod says so       | no response came, and the budget allows one more
another status, OK too                     | never: it is the answer

* That a connection was not made shows in a status's details alone, and a pod that passes on the status of
  another server has the same details. But they name the address that was tried, and a pod does not pass on
  that it cannot be reached itself. So they count only with the pod's own address.
* gRPC itself repeats a call once that a pod did not process, as HTTP/2 says (GOAWAY, REFUSED_STREAM). How
  that ends looks like a broken connection, and is treated as one.
* A request stream begins anew while gRPC asked for its first message only: then nothing was sent.
* Once a pod answered, or a part of its response was given to the caller, the attempt stands.
* Without `wait_for_ready` each pod is tried once at most; with it, in rounds, until the deadline. A call that
  waits is back every second: its channel may have been closed.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from peerdiscover._text import printable
from peerdiscover.discovery._changes import Pause
from peerdiscover.errors import NoPeersError
from peerdiscover.http._attempts import release
from peerdiscover.http._dispatch import choose
from peerdiscover.http._history import History, history_of, notes_of
from peerdiscover.http._retry import AttemptOutcome, FailedAttempt, RetryState
from peerdiscover.peers import Peer

if TYPE_CHECKING:
    from ._requests import RequestStream
    from ._state import ChannelState, Pod

_ATTEMPTS = 3  # pods that may have processed a call
_LONGEST_WAIT = 1.0  # seconds
_NOT_CONNECTED = "failed to connect to all addresses"
_MAX_DETAILS = 300  # characters of a status that a note shows: a pod may write much


@dataclass(slots=True, eq=False)
class Attempt:
    """A call on one pod."""

    pod: Pod
    started_at: float
    timeout: float | None
    """The seconds that are left, which gRPC ends at once if there are none; None: there is no deadline."""
    lease: Any

    def release(self, _: object = None) -> None:
        """End the picker's lease: the call on this pod ended."""
        lease, self.lease = self.lease, None
        release(lease)


def classify(details: str | None, target: str) -> AttemptOutcome:
    """Return what UNAVAILABLE with these details means, from a channel to this target."""
    if details is not None and details.startswith(_NOT_CONNECTED) and f" {target}: " in details:
        return AttemptOutcome.UNSENT
    return AttemptOutcome.MAYBE_PROCESSED


class Dispatch:
    """One call.

    * `state`: of its channel.
    * `method`: its full name, `/package.Service/Method`.
    * `timeout`: seconds for all attempts together, or None.
    * `waits`: whether it waits for pods (`wait_for_ready`).
    * `requests`: its request stream; None if the request is one message.
    * `now`: when it begins.
    """

    __slots__ = ("_deadline", "_last", "_method", "_retry_state", "_waits", "history", "requests", "state")

    def __init__(
        self,
        state: ChannelState,
        method: str,
        timeout: float | None,
        waits: bool | None,
        requests: RequestStream | None,
        now: float,
    ) -> None:
        self.state = state
        self._method = method
        self._deadline = math.inf if timeout is None else now + timeout
        self._waits = bool(waits)
        self.requests = requests
        self._retry_state: RetryState | None = None
        self._last: Exception | None = None
        self.history: History | None = None
        """What became of it; None until a pod answered."""
        state.budget.add_request(now)

    @property
    def _retry(self) -> RetryState:
        """Made when something fails: the usual call needs none."""
        if self._retry_state is None:
            self._retry_state = RetryState(
                self.state.budget,
                deadline=self._deadline,
                attempts=_ATTEMPTS,
                is_idempotent=lambda: self.state.is_idempotent(self._method),
                replayable=self.requests is None,
            )
        return self._retry_state

    def time_remaining(self, now: float) -> float | None:
        """Return the seconds until the deadline; None if there is none."""
        return None if self._deadline == math.inf else max(self._deadline - now, 0.0)

    def next(self, now: float) -> Attempt | Pause:
        """Return what to do now. If nothing is left to do, raise the last attempt's error; if there was no
        attempt, the error of its kind of channel for having no pod.
        """
        if self._retry_state is None:
            try:
                picked, lease = self.state.pick()
            except NoPeersError:
                return self._pause(now)
            attempt = self._attempt(picked, lease, now)
            if attempt.pod.begin(now):
                return attempt
            attempt.release()
        peer, lease = self._choose(now)
        if peer is None:
            return self._pause(now)
        attempt = self._attempt(peer, lease, now)
        attempt.pod.begin(now)
        return attempt

    def _attempt(self, peer: Peer, lease: Any, now: float) -> Attempt:
        try:
            pod = self.state.pod(peer)
        except BaseException:  # the channel was closed just now, or gRPC refuses its options
            release(lease)
            raise
        return Attempt(pod, now, None if self._deadline == math.inf else self._deadline - now, lease)

    def _choose(self, now: float) -> tuple[Peer | None, Any]:
        """Return a pod to try now, and the lease on it if the picker chose it."""
        state = self.state
        chosen = partial(choose, self._retry, state.pick, state.discovery)
        peer, lease = chosen(partial(state.is_connecting, now=now))
        return (peer, lease) if peer is not None or self._waits else chosen(lambda _: False)

    def _pause(self, now: float) -> Pause:
        peers = self.state.discovery.peers
        seconds = self._retry.pause(now, peers.others, random.random) if self._waits else None
        if seconds is not None:
            return Pause(min(seconds, _LONGEST_WAIT), peers.generation)
        if self._last is not None:
            self._explain(self._last, self._retry.end_reason)
            raise self._last
        code = StatusCode.DEADLINE_EXCEEDED if self._waits else StatusCode.UNAVAILABLE
        raise self.state.no_peers(code, f"{peers.service}: no peers available")

    def answered(self, attempt: Attempt) -> None:
        """The pod answered, or the caller gets a part of its response: there is no other attempt."""
        if self.history is None:
            self.history = history_of(attempt.pod.peer, self._retry_state)
        if not attempt.pod.is_ready:
            attempt.pod.is_ready = True
            self.state.discovery.report_success(attempt.pod.peer)

    def ended(self, attempt: Attempt, error: Any, code: StatusCode, details: str | None, now: float) -> bool:
        """The attempt ended with this status, as this error if it is one. Return whether there is another
        one; if there is none, the error's notes say why.
        """
        if code is not StatusCode.UNAVAILABLE:
            if code not in (StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED):
                self.answered(attempt)
            return False
        pod = attempt.pod
        outcome = classify(details, pod.target)
        pod.failed(now, connecting=outcome is AttemptOutcome.UNSENT)
        self.state.discovery.report_failure(pod.peer, error)
        if outcome is AttemptOutcome.UNSENT and self.requests is not None and self.requests.consumed:
            outcome = AttemptOutcome.REFUSED  # it was sent, not processed, and gRPC could not connect anew
        what = f"UNAVAILABLE: {printable((details or '')[:_MAX_DETAILS])}"
        failed = FailedAttempt(pod.peer, what, now - attempt.started_at, outcome.sent)
        why = self._retry.record(failed, outcome, now)
        if self.history is not None:
            why = "a part of the response was received"
        elif why is None and not self._waits and not self._untried():
            why = "each pod was tried, and it does not wait for pods (wait_for_ready)"
        self._last = error
        if why is not None:
            self._explain(error, why)
        return why is None

    def _untried(self) -> bool:
        tried = {failed.peer for failed in self._retry.failed}
        return any(peer not in tried for peer in self.state.discovery.peers.others)

    def _explain(self, error: BaseException, why: str) -> None:
        for note in (*notes_of(self._retry.failed), f"not retried: {why}"):
            error.add_note(note)
