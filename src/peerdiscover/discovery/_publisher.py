"""What a discovery makes known: log lines, and calls of the subscribers' callbacks.

Invariants:

* Both are collected with the lock held, and run without it. So user code may call anything.
* Whatever user code raises is logged, and stops nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from logging import Logger, getLogger
from typing import TYPE_CHECKING

from peerdiscover.peers import Change, PeerSet

from ._changes import ChangeCursor

if TYPE_CHECKING:
    from peerdiscover.membership import Membership

log: Logger = getLogger("peerdiscover")

Callback = Callable[[Change], object]


class Publisher:
    """The subscribers of one discovery. The caller holds the lock for everything but `run`."""

    def __init__(self, service: str, propagate: tuple[type[BaseException], ...]) -> None:
        self._service = service
        self._propagate = propagate
        self._subscribers: dict[object, tuple[Callback, ChangeCursor]] = {}

    def subscribe(self, callback: Callback, peers: PeerSet) -> object:
        """Have `callback` called for every change to the set after `peers`; returns a token for the end."""
        token = object()
        self._subscribers[token] = (callback, ChangeCursor(peers))
        return token

    def unsubscribe(self, token: object) -> None:
        """End a subscription. May be called twice."""
        self._subscribers.pop(token, None)

    def clear(self) -> None:
        self._subscribers.clear()

    def has_pending(self, core: Membership, peers: PeerSet) -> bool:
        """Whether there is something to log or to call."""
        return bool(core.pending_logs) or any(
            cursor.last is not peers for _, cursor in self._subscribers.values()
        )

    def collect(self, core: Membership, peers: PeerSet) -> list[Callable[[], object]]:
        """Everything to log and then to call, for `run`. It counts as done."""
        due = self.collect_logs(core)
        for token, (callback, cursor) in self._subscribers.items():
            if (change := cursor.advance(peers)) is not None:
                due.append(partial(self._notify, token, callback, change))
        return due

    def collect_logs(self, core: Membership) -> list[Callable[[], object]]:
        """Everything to log, for `run`. It counts as done."""
        due: list[Callable[[], object]] = [
            partial(log.log, level, "%s", text) for level, text in core.pending_logs
        ]
        core.pending_logs.clear()
        return due

    def run(self, due: list[Callable[[], object]]) -> None:
        """Run user code: the callbacks, and the handlers of the log. Called without the lock."""
        for act in due:
            try:
                act()
            except self._propagate:
                raise
            except BaseException:  # SystemExit, too: it would end the refresher without a word
                with suppress(Exception):
                    log.exception("%s: a callback for changes, or a log handler, failed", self._service)

    def _notify(self, token: object, callback: Callback, change: Change) -> None:
        if token in self._subscribers:  # an earlier callback may have unsubscribed it
            callback(change)
