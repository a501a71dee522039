"""What a source remembers of its nameservers and of names, from one lookup to the next.

Invariants:

* It is safe to share between threads: each change is one operation, or its order does not matter.
* It does not grow: what there may be many of is kept by `remember`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from peerdiscover.sources._server import ResolverOptions, Server

from ._types import Question
from ._zonal import Zonal

MAX_QUESTIONS = 256

K = TypeVar("K")
V = TypeVar("V")


def remember(memory: dict[K, V], key: K, value: V, most: int) -> None:
    """Make it the latest of at most `most`."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > most:
        with suppress(RuntimeError, StopIteration):  # another thread changes it at the same time
            memory.pop(next(iter(memory)), None)


@dataclass(slots=True)
class NameHistory:
    """What later lookups of a name need to know about earlier ones."""

    skip_srv: int = 0
    """How many lookups to come leave SRV out, since it brought nothing while A or AAAA did."""
    srv_failures: int = 0
    """In how many lookups in a row SRV failed while A or AAAA answered."""
    plain_family: int | None = None
    """The family of the pods without hostnames."""
    failures: dict[int | str, int] = field(default_factory=dict)
    """In how many lookups in a row a family (4, 6) or a target's name was not answered, while others were."""
    zonal: dict[str, Zonal] = field(default_factory=dict)
    """By topology zone."""


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

    def mark_tcp(self, server: Server, question: Question, *, too_long: bool) -> None:
        """The server answered over TCP; `too_long`: no datagram would have held it."""
        self.no_tcp.pop(server, None)
        if too_long:
            remember(self.too_long, question, True, MAX_QUESTIONS)
        else:
            self.too_long.pop(question, None)

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
