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
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypedDict

from peerdiscover.errors import ConfigurationError, NoPeersError
from peerdiscover.peers import Peer, PeerSet
from peerdiscover.pickers import Picker, pickable

from ._changes import Pause
from ._target import Target

if TYPE_CHECKING:
    from tenacity import Future
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


class Failover:
    """The steps: `step` returns what to do next; the attempt it returns reports how it went.

    `discovery`: where the peers come from, and failures go.
    `on`: the exceptions after which another attempt follows.
    `stop`: tenacity's; default 30 s in all.
    `wait`: tenacity's, asked between rounds; default 0.1 to 5 s, exponential with jitter.
    `picker`: chooses among the pods not tried yet.
    `now`: the clock, in seconds.
    `view`: the set and its health.
    `no_peers_error`: makes the error for an attempt that found no peer.
    `ready_timeout`: seconds that an attempt waits for a peer.
    `target`: the one peer that all attempts go to; default none.
    """

    def __init__(
        self,
        discovery: Reports,
        *,
        on: type[Exception] | tuple[type[Exception], ...],
        stop: StopBaseT | None,
        wait: WaitBaseT | None,
        picker: Picker,
        now: Callable[[], float],
        view: Callable[[], View],
        no_peers_error: Callable[[], NoPeersError],
        ready_timeout: float,
        target: Target | None = None,
    ) -> None:
        import tenacity  # loaded here: it costs more than the rest of the library

        kinds = on if isinstance(on, tuple) else (on,)
        if not kinds or not all(isinstance(k, type) and issubclass(k, Exception) for k in kinds):
            raise ConfigurationError(
                f"attempts(on={on!r}): expected an exception class or a tuple of them; cancellation and "
                "KeyboardInterrupt are never repeated"
            )
        for name, given in (("stop", stop), ("wait", wait)):
            if given is not None and not callable(given):
                raise ConfigurationError(
                    f"attempts({name}={given!r}): expected one of tenacity's, such as stop_after_attempt(3) "
                    "or wait_fixed(1)"
                )
        self._discovery = discovery
        self._now = now
        self._view = view
        self._no_peers_error = no_peers_error
        self._ready_timeout = ready_timeout
        self._target = target
        self._on = kinds
        self._picker = picker
        self._stop = tenacity.stop_after_delay(30) if stop is None else stop
        self._wait = (
            tenacity.wait_random_exponential(multiplier=0.1, min=0.1, max=5) if wait is None else wait
        )
        retrying = tenacity.Retrying(stop=self._stop, wait=self._wait)
        self._state = tenacity.RetryCallState(retrying, None, (), {})
        self._rounds = tenacity.RetryCallState(retrying, None, (), {})
        self._future = tenacity.Future
        self._state.start_time = self._rounds.start_time = now()
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
        now, peers = self._now(), self._discovery.peers
        if self._pause is not None:
            until, watched = self._pause
            if now < until and self._watched() == watched:
                return Pause(until - now, peers.generation)
            self._pause = None
        peer = self._choose() if self._target is None else self._target.now()
        if peer is None:
            return self._wait_for_peer(now, peers)
        self._empty_since = None
        self._open = Attempt(self, peer, self._state.attempt_number, now)
        return self._open

    def _watched(self) -> object:
        """What ends a pause by changing: the target, or the set."""
        return self._discovery.peers.generation if self._target is None else self._target.now()

    def _choose(self) -> Peer | None:
        if not self._untried():  # a new round; after a change of the set, a peer that is new comes first
            self._tried.clear()
        candidates = pickable(self._view(), include_self=True)
        for _ in candidates:
            try:
                peer = self._picker.pick()
            except NoPeersError:
                return None
            if peer not in self._tried:
                return peer
        # The picker returns tried peers only: it may be one that always makes the same choice. Then any
        # other peer will do; the pause between rounds is taken in `_ended`, when no peer is untried.
        return next((p for p in self._untried()), None)

    def _untried(self) -> list[Peer]:
        if self._target is None:
            candidates = pickable(self._view())
        else:  # one that moved during the attempt is untried
            target = self._target.now()
            candidates = () if target is None else (target,)
        return [p for p in candidates if p not in self._tried]

    def _wait_for_peer(self, now: float, peers: PeerSet) -> Pause:
        self._empty_since = now if self._empty_since is None else self._empty_since
        left = self._empty_since + self._ready_timeout - now
        if left <= 0:
            self._finished = True
            error = self._no_peers_error()
            raise self._with_notes(error if self._target is None else self._target.missing(error))
        return Pause(left, peers.generation)

    def _ended(self, attempt: Attempt, error: BaseException | None) -> bool:
        """An attempt ended. Returns whether to swallow its error, since another attempt follows."""
        self._open = None
        if error is None or not isinstance(error, self._on):
            self._finished = True
            if error is None:
                self._discovery.report_success(attempt.peer)
            return False
        now = self._now()
        self._discovery.report_failure(attempt.peer, error)
        self._tried.add(attempt.peer)
        seconds = now - attempt.began
        self._notes.append(f"attempt {attempt.number}: {attempt.peer!r}: {error!r} after {seconds:.3f} s")
        pause = 0.0 if self._untried() else self._end_round(error, now)
        state = self._state
        state.outcome, state.outcome_timestamp = self._outcome(state.attempt_number, error), now
        state.upcoming_sleep = pause
        if self._stop(state):
            self._finished = True
            self._with_notes(error)
            return False
        state.attempt_number += 1
        state.idle_for += pause
        if pause:
            self._pause = (now + pause, self._watched())
        return True

    def _end_round(self, error: BaseException, now: float) -> float:
        rounds = self._rounds
        rounds.outcome, rounds.outcome_timestamp = self._outcome(rounds.attempt_number, error), now
        seconds = float(self._wait(rounds))
        rounds.attempt_number += 1
        rounds.idle_for += seconds
        return seconds if math.isfinite(seconds) else 0.0

    def _outcome(self, number: int, error: BaseException) -> Future:
        future = self._future(number)
        future.set_exception(error)
        return future

    def _with_notes(self, error: BaseException) -> BaseException:
        for note in self._notes:
            error.add_note(note)
        return error


class Attempt:
    """One attempt: `with attempt as peer:`, under asyncio and trio too."""

    __slots__ = ("_failover", "began", "number", "peer")

    def __init__(self, failover: Failover, peer: Peer, number: int, began: float) -> None:
        self._failover = failover
        self.peer: Peer = peer
        """The pod that it goes to."""
        self.number: int = number
        """The first attempt is number 1."""
        self.began: float = began

    def __enter__(self) -> Peer:
        return self.peer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        return self._failover._ended(self, error)  # noqa: SLF001 - its own module


class Attempts:
    """The iterator for threads."""

    def __init__(self, failover: Failover, pause: Callable[[Pause], None]) -> None:
        self._failover = failover
        self._pause = pause

    def __iter__(self) -> Attempts:
        return self

    def __next__(self) -> Attempt:
        while isinstance(step := self._failover.step(), Pause):
            self._pause(step)
        if step is None:
            raise StopIteration
        return step


class AsyncAttempts:
    """The iterator for asyncio and trio."""

    def __init__(self, failover: Failover, pause: Callable[[Pause], object]) -> None:
        self._failover = failover
        self._pause = pause

    def __aiter__(self) -> AsyncAttempts:
        return self

    async def __anext__(self) -> Attempt:
        while isinstance(step := self._failover.step(), Pause):
            await self._pause(step)  # type: ignore[misc]
        if step is None:
            raise StopAsyncIteration
        return step
