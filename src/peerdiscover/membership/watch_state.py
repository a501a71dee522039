"""Who has the floor: a watch that tells by itself, or questions.

source                    | who has the floor
--------------------------|-----------------------------------------------------------------------
is asked                  | questions
tells by itself           | the watch, from when it is begun until it ends; then it is begun anew,
                          | after the wait that failures have
does both                 | the watch while it works. From its first failure on questions are asked,
                          | as of any source, and the watch goes on trying; when it works again, it
                          | has the floor. Where it ended, a question goes first, then it is begun anew

With a source that does both, a watch that fails is no failed answer: somebody else can be asked.
"""

from __future__ import annotations

__all__ = ["WatchState"]


class WatchState:
    """Whose turn it is. `tells` and `asked`: what the source does."""

    def __init__(self, *, tells: bool, asked: bool) -> None:
        self._tells = tells
        self.both: bool = tells and asked
        self._running = False
        self._ended = False
        self.watched: bool = False
        """The watch has the floor: there is nothing to ask."""
        self.down: str | None = None
        """Why the watch has lost the floor; None while it has it, or never had."""

    def start(self) -> None:
        """Begin, or begin again in the child of a fork: no watch runs there."""
        self.watched = self._running = self._ended = False

    def begin(self) -> None:
        """A question is due: a watch is begun instead where it is the watch's turn (`watched`)."""
        if self._tells and not self._running and not self._ended:
            self._running = self.watched = True
        self._ended = False

    def ended(self) -> None:
        """The watch ended."""
        self._running = self.watched = False
        self._ended = self.both

    def on_success(self) -> bool:
        """The watch told something. Returns whether it had lost the floor before."""
        had_lost = self.down is not None
        self.watched, self.down = True, None
        return had_lost

    def on_failure(self, why: str) -> bool:
        """The watch failed, and questions take over. Returns whether that is news."""
        news = self.down is None
        self.watched, self.down = False, why
        return news
