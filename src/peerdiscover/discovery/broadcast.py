"""Calling every peer at once, and the receipt for it.

Rules of this room:

* The peers called are those of one generation; who joined or left meanwhile stands in the receipt.
* Everybody who was called is in the receipt once: with a result, or with an error.
* Suspects are called, too: a broadcast that leaves out a living pod is a lie.
* What is not done by `timeout` is an error (`TimeoutError`). A thread cannot be stopped: its late
  result is discarded. A task is cancelled.

`Broadcast` says who is called and keeps the results; `call_in_threads` and `call_in_tasks` only call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Peer, PeerSet

__all__ = ["Broadcast", "Receipt", "call_in_tasks", "call_in_threads"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Receipt(Generic[T]):
    """What became of a broadcast."""

    results: Mapping[Peer, T]
    """What the call returned, for each peer that it returned for."""
    errors: Mapping[Peer, BaseException]
    """What it raised; `TimeoutError` for those that were not done in time."""
    generation: int
    """Of the set that was called."""
    joined: tuple[Peer, ...]
    """Peers that came while it ran (or moved, at their new address): not called."""
    left: tuple[Peer, ...]
    """Peers that went while it ran, called all the same."""

    @property
    def complete(self) -> bool:
        """Everybody who is there was called and none failed: no error, and nobody joined."""
        return not self.errors and not self.joined

    def raise_errors(self) -> None:
        """Raise the errors as one `ExceptionGroup` (`BaseExceptionGroup` where one is no `Exception`)."""
        if self.errors:
            n = len(self.errors)
            raise BaseExceptionGroup(
                f"{n} of {n + len(self.results)} peers failed in a broadcast", list(self.errors.values())
            )


class Broadcast(Generic[T]):
    """Who is to be called, and what came of it. Not for several threads at once: the driver locks."""

    def __init__(self, peers: PeerSet, *, limit: int = 32, include_self: bool = False) -> None:
        if limit < 1:
            raise ConfigurationError(f"broadcast(limit={limit!r}): at least one call at a time is needed")
        self._include_self = include_self
        self._peers = self._of(peers)
        self._generation = peers.generation
        self._waiting: Iterator[Peer] = iter(self._peers)
        self._results: dict[Peer, T] = {}
        self._errors: dict[Peer, BaseException] = {}
        self.over: bool = False
        """Nobody else is to be called, and no result counts any more."""
        self.width: int = min(limit, len(self._peers))
        """How many calls run at once."""

    def _of(self, peers: PeerSet) -> tuple[Peer, ...]:
        return tuple(peers) if self._include_self else peers.others

    @property
    def done(self) -> bool:
        """Whether everybody has answered or failed."""
        return len(self._results) + len(self._errors) == len(self._peers)

    def next(self) -> Peer | None:
        """The next one to call, or None."""
        return None if self.over else next(self._waiting, None)

    def returned(self, peer: Peer, value: T) -> None:
        """The call for `peer` returned."""
        if not self.over:
            self._results[peer] = value

    def raised(self, peer: Peer, error: BaseException) -> None:
        """The call for `peer` raised."""
        if not self.over:
            error.add_note(f"broadcast to {peer!r}")
            self._errors[peer] = error

    def receipt(self, after: PeerSet, timeout: float | None) -> Receipt[T]:
        """End it; `after` is the set as it is now."""
        self.over = True
        for peer in self._peers:
            if peer not in self._results and peer not in self._errors:
                self._errors[peer] = TimeoutError(f"{peer!r} was not done in {timeout} s")
        now_there, called = set(self._of(after)), set(self._peers)
        return Receipt(
            results=MappingProxyType({p: self._results[p] for p in self._peers if p in self._results}),
            errors=MappingProxyType({p: self._errors[p] for p in self._peers if p in self._errors}),
            generation=self._generation,
            joined=tuple(peer for peer in self._of(after) if peer not in called),
            left=tuple(peer for peer in self._peers if peer not in now_there),
        )


def call_in_threads(broadcast: Broadcast[T], call: Callable[[Peer], T], timeout: float | None) -> None:
    """Call everybody, each in one of `width` threads; back when all are done, or after `timeout` seconds."""
    state = threading.Condition()

    def work() -> None:
        while True:
            with state:
                peer = broadcast.next()
            if peer is None:
                return
            try:
                value = call(peer)
            except BaseException as error:  # noqa: BLE001 - all of it is the caller's
                with state:
                    broadcast.raised(peer, error)
                    state.notify_all()
            else:
                with state:
                    broadcast.returned(peer, value)
                    state.notify_all()

    # Daemons: a call that never ends must not keep the process from ending.
    workers = [
        threading.Thread(target=work, name=f"peerdiscover-broadcast-{i}", daemon=True)
        for i in range(broadcast.width)
    ]
    end = None if timeout is None else time.monotonic() + timeout
    for worker in workers:
        worker.start()
    with state:
        try:
            state.wait_for(lambda: broadcast.done, None if end is None else max(0.0, end - time.monotonic()))
        finally:
            broadcast.over = broadcast.over or not broadcast.done
    if broadcast.done:
        for worker in workers:
            worker.join()


async def call_in_tasks(
    broadcast: Broadcast[T], call: Callable[[Peer], Awaitable[T]], timeout: float | None
) -> None:
    """Call everybody, each in one of `width` tasks; return when all are done, or after `timeout` seconds."""
    import anyio
    from anyio.lowlevel import checkpoint_if_cancelled

    cancelled = anyio.get_cancelled_exc_class()

    async def work() -> None:
        while (peer := broadcast.next()) is not None:
            try:
                value = await call(peer)
            except cancelled as error:
                await checkpoint_if_cancelled()
                broadcast.raised(peer, error)  # the call's own doing: it awaited what another cancelled
            except Exception as error:  # noqa: BLE001 - whatever a call raises belongs to the caller
                broadcast.raised(peer, error)
            else:
                broadcast.returned(peer, value)

    with anyio.move_on_after(timeout):
        async with anyio.create_task_group() as tasks:
            for _ in range(broadcast.width):
                tasks.start_soon(work)
