"""One request, from the client's call to what it gets: everything but waiting and calling.

A `Dispatch` says the next step (an attempt, a pause), is told what came of it, and says what the caller gets.
The twins (`_sync`, `_async`) only do it.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Any

from peerdiscover.discovery._changes import Pause
from peerdiscover.errors import ConfigurationError, NoPeersError
from peerdiscover.peers import Peer

from ._attempts import Attempt, release
from ._httpx import HttpxFlavor
from ._outcomes import ReadOnce, classify, counts_as_pod_failure
from ._retry import AttemptOutcome, FailedAttempt, RetryState, is_idempotent
from ._state import TransportState

__all__ = ["Dispatch"]

_SMALL = 65536  # bytes: half of what Linux takes for a process that does not read yet
_NOTES = 10  # attempts that an error says, the first and the last ones: a long outage has hundreds


class Dispatch:
    """One request."""

    __slots__ = (
        "_began",
        "_body",
        "_cause",
        "_core_request",
        "_generation",
        "_host",
        "_last",
        "_peer",
        "_planned",
        "_port",
        "_replayable",
        "_request",
        "_small",
        "_state",
        "_until",
        "library",
    )

    def __init__(self, shared: TransportState, request: Any) -> None:
        library, self._host, self._port = shared.validate(request)
        self._state = shared
        self.library: HttpxFlavor = library
        self._last: Exception | None = None
        self._cause: Exception | None = None
        self._generation: int | None = None  # of the set that was waited with
        self._request = request
        self._core_request: Any = None
        ways, now = shared.ways, time.monotonic()
        self._began = now
        extensions = request.extensions
        self._peer: Peer | None = extensions.get("peer")
        if self._peer is not None and not isinstance(self._peer, Peer):
            raise ConfigurationError(
                f"extensions={{'peer': {self._peer!r}}}: a Peer is wanted, as in `peers`"
            )
        until = ways.total_timeout
        if until is None:
            until = extensions.get("timeout", {}).get("connect")
        shared.budget.request(now)
        self._until: float = math.inf if until is None else now + until
        self._replayable: bool = isinstance(request.stream, library.api.ByteStream)
        self._body: Any = request.stream if self._replayable else ReadOnce(request.stream, library.core)
        self._small: bool = self._replayable and len(next(iter(request.stream))) <= _SMALL
        self._planned: RetryState | None = None

    @property
    def _steps(self) -> RetryState:
        """Made when something fails: the usual request needs none."""
        if self._planned is None:
            self._planned = RetryState(
                self._state.budget,
                until=self._until,
                attempts=self._state.ways.attempts,
                repeatable=self._is_idempotent,
                replayable=self._replayable,
            )
        return self._planned

    def _is_idempotent(self) -> bool:
        request = self._request
        return is_idempotent(request.method, request.headers.raw, request.extensions.get("idempotent"))

    def next(self) -> Attempt | Pause:
        """What to do now; raises when there is nobody to try and no time to wait."""
        shared, plan, patience = self._state, self._planned, self._state.ways.connect_timeout
        if self._peer is not None:
            peer, lease, now = self._peer, None, time.monotonic()
        elif plan is None:
            now = self._began
            try:
                peer, lease = shared.pick()
            except NoPeersError:
                return self._pause(now)
            if shared.pods.is_connecting(peer):
                release(lease)
                found, lease = self._another()
                peer = found or peer
        elif time.monotonic() >= self._until:
            raise self._no_peers_error()
        elif (spread := self._spread()) is not None:
            return spread
        else:
            found, lease = self._another()
            now = time.monotonic()
            if found is None:
                return self._pause(now)
            peer, patience = found, patience * plan.connect_timeout_factor
            self._generation = None
        return shared.pods.begin(peer, now, shared.deadline(now, self._until), patience, lease, self._small)

    def _another(self) -> tuple[Peer | None, Any]:
        """One to try now, and the lease on it where the picker chose it."""
        picked, lease = None, None

        def pick() -> Peer:
            nonlocal picked, lease
            release(lease)
            lease = None
            picked, lease = self._state.pick()
            return picked

        shared = self._state
        peer = self._steps.choose(pick, lambda: shared.discovery.peers.others, shared.pods.is_connecting)
        if peer is picked:
            return peer, lease
        release(lease)
        return peer, None

    def _pause(self, now: float) -> Pause:
        peers = self._state.discovery.peers
        seconds = self._steps.pause(now, peers.others, random.random)
        if seconds is None:
            raise self._no_peers_error()
        self._generation = peers.generation
        return Pause(seconds, peers.generation)

    def _spread(self) -> Pause | None:
        """After a pause that news ended: a little more of it."""
        generation = self._state.discovery.peers.generation
        if self._generation is None or self._generation == generation:
            return None
        self._generation = None
        return Pause(self._steps.news(time.monotonic(), random.random), generation)

    def request_for(self, attempt: Attempt) -> Any:
        """The request as the pool takes it."""
        if self._core_request is None or self._state.ways.host == "peer" or attempt.deadline < math.inf:
            self._core_request = self._converted(attempt)
        return self._core_request

    def _converted(self, attempt: Attempt) -> Any:
        request, core = self._request, self.library.core
        url, headers, extensions = request.url, request.headers.raw, request.extensions
        if self._state.ways.host == "peer":
            peer = attempt.pod.peer
            name = peer.fqdn.rstrip(".") if peer.fqdn else peer.address
            host = f"{name}:{peer.port}" if peer.fqdn else peer.hostport
            headers = [(k, v) for k, v in headers if k.lower() != b"host"]
            headers.insert(0, (b"Host", host.encode("ascii")))
            extensions = {"sni_hostname": name, **extensions}
        if attempt.deadline < math.inf:
            timeouts = extensions.get("timeout") or {}
            left = attempt.deadline - attempt.began
            pool = timeouts.get("pool")
            extensions = {
                **extensions,
                "timeout": {**timeouts, "pool": left if pool is None else min(pool, left)},
            }
        return core.Request(
            method=request.method,
            url=core.URL(scheme=url.raw_scheme, host=self._host, port=self._port, target=url.raw_path),
            headers=headers,
            content=self._body,
            extensions=extensions,
        )

    def failed(self, attempt: Attempt, error: BaseException) -> BaseException | None:
        """The attempt ended with this. Returns what the caller is to get; None: go on."""
        shared, library = self._state, self.library
        shared.pods.end(attempt)
        if not isinstance(error, Exception) or (kind := library.map_exception(error)) is None:
            return error  # cancelled, interrupted, or the request's own body raised it
        now, peer = time.monotonic(), attempt.pod.peer
        fate = classify(attempt, error, library.core)
        if attempt.connecting and now < attempt.deadline:
            attempt.pod.last_connect_failure = now
        if not fate.sent and not self._replayable and self._body.consumed:
            fate = AttemptOutcome.REFUSED  # the pool began to send it once, in vain: the body is gone
        if not self._was_short(attempt, now) and counts_as_pod_failure(attempt, error, fate, library.core):
            shared.discovery.report_failure(peer, error)
        text = self._text(attempt, error)
        what = f"{kind.__name__}: {text}" if text else kind.__name__
        tried = FailedAttempt(peer, what, now - attempt.began, fate.sent)
        self._last, self._cause = kind(text or what), error
        why = self._steps.after(tried, fate, now)
        if self._peer is not None:
            why = "it is for this pod alone"
        if why is None:
            return None
        return self._with_history(self._last, why)

    def _was_short(self, attempt: Attempt, now: float) -> bool:
        """Whether `total_timeout` cut it before the pod had the time that a pod has: that blames nobody."""
        last = attempt.deadline == self._until <= now
        return last and self._until - attempt.began < attempt.connect_timeout

    def answered(self, attempt: Attempt, answer: Any) -> str | None:
        """The head of an answer came. None: it is the caller's; else go on, once it is closed."""
        shared, peer = self._state, attempt.pod.peer
        shared.discovery.report_success(peer)
        if answer.status != 503 or not shared.ways.retry_503 or self._peer is not None:
            return None
        after = next((v for k, v in answer.headers if k.lower() == b"retry-after"), None)
        if after is None or not self._others_left(peer):
            return None
        now = time.monotonic()
        tried = FailedAttempt(peer, f"503, Retry-After: {after.decode('latin-1')}", now - attempt.began, True)
        if self._steps.after(tried, AttemptOutcome.UNAVAILABLE, now) is not None:
            self._steps.failed.pop()  # it is the answer, and none before it
            return None
        return "503"

    def _others_left(self, peer: Peer) -> bool:
        """Whether there is another one to try now, without a pause: the answer at hand would be lost."""
        tried, in_doubt = (
            {peer, *(tried.peer for tried in self._steps.failed)},
            self._state.pods.is_connecting,
        )
        others = self._state.discovery.peers.others
        return any(other not in tried and not in_doubt(other) for other in others)

    def response(self, attempt: Attempt, answer: Any, stream: type[Any], over: Callable[[], Any]) -> Any:
        """What the caller gets."""
        failed, peer = self._planned.failed if self._planned else [], attempt.pod.peer
        answer.extensions["peerdiscover"] = {
            "peer": peer,
            "attempts": len(failed) + 1,
            "failed": tuple(failed),
        }
        return self.library.api.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=stream(answer.stream, lambda error: self._broke(attempt, error), over),
            extensions=answer.extensions,
        )

    def _broke(self, attempt: Attempt, error: BaseException) -> Exception | None:
        """The body of an answer ended with this: it cannot be had again, and the pod failed."""
        kind = self.library.map_exception(error)
        if kind is None:
            return None
        if not attempt.pod.cut:
            self._state.discovery.report_failure(attempt.pod.peer, error)
        return kind(f"{self._text(attempt, error)} (in the middle of the answer of {attempt.pod.peer!r})")

    def _text(self, attempt: Attempt, error: BaseException) -> str:
        """What it says, or why we did it ourselves."""
        if attempt.pod.cut:
            return f"the pod had left, and drain={self._state.ways.drain:g} s were over"
        return str(error)

    def _no_peers_error(self) -> Exception:
        seconds = time.monotonic() - self._began
        if self._last is not None:
            return self._with_history(self._last, self._steps.over)
        try:
            _, lease = self._state.pick()
        except NoPeersError as error:
            return self.library.no_peers(f"{error} (waited {seconds:.1f} s)")
        release(lease)
        return self.library.no_peers(f"{self._state.discovery.peers.service}: nobody to send it to in time")

    def _with_history(self, error: BaseException, why: str) -> Exception:
        """The error, with all that was tried."""
        failed = self._steps.failed
        seconds = time.monotonic() - self._began
        n = len(failed)
        where = ", ".join(dict.fromkeys(tried.peer.key for tried in failed))
        text = f"{error} ({n} attempt{'s' * (n != 1)} in {seconds:.3f} s on {where}; no other: {why})"
        told: Exception = type(error)(text)  # type: ignore[assignment]  # one of the library's
        notes = [f"attempt {number}: {tried}" for number, tried in enumerate(failed, 1)]
        if n > 2 * _NOTES:
            notes[_NOTES:-_NOTES] = [f"… {n - 2 * _NOTES} attempts more …"]
        for note in notes:
            told.add_note(note)
        told.__cause__ = self._cause
        return told
