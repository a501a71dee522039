"""Failover: one attempt on one pod, the next on another, in tenacity's idiom.

    for attempt in web.attempts(on=OSError, stop=stop_after_attempt(4)):
        with attempt as peer:
            sock = socket.create_connection(peer.sockaddr, timeout=1)

Invariants:

* Only what `on` matches is tried again; only the caller knows what is safe to repeat.
* Each attempt goes to a pod that was not tried yet, while there is one, without a wait. Once all were
  tried, `wait` says how long to pause, and all may be tried again. A change of the set ends the pause,
  and a peer that is new comes first.
* With a `Target` every attempt goes to that peer, so each is a round of its own. While the peer is not in
  the set, the attempt waits for it; a change of the peer ends a pause.
* If there is no peer, an attempt waits for one, at most `ready_timeout`.
* A matching failure is reported to the discovery. The last one is raised as itself, with a note for
  each attempt.
* `stop` and `wait` are tenacity's objects. `wait` counts rounds (how often all were tried), since it
  is asked between rounds.

`Failover` decides each step; the two iterators only wait.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypedDict

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError, NoPeersError
from peerdiscover.peers import Peer, PeerSet
from peerdiscover.pickers import Picker, pickable

from ._changes import Pause
from ._target import Target

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from peerdiscover.peers import View


class FailoverOptions(TypedDict, total=False):
    """How failover goes: see `Discovery.attempts`."""

    stop: StopBaseT | None
    wait: WaitBaseT | None
    picker: Picker | None
    key: str | bytes | None
    ordinal: int | None


class Reports(Protocol):
    """What failover reads of a discovery, and reports to it."""

    @property
    def peers(self) -> PeerSet: ...
    def report_failure(self, peer: Peer, error: BaseException | None = None) -> None: ...
    def report_success(self, peer: Peer) -> None: ...


@dataclass(eq=False)
class Failover:
    """The steps: `step` returns what to do next; the attempt it returns reports how it went."""

    discovery: Reports
    """Where the peers come from, and failures go."""
    _: KW_ONLY
    on: type[Exception] | tuple[type[Exception], ...]
    """The exceptions after which another attempt follows."""
    stop: StopBaseT | None
    """tenacity's; None: 30 s in all."""
    wait: WaitBaseT | None
    """tenacity's, asked between rounds; None: 0.1 to 5 s, exponential with jitter."""
    picker: Picker
    """Chooses among the pods not tried yet."""
    now: Callable[[], float]
    """The clock, in seconds."""
    view: Callable[[], View]
    """The set and its health."""
    no_peers_error: Callable[[], NoPeersError]
    """Makes the error for an attempt that found no peer."""
    ready_timeout: float
    """Seconds that an attempt waits for a peer."""
    target: Target | None = None
    """The one peer that all attempts go to, if there is one."""

    def __post_init__(self) -> None:
        import tenacity  # loaded here: it costs more than the rest of the library

        kinds = self.on if isinstance(self.on, tuple) else (self.on,)
        if not kinds or not all(isinstance(k, type) and issubclass(k, Exception) for k in kinds):
            raise ConfigurationError(
                f"attempts(on={quoted(self.on)}): expected an exception class or a tuple of them; "
                "cancellation and KeyboardInterrupt are never repeated"
            )
        for name, given in (("stop", self.stop), ("wait", self.wait)):
            if given is not None and not callable(given):
                raise ConfigurationError(
                    f"attempts({name}={quoted(given)}): expected one of tenacity's, such as "
                    "stop_after_attempt(3) or wait_fixed(1)"
                )
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_delay(30) if self.stop is None else self.stop,
            wait=tenacity.wait_random_exponential(0.1, max=5, min=0.1) if self.wait is None else self.wait,
        )
        self._attempts = tenacity.RetryCallState(self._retrying, None, (), {})
        self._rounds = tenacity.RetryCallState(self._retrying, None, (), {})
        self._attempts.start_time = self._rounds.start_time = self.now()
        self._future = tenacity.Future
        self._tried: set[Peer] = set()
        self._notes: list[str] = []
        self._finished = False
        self._open: Attempt | None = None
        self._pause: tuple[float, object] | None = None
        self._empty_since: float | None = None

    def step(self) -> Attempt | Pause | None:
        """An attempt to make, a pause to wait, or None at the end."""
        if self._open is not None:
            raise RuntimeError("the last attempt was not used: write `with attempt as peer:` in the loop")
        if self._finished:
            return None
        now, peers = self.now(), self.discovery.peers
        if self._pause is not None:
            until, watched = self._pause
            if now < until and self._watched() == watched:
                return Pause(until - now, peers.generation)
            self._pause = None
        peer = self._choose() if self.target is None else self.target.now()
        if peer is None:
            return self._wait_for_peer(now, peers)
        self._empty_since = None
        self._open = Attempt(self, peer, self._attempts.attempt_number, now)
        return self._open

    def _watched(self) -> object:
        """What ends a pause by changing: the target, or the set."""
        return self.discovery.peers.generation if self.target is None else self.target.now()

    def _choose(self) -> Peer | None:
        if not self._untried():  # a new round; after a change of the set, a peer that is new comes first
            self._tried.clear()
        candidates = pickable(self.view(), include_self=True)
        for _ in candidates:
            try:
                peer = self.picker.pick()
            except NoPeersError:
                return None
            if peer not in self._tried:
                return peer
        # The picker returns tried peers only: it may be one that always makes the same choice. Then any
        # other peer will do; the pause between rounds is taken in `_ended`, when no peer is untried.
        return next(iter(self._untried()), None)

    def _untried(self) -> list[Peer]:
        if self.target is None:
            candidates = pickable(self.view())
        else:  # one that moved during the attempt is untried
            target = self.target.now()
            candidates = () if target is None else (target,)
        return [p for p in candidates if p not in self._tried]

    def _wait_for_peer(self, now: float, peers: PeerSet) -> Pause:
        self._empty_since = now if self._empty_since is None else self._empty_since
        left = self._empty_since + self.ready_timeout - now
        if left <= 0:
            self._finished = True
            error = self.no_peers_error()
            raise self._with_notes(error if self.target is None else self.target.missing(error))
        return Pause(left, peers.generation)

    def _ended(self, attempt: Attempt, error: BaseException | None) -> bool:
        """An attempt ended. Returns whether to swallow its error, since another attempt follows."""
        self._open = None
        if error is None or not isinstance(error, self.on):
            self._finished = True
            if error is None:
                self.discovery.report_success(attempt.peer)
            return False
        now = self.now()
        self.discovery.report_failure(attempt.peer, error)
        self._tried.add(attempt.peer)
        seconds = now - attempt.began
        self._notes.append(f"attempt {attempt.number}: {attempt.peer!r}: {error!r} after {seconds:.3f} s")
        pause = 0.0 if self._untried() else self._end_round(error, now)
        attempts = self._attempts
        self._record(attempts, error, now)
        attempts.upcoming_sleep = pause
        if self._retrying.stop(attempts):
            self._finished = True
            self._with_notes(error)
            return False
        attempts.attempt_number += 1
        attempts.idle_for += pause
        if pause:
            self._pause = (now + pause, self._watched())
        return True

    def _end_round(self, error: BaseException, now: float) -> float:
        rounds = self._rounds
        self._record(rounds, error, now)
        seconds = float(self._retrying.wait(rounds))
        rounds.attempt_number += 1
        rounds.idle_for += seconds
        return seconds if math.isfinite(seconds) else 0.0

    def _record(self, state: RetryCallState, error: BaseException, now: float) -> None:
        state.outcome, state.outcome_timestamp = self._future(state.attempt_number), now
        state.outcome.set_exception(error)

    def _with_notes(self, error: BaseException) -> BaseException:
        for note in self._notes:
            error.add_note(note)
        return error


@dataclass(slots=True, eq=False)
class Attempt:
    """One attempt: `with attempt as peer:`, under asyncio and trio too."""

    _failover: Failover = field(repr=False)
    peer: Peer
    """The pod that it goes to."""
    number: int
    """The first attempt is number 1."""
    began: float = field(repr=False)

    def __enter__(self) -> Peer:
        return self.peer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._failover._ended(self, error)  # noqa: SLF001 - its own module


@dataclass(eq=False, repr=False)
class Attempts:
    """The iterator for threads."""

    _failover: Failover
    _pause: Callable[[Pause], None]

    def __iter__(self) -> Attempts:
        return self

    def __next__(self) -> Attempt:
        while isinstance(step := self._failover.step(), Pause):
            self._pause(step)
        if step is None:
            raise StopIteration
        return step


@dataclass(eq=False, repr=False)
class AsyncAttempts:
    """The iterator for asyncio and trio."""

    _failover: Failover
    _pause: Callable[[Pause], Awaitable[None]]

    def __aiter__(self) -> AsyncAttempts:
        return self

    async def __anext__(self) -> Attempt:
        while isinstance(step := self._failover.step(), Pause):
            await self._pause(step)
        if step is None:
            raise StopAsyncIteration
        return step
