"""One request, from the client's call to what it gets: everything but waiting and calling.

A `Dispatch` returns the next step (an attempt, or a pause), is given its result, and says what the caller
gets. It is given the time, and does no I/O: drivers do. A subclass says what differs between libraries.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from peerdiscover._text import printable
from peerdiscover.discovery._changes import Pause
from peerdiscover.errors import NoPeersError
from peerdiscover.peers import Peer

from ._attempts import Attempt, release
from ._history import History, history_of, with_history
from ._outcomes import classify, counts_as_pod_failure, message_of
from ._retry import AttemptOutcome, FailedAttempt, RetryState

if TYPE_CHECKING:
    from peerdiscover.discovery._base import _BaseDiscovery

    from ._state import TransportState


SMALL = 65536  # bytes: half of what Linux takes for a process that does not read yet


def choose(
    retry: RetryState,
    pick: Callable[[], tuple[Peer, Any]],
    discovery: _BaseDiscovery[Any],
    is_connecting: Callable[[Peer], bool],
    is_full: Callable[[Peer], bool] = lambda _: False,
) -> tuple[Peer | None, Any]:
    """Return a pod to try now, and the lease on it if the picker chose it; see `RetryState.choose`."""
    picked, lease = None, None

    def picks() -> Peer:
        nonlocal picked, lease
        release(lease)
        lease = None
        picked, lease = pick()
        return picked

    peer = retry.choose(picks, lambda: discovery.peers.others, is_connecting, is_full)
    if peer is picked:
        return peer, lease
    release(lease)
    return peer, None


class Dispatch:
    """One request.

    * `state`: of its transport.
    * `now`: when it began.
    * `peer`: the one pod that it may go to; None: any.
    * `total_timeout`: seconds until the head of its response, or None; then no attempt begins after
      `connect_timeout` seconds, or None.
    * `is_small`: whether a pod's kernel takes it whole, though the pod may be slow to read it.
    * `replayable`: whether its body can be sent again.
    """

    _retry_state: RetryState | None = None
    _last_error: Exception | None = None
    _generation: int | None = None
    """Of the set that it paused with."""

    def __init__(
        self,
        state: TransportState,
        now: float,
        *,
        peer: Peer | None,
        total_timeout: float | None,
        connect_timeout: float | None,
        is_small: bool,
        replayable: bool,
    ) -> None:
        self._state = state
        self._started_at = now
        self._peer = peer
        self._total_timeout = total_timeout
        self._connect_timeout = connect_timeout
        self._is_small = is_small
        self._replayable = replayable

    # What a subclass says

    def _is_idempotent(self) -> bool:
        """Whether it may be sent again, though it may have been processed."""
        raise NotImplementedError

    def _known(self, error: BaseException) -> BaseException:
        """Return the error, or a better one for it."""
        return error

    def _error_class(self, error: BaseException) -> type[Exception] | None:
        """Return the class of the error that the caller gets for this one; None: it is not the library's."""
        raise NotImplementedError

    def _classify(self, attempt: Attempt, error: Exception) -> AttemptOutcome:
        """Return what the error means."""
        return classify(attempt, error, self._is_about_size)

    @staticmethod
    def _is_about_size(error: BaseException) -> bool:  # noqa: ARG004 - for subclasses
        """Whether the library refused to read a head that is so large."""
        return False

    def _is_timeout(self, error: Exception) -> bool:
        """Whether the pod took too long."""
        raise NotImplementedError

    def _is_ours(self, error: Exception) -> bool:  # noqa: ARG002 - for subclasses
        """Whether the error is this process's fault, whatever the attempt looks like."""
        return False

    def _retry_after(self, response: Any) -> str | None:
        """Return the `Retry-After` of a response whose status is 503; else None."""
        raise NotImplementedError

    def _no_peers(self, text: str) -> Exception:
        """Return the library's error for having no pod."""
        raise NotImplementedError

    # What is the same for all

    @property
    def _deadline(self) -> float:
        """When the last attempt may begin."""
        seconds = self._connect_timeout if self._total_timeout is None else self._total_timeout
        return math.inf if seconds is None else self._started_at + seconds

    @property
    def _retry(self) -> RetryState:
        """Made when something fails: the usual request needs none."""
        if self._retry_state is None:
            self._retry_state = RetryState(
                self._state.budget,
                deadline=self._deadline,
                attempts=self._state.settings.attempts,
                is_idempotent=self._is_idempotent,
                replayable=self._replayable,
            )
        return self._retry_state

    def next(self, now: float) -> Attempt | Pause:
        """Return what to do now; raises if there is no pod to try and no time to wait."""
        state, peer, lease = self._state, self._peer, None
        if peer is not None:
            state.budget.add_request(now)
        else:
            if self._retry_state is None:
                attempt = state.first_attempt(now, self._total_timeout, self._is_small)
                if attempt is not None:
                    return attempt
            elif now >= self._deadline:
                raise self._no_peers_error(now)
            elif (spread := self._spread(now)) is not None:
                return spread
            peer, lease = self._choose(now)
            if peer is None:
                return self._pause(now)
            self._generation = None
        deadline = math.inf if self._total_timeout is None else self._started_at + self._total_timeout
        if state.settings.attempt_timeout is not None:
            deadline = min(deadline, now + state.settings.attempt_timeout)
        attempt = state.pools.start_attempt(peer, now, deadline, lease, self._is_small)
        if self._retry_state is not None:
            attempt.connect_timeout_factor = self._retry_state.connect_timeout_factor
        return attempt

    def _choose(self, now: float) -> tuple[Peer | None, Any]:
        state = self._state
        is_connecting = partial(state.pools.is_connecting, now=now)
        return choose(self._retry, state.pick, state.discovery, is_connecting, state.pools.is_full)

    def _pause(self, now: float) -> Pause:
        peers = self._state.discovery.peers
        seconds = self._retry.pause(now, peers.others, random.random)
        if seconds is None:
            raise self._no_peers_error(now)
        self._generation = peers.generation
        return Pause(seconds, peers.generation)

    def _spread(self, now: float) -> Pause | None:
        """Return a little more of a pause that a change of the set ended."""
        generation = self._state.discovery.peers.generation
        if self._generation is None or self._generation == generation:
            return None
        self._generation = None
        return Pause(self._retry.spread(now, random.random), generation)

    def failed(self, attempt: Attempt, error: BaseException, now: float) -> BaseException | None:
        """The attempt ended with this error. Return what the caller gets; None: go on."""
        state, pod = self._state, attempt.pod
        pod.has_failed = True
        state.pools.end_attempt(attempt)
        error = self._known(error)
        if not isinstance(error, Exception) or (kind := self._error_class(error)) is None:
            return error  # cancelled, interrupted, or the request's own body raised it
        outcome = self._classify(attempt, error)
        if attempt.connecting and now < attempt.deadline and outcome is not AttemptOutcome.NO_DESCRIPTORS:
            pod.last_connect_failure = now
        if (
            not self._had_too_little_time(attempt, now)
            and not self._is_ours(error)
            and counts_as_pod_failure(attempt, outcome, self._is_timeout(error))
        ):
            state.discovery.report_failure(pod.peer, error)
        message = self._message(attempt, error)
        what = f"{kind.__name__}: {message}" if message else kind.__name__
        failed = FailedAttempt(pod.peer, what, now - attempt.started_at, outcome.sent)
        self._last_error = kind(message or what)
        self._last_error.__cause__ = error
        why = self._retry.record(failed, outcome, now)
        if self._peer is not None:
            why = "it was sent to this pod alone"
        elif state.pools.closed:
            why = "the transport was closed"
        return None if why is None else self._with_history(why, now)

    def _had_too_little_time(self, attempt: Attempt, now: float) -> bool:
        """Whether `total_timeout` cut it before a pod had its connect timeout: the pod is not to blame."""
        is_last = attempt.deadline == self._deadline <= now
        return is_last and self._deadline - attempt.started_at < attempt.connect_timeout

    def answered(self, attempt: Attempt, response: Any, now: float) -> bool:
        """The head of a response came. Return whether the caller gets it; else close it and go on."""
        state, peer = self._state, attempt.pod.peer
        state.discovery.report_success(peer)
        if not state.settings.retry_503 or self._peer is not None:
            return True
        after = self._retry_after(response)
        if after is None or not self._others_left(peer, now):
            return True
        what = f"503, Retry-After: {printable(after, 40)}"
        failed = FailedAttempt(peer, what, now - attempt.started_at, sent=True)
        if self._retry.record(failed, AttemptOutcome.UNAVAILABLE, now) is not None:
            self._retry.failed.pop()  # it is the response, and not a failure before it
            return True
        return False

    def _others_left(self, peer: Peer, now: float) -> bool:
        """Whether another pod can be tried without a pause, in which the response at hand would be lost."""
        tried = {peer, *(failed.peer for failed in self._retry.failed)}
        is_connecting = self._state.pools.is_connecting
        others = self._state.discovery.peers.others
        return any(other not in tried and not is_connecting(other, now) for other in others)

    def history(self, attempt: Attempt) -> History:
        """Return what became of the request, whose response came in this attempt."""
        return history_of(attempt.pod.peer, self._retry_state)

    def body_failed(self, attempt: Attempt, error: BaseException) -> Exception | None:
        """The body of a response ended with this error: it cannot be had again, and the pod failed.

        Return what the caller gets; None: the error is not the library's.
        """
        attempt.pod.has_failed = True
        error = self._known(error)
        kind = self._error_class(error)
        if kind is None or not isinstance(error, Exception):
            return None
        if not attempt.pod.aborted and not self._is_ours(error):
            self._state.discovery.report_failure(attempt.pod.peer, error)
        message = self._message(attempt, error)
        return kind(f"{message} (in the middle of the response of {attempt.pod.peer!r})")

    def _message(self, attempt: Attempt, error: BaseException) -> str:
        """Return what the error says, or why we cut the request ourselves."""
        if attempt.pod.aborted:
            return f"cut, since the pod left the set more than drain={self._state.settings.drain:g} s ago"
        return message_of(error)

    def _no_peers_error(self, now: float) -> Exception:
        if self._last_error is not None:
            return self._with_history(self._retry.end_reason, now)
        try:
            _, lease = self._state.pick()
        except NoPeersError as error:
            return self._no_peers(f"{error} (waited {now - self._started_at:.1f} s)")
        release(lease)
        service = self._state.discovery.peers.service
        return self._no_peers(f"{service}: no peer became available in time")

    def _with_history(self, why: str, now: float) -> Exception:
        assert self._last_error is not None
        return with_history(self._last_error, self._retry.failed, now - self._started_at, why)
