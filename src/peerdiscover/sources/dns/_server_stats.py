"""What a source remembers of its nameservers, from one lookup to the next.

Invariants:

* It is safe to share between threads: each change is one operation.
* It does not grow: of questions, the latest `MAX_QUESTIONS` are remembered.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress

from peerdiscover.sources._server import ResolverOptions, Server

from ._types import Question

MAX_QUESTIONS = 256


class ServerStats:
    """Which servers answer, and how they have to be asked. `options` are those of resolv.conf."""

    def __init__(self, options: ResolverOptions = ResolverOptions()) -> None:  # noqa: B008 - frozen
        self.options = options
        self._failing: dict[Server, bool] = {}
        self._rotation = itertools.count(1)
        self.no_tcp: dict[Server, bool] = {}
        self.udp_silent: dict[Server, bool] = {}
        """Servers that answered over TCP only: datagrams are lost on the way to them, or back."""
        self.too_long: dict[Question, bool] = {}
        """Questions whose latest answers did not fit into a UDP datagram."""

    def mark_up(self, server: Server) -> None:
        self._failing.pop(server, None)

    def mark_down(self, server: Server) -> None:
        self._failing[server] = True

    def mark_too_long(self, question: Question) -> None:
        self.too_long[question] = True
        if len(self.too_long) > MAX_QUESTIONS:
            with suppress(RuntimeError, StopIteration):  # another thread changes it at the same time
                self.too_long.pop(next(iter(self.too_long)), None)

    def prefers_tcp(self, server: Server, question: Question) -> bool:
        """Whether UDP would be a wasted question."""
        return self.options.use_tcp or question in self.too_long or server in self.udp_silent

    def snapshot(self) -> ServerStats:
        """A copy, for an optional question whose outcome must not count."""
        copy = ServerStats(self.options)
        copy._failing, copy.no_tcp = dict(self._failing), dict(self.no_tcp)
        copy.udp_silent = dict(self.udp_silent)
        return copy

    def order(self, servers: Sequence[Server], *, rotate: bool = False) -> list[Server]:
        """The working servers first. `rotate` begins with one after the first, each time with the next."""
        failing = set(self._failing)
        good = [server for server in servers if server not in failing]
        if rotate and len(good) > 1:
            turn = 1 + (next(self._rotation) - 1) % (len(good) - 1)
            good = good[turn:] + good[:turn]
        return good + [server for server in servers if server in failing]
