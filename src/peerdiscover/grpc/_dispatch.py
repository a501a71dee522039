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
* Without `wait_for_ready` each pod is tried once at most; with it, in rounds, until the deadline.
"""

from __future__ import annotations

import math
import random
from functools import partial
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

from peerdiscover._text import printable
from peerdiscover.discovery._changes import Pause
from peerdiscover.errors import NoPeersError
from peerdiscover.http._attempts import release
from peerdiscover.http._history import notes_of
from peerdiscover.http._retry import AttemptOutcome, FailedAttempt, RetryState
from peerdiscover.peers import Peer

if TYPE_CHECKING:
    from ._requests import RequestStream
    from ._state import ChannelState, Pod

_ATTEMPTS = 3  # pods that may have processed a call
_NOT_CONNECTED = "failed to connect to all addresses"
_MAX_DETAILS = 300  # characters of a status that a note shows: a pod may write much


class Attempt:
    """A call on one pod. `timeout` is the seconds that are left, None if there is no deadline."""

    __slots__ = ("lease", "pod", "started_at", "timeout")

    def __init__(self, pod: Pod, started_at: float, timeout: float | None, lease: Any) -> None:
        self.pod = pod
        self.started_at = started_at
        self.timeout = timeout
        self.lease = lease

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

    __slots__ = ("_deadline", "_last", "_method", "_requests", "_retry_state", "_state", "_waits")

    def __init__(
        self,
        state: ChannelState,
        method: str,
        timeout: float | None,
        waits: bool | None,
        requests: RequestStream | None,
        now: float,
    ) -> None:
        self._state = state
        self._method = method
        self._deadline = math.inf if timeout is None else now + timeout
        self._waits = bool(waits)
        self._requests = requests
        self._retry_state: RetryState | None = None
        self._last: Exception | None = None
        state.budget.add_request(now)

    @property
    def _retry(self) -> RetryState:
        """Made when something fails: the usual call needs none."""
        if self._retry_state is None:
            self._retry_state = RetryState(
                self._state.budget,
                deadline=self._deadline,
                attempts=_ATTEMPTS,
                is_idempotent=lambda: self._state.is_idempotent(self._method),
                replayable=self._requests is None,
            )
        return self._retry_state

    def time_remaining(self, now: float) -> float | None:
        """Return the seconds until the deadline; None if there is none."""
        return None if self._deadline == math.inf else max(self._deadline - now, 0.0)

    def next(self, now: float) -> Attempt | Pause:
        """Return what to do now. If nothing is left to do, raise the last attempt's error; if there was no
        attempt, the error of its kind of channel for having no pod.
        """
        state, lease, pod = self._state, None, None
        if self._retry_state is None:
            try:
                peer, lease = state.pick()
            except NoPeersError:
                return self._pause(now)
            pod = state.free_pod(peer, now)
        if pod is None:
            release(lease)
            found, lease = self._choose(now)
            if found is None:
                return self._pause(now)
            pod = state.pod(found, now)
        return Attempt(
            pod, now, None if self._deadline == math.inf else max(self._deadline - now, 0.0), lease
        )

    def _choose(self, now: float) -> tuple[Peer | None, Any]:
        """Return a pod to try now, and the lease on it if the picker chose it."""
        picked: Peer | None = None
        lease: Any = None

        def pick() -> Peer:
            nonlocal picked, lease
            release(lease)
            lease = None
            picked, lease = self._state.pick()
            return picked

        choose = partial(self._retry.choose, pick, lambda: self._state.discovery.peers.others)
        peer = choose(partial(self._state.is_connecting, now=now))
        if peer is None and not self._waits:
            peer = choose(lambda _: False)
        if peer is not picked:
            release(lease)
            lease = None
        return peer, lease

    def _pause(self, now: float) -> Pause:
        peers = self._state.discovery.peers
        seconds = self._retry.pause(now, peers.others, random.random) if self._waits else None
        if seconds is not None:
            return Pause(seconds, peers.generation)
        if self._last is not None:
            self._explain(self._last, self._retry.end_reason)
            raise self._last
        code = StatusCode.DEADLINE_EXCEEDED if self._waits else StatusCode.UNAVAILABLE
        raise self._state.no_peers(code, f"{peers.service}: no peers available")

    def succeeded(self, attempt: Attempt) -> None:
        """The pod answered, or began to."""
        pod = attempt.pod
        if not pod.is_ready:
            pod.is_ready = True
            self._state.discovery.report_success(pod.peer)

    def failed(
        self,
        attempt: Attempt,
        error: Exception,
        code: StatusCode,
        details: str | None,
        now: float,
        *,
        received: bool = False,
    ) -> bool:
        """The attempt ended with this status, which is not OK. Return whether there is another one.

        `received` says that the caller has a part of the response. If there is no other attempt, the
        error's notes say why.
        """
        if code is not StatusCode.UNAVAILABLE:
            if code not in (StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED):
                self.succeeded(attempt)
            return False
        pod = attempt.pod
        outcome = classify(details, pod.target)
        pod.failed(now, connecting=outcome is AttemptOutcome.UNSENT)
        self._state.discovery.report_failure(pod.peer, error)
        if outcome is AttemptOutcome.UNSENT and self._requests is not None and self._requests.consumed:
            outcome = AttemptOutcome.REFUSED  # it was sent, not processed, and gRPC could not connect anew
        what = f"UNAVAILABLE: {printable((details or '')[:_MAX_DETAILS])}"
        failed = FailedAttempt(pod.peer, what, now - attempt.started_at, outcome.sent)
        why = self._retry.record(failed, outcome, now)
        if received:
            why = "a part of the response was received"
        elif why is None and not self._waits and not self._untried():
            why = "each pod was tried, and it does not wait for pods (wait_for_ready)"
        self._last = error
        if why is not None:
            self._explain(error, why)
        return why is None

    def _untried(self) -> bool:
        tried = {failed.peer for failed in self._retry.failed}
        return any(peer not in tried for peer in self._state.discovery.peers.others)

    def _explain(self, error: BaseException, why: str) -> None:
        for note in (*notes_of(self._retry.failed), f"not retried: {why}"):
            error.add_note(note)
