"""Whether the source is watched or asked at the moment.

source                    | which of the two
--------------------------|-----------------------------------------------------------------------
looks up                  | lookups
watches                   | the watch, from its start to its end; then it is started again, after
                          | the wait that failures have
does both                 | the watch while it works. From its first failure on lookups are made, as
                          | with any source, and the watch goes on trying; once it works again, lookups
                          | stop. If the watch ended, a lookup goes first, then it is started again

With a source that does both, a watch that fails is no failed answer: there is something else to ask.
"""

from __future__ import annotations


class WatchState:
    """Which of the two it is. `can_watch`, `can_lookup`: what the source does."""

    def __init__(self, *, can_watch: bool, can_lookup: bool) -> None:
        self._can_watch = can_watch
        self.both: bool = can_watch and can_lookup
        self._running = False
        self._ended = False
        self.watched: bool = False
        """Whether the watch delivers the answers, so that there is nothing to ask."""

    def start(self) -> None:
        """Begin, or begin again in the child of a fork: no watch runs there."""
        self.watched = self._running = self._ended = False

    def begin(self) -> None:
        """A lookup is due. If it is the watch's turn, that starts instead (`watched`)."""
        if self._can_watch and not self._running and not self._ended:
            self._running = self.watched = True
        self._ended = False

    def on_success(self) -> None:
        """The watch answered: lookups stop."""
        self.watched = True

    def on_failure(self) -> None:
        """The watch failed: lookups take over."""
        self.watched = False

    def on_end(self) -> None:
        self._running = self.watched = False
        self._ended = self.both
