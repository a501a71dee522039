"""One request, from the client's call to what it gets: everything but waiting and calling.

A `Dispatch` returns the next step (an attempt, or a pause), is given its result, and says what the caller
gets. It is given the time, and does no I/O: the twins (`_sync`, `_async`) do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from peerdiscover.discovery._changes import Pause
from peerdiscover.errors import ConfigurationError, NoPeersError
from peerdiscover.peers import Peer

from ._attempts import Attempt, release
from ._bodies import body_of
from ._conversion import core_request
from ._history import with_history
from ._httpx import HttpxFlavor
from ._outcomes import as_core_error, classify, counts_as_pod_failure, is_lost_count, message_of
from ._retry import AttemptOutcome, FailedAttempt, RetryState, is_idempotent

if TYPE_CHECKING:
    import httpcore
    import httpx

    from ._state import TransportState

__all__ = ["Dispatch"]

_SMALL = 65536  # bytes: half of what Linux takes for a process that does not read yet


class Dispatch:
    """One request."""

    __slots__ = (
        "_body",
        "_cause",
        "_core_request",
        "_cut_at",
        "_deadline",
        "_generation",
        "_host",
        "_is_small",
        "_last_error",
        "_peer",
        "_port",
        "_replayable",
        "_request",
        "_retry_state",
        "_started_at",
        "_state",
        "library",
    )

    def __init__(self, state: TransportState, request: httpx.Request, now: float) -> None:
        library, self._host, self._port, named = state.validate(request)
        self._state = state
        self.library: HttpxFlavor = library
        self._last_error: Exception | None = None
        self._cause: Exception | None = None
        self._generation: int | None = None  # of the set that it paused with
        self._request = request
        self._core_request: httpcore.Request | None = None
        self._started_at = now
        extensions = request.extensions
        self._peer: Peer | None = extensions.get("peer", named)
        if self._peer is not None and not isinstance(self._peer, Peer):
            raise ConfigurationError(f"extensions={{'peer': {self._peer!r}}}: expected a Peer, as in `peers`")
        timeout = extensions.get("total_timeout", state.settings.total_timeout)
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise ConfigurationError(f"extensions={{'total_timeout': {timeout!r}}}: expected seconds above 0")
        self._cut_at: float = math.inf if timeout is None else now + timeout
        if timeout is None:
            timeout = extensions.get("timeout", {}).get("connect")
        state.budget.add_request(now)
        self._deadline: float = math.inf if timeout is None else now + timeout
        stream: Any = request.stream
        self._body, self._replayable = body_of(stream, library.api, library.core)
        is_bytes = isinstance(stream, library.api.ByteStream)
        self._is_small: bool = is_bytes and len(next(iter(stream))) <= _SMALL
        self._retry_state: RetryState | None = None

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

    def _is_idempotent(self) -> bool:
        request = self._request
        return is_idempotent(request.method, request.headers.raw, request.extensions.get("idempotent"))

    def next(self, now: float) -> Attempt | Pause:
        """Return what to do now; raises if there is no pod to try and no time to wait."""
        state, retry = self._state, self._retry_state
        connect_timeout = state.settings.connect_timeout
        lease: Any = None
        if self._peer is not None:
            peer = self._peer
        elif retry is None:
            try:
                peer, lease = state.pick()
            except NoPeersError:
                return self._pause(now)
            if state.pools.is_connecting(peer, now) or state.pools.is_full(peer):
                release(lease)
                found, lease = self._choose(now)
                peer = found or peer
        elif now >= self._deadline:
            raise self._no_peers_error(now)
        elif (spread := self._spread(now)) is not None:
            return spread
        else:
            found, lease = self._choose(now)
            if found is None:
                return self._pause(now)
            peer, connect_timeout = found, connect_timeout * retry.connect_timeout_factor
            self._generation = None
        deadline = state.attempt_deadline(now, self._cut_at)
        return state.pools.start_attempt(peer, now, deadline, connect_timeout, lease, self._is_small)

    def _choose(self, now: float) -> tuple[Peer | None, Any]:
        """Return a pod to try now, and the lease on it if the picker chose it."""
        picked, lease = None, None

        def pick() -> Peer:
            nonlocal picked, lease
            release(lease)
            lease = None
            picked, lease = self._state.pick()
            return picked

        state = self._state
        is_connecting = partial(state.pools.is_connecting, now=now)
        others = lambda: state.discovery.peers.others  # noqa: E731 - read when it is needed
        peer = self._retry.choose(pick, others, is_connecting, state.pools.is_full)
        if peer is picked:
            return peer, lease
        release(lease)
        return peer, None

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

    def request_for(self, attempt: Attempt) -> httpcore.Request:
        """Return the request as the pool takes it."""
        uses_pod_names = self._state.uses_pod_names(self._host)
        if self._core_request is None or uses_pod_names or attempt.deadline < math.inf:
            peer = attempt.pod.peer if uses_pod_names else None
            self._core_request = core_request(
                self.library.core, self._request, (self._host, self._port), self._body, peer, attempt
            )
        return self._core_request

    def failed(self, attempt: Attempt, error: BaseException, now: float) -> BaseException | None:
        """The attempt ended with this error. Return what the caller gets; None: go on."""
        state, library = self._state, self.library
        state.pools.end_attempt(attempt)
        error = as_core_error(error, library.core)
        if not isinstance(error, Exception) or (kind := library.map_exception(error)) is None:
            return error  # cancelled, interrupted, or the request's own body raised it
        peer = attempt.pod.peer
        outcome = classify(attempt, error, library.core)
        if attempt.connecting and now < attempt.deadline and outcome is not AttemptOutcome.NO_DESCRIPTORS:
            attempt.pod.last_connect_failure = now
        if not outcome.sent and not self._replayable and self._body.consumed:
            outcome = AttemptOutcome.REFUSED  # the pool began to send it and could not: the body is consumed
        if not self._had_too_little_time(attempt, now) and counts_as_pod_failure(
            attempt, error, outcome, library.core
        ):
            state.discovery.report_failure(peer, error)
        message = self._message(attempt, error)
        what = f"{kind.__name__}: {message}" if message else kind.__name__
        failed = FailedAttempt(peer, what, now - attempt.started_at, outcome.sent)
        self._last_error, self._cause = kind(message or what), error
        why = self._retry.record(failed, outcome, now)
        if self._peer is not None:
            why = "it was sent to this pod alone"
        if why is None:
            return None
        return self._with_history(why, now)

    def _had_too_little_time(self, attempt: Attempt, now: float) -> bool:
        """Whether `total_timeout` cut it before a pod had its connect timeout: the pod is not to blame."""
        is_last = attempt.deadline == self._deadline <= now
        return is_last and self._deadline - attempt.started_at < attempt.connect_timeout

    def answered(self, attempt: Attempt, response: httpcore.Response, now: float) -> bool:
        """The head of a response came. Return whether the caller gets it; else close it and go on."""
        state, peer = self._state, attempt.pod.peer
        state.discovery.report_success(peer)
        if response.status != 503 or not state.settings.retry_503 or self._peer is not None:
            return True
        after = next((v for k, v in response.headers if k.lower() == b"retry-after"), None)
        if after is None or not self._others_left(peer, now):
            return True
        what = f"503, Retry-After: {after.decode('latin-1')}"
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

    def response(
        self, attempt: Attempt, response: httpcore.Response, stream: type[Any], on_close: Callable[[], Any]
    ) -> httpx.Response:
        """Return what the caller gets."""
        failed = self._retry_state.failed if self._retry_state else []
        response.extensions["peerdiscover"] = {
            "peer": attempt.pod.peer,
            "attempts": len(failed) + 1,
            "failed": tuple(failed),
        }
        converted: httpx.Response = self.library.api.Response(
            status_code=response.status,
            headers=response.headers,
            stream=stream(response.stream, partial(self._body_failed, attempt), on_close),
            extensions=response.extensions,
        )
        return converted

    def _body_failed(self, attempt: Attempt, error: BaseException) -> Exception | None:
        """The body of a response ended with this error: it cannot be had again, and the pod failed."""
        error = as_core_error(error, self.library.core)
        kind = self.library.map_exception(error)
        if kind is None:
            return None
        if not attempt.pod.aborted and not is_lost_count(error):
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
            return self.library.no_peers(f"{error} (waited {now - self._started_at:.1f} s)")
        release(lease)
        service = self._state.discovery.peers.service
        return self.library.no_peers(f"{service}: no peer became available in time")

    def _with_history(self, why: str, now: float) -> Exception:
        assert self._last_error is not None
        error = with_history(self._last_error, self._retry.failed, now - self._started_at, why)
        error.__cause__ = self._cause
        return error
