"""The exchange of one question: whom to ask next, how, and for how long. No socket, no clock.

Rules of this room:

* An `Exchange` says which `Try` comes next; a driver makes it and tells how it went. Each try has a
  fresh socket and a fresh id from the operating system: a retry from the same port can hit a stale
  entry of conntrack, and two queries of one socket race in it.
* Over UDP with EDNS first. A lost datagram is repaired quickly: 0.4 s for the first try of a server,
  twice that in each round that follows, until the time is up. An answer that comes late counts all the
  same: a slow server is not a dead one.
* A server that does not understand EDNS is asked without it. A reply that is cut short is asked for
  over TCP, at most at two servers; where no TCP is to be had, the reply counts as it is, with a note.
* What was too long for UDP last time is asked over TCP at once, until it is shorter or TCP fails: to have
  a server cut a thousand records is work for nothing.
* NXDOMAIN and NODATA are answers and end the exchange. SERVFAIL, REFUSED and an unreachable server
  are not: the next server is asked, and each such server twice at most, with a pause in between.
* What is not an answer to our question is ignored, and the wait goes on.
* Servers that answered last time are asked first.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from peerdiscover.sources._server import Server

from ._messages import EDNS_SIZE, FORMERR_LIKE, MismatchedReply, RcodeError, read, write
from ._types import Question, Reply

__all__ = ["Exchange", "ServerStats", "Transmission"]

FIRST_TIMEOUT = 0.4
"""Seconds for the first UDP try of a server: many times what a cluster's DNS takes."""
TCP_TIMEOUT = 1.5
"""Seconds for a TCP try: the kernel sends a lost SYN again after one."""
TCP_RETRY_TIMEOUT = 0.5
"""… at a server whose TCP failed last time."""
ROUND_INTERVAL = 0.2
"""Seconds between the beginnings of two rounds: CoreDNS refuses for about 0.3 s when it restarts."""
MAX_REFUSALS = 2
"""How often a server is asked that refuses."""
MIN_TIMEOUT = 0.01
"""Seconds in which no try is worth a socket."""


class ServerStats:
    """What a source remembers about its nameservers. Safe to share: each step is one operation."""

    def __init__(self) -> None:
        self._failing: dict[Server, bool] = {}
        self.no_tcp: dict[Server, bool] = {}
        self.too_long: dict[Question, bool] = {}
        """Questions whose answers fit into no UDP datagram, when they came last."""

    def mark_up(self, server: Server) -> None:
        self._failing.pop(server, None)

    def mark_down(self, server: Server) -> None:
        self._failing[server] = True

    def snapshot(self) -> ServerStats:
        """The same memories, for a question whose outcome is to be nobody's concern."""
        copy = ServerStats()
        copy._failing, copy.no_tcp = dict(self._failing), dict(self.no_tcp)
        return copy

    def order(self, servers: Sequence[Server], *, rotate: bool = False) -> list[Server]:
        """Those that work first; `rotate`: another one of them than usual."""
        failing = set(self._failing)
        good = [server for server in servers if server not in failing]
        if rotate:
            good = good[1:] + good[:1]
        return good + [server for server in servers if server in failing]


@dataclass(frozen=True, slots=True)
class Transmission:
    """One question on its way to one server."""

    server: Server
    tcp: bool
    wire: bytes
    starts_at: float
    """When to send it: now, or after a pause."""
    ends_at: float
    """Until when to wait."""
    message_id: int


class Exchange:
    """The steps of one question. `attempt` is the try to be made, None when `reply` is there."""

    def __init__(
        self,
        question: Question,
        servers: Sequence[Server],
        stats: ServerStats,
        *,
        now: float,
        until: float,
        bypass_cache: bool = False,
    ) -> None:
        self.question = question
        self.reply: Reply | None = None
        self.current: Transmission | None = None
        self._servers = stats.order(tuple(dict.fromkeys(servers)), rotate=bypass_cache)
        self.until = until
        """Until when late answers count."""
        self._stats = stats
        self._now = now
        self._bypass_cache = bypass_cache
        self._cut: Reply | None = None
        self._rcode = ""
        self._refusals = Counter[Server]()
        self._silent_for: dict[Server, float] = {}
        self._errors: dict[Server, str] = {}
        self._mismatches: dict[Server, Counter[str]] = {}
        self._transmissions = self._run()
        self._advance()

    # What a driver tells

    def received(self, wire: bytes, now: float, attempt: Transmission) -> bool:
        """A message came for the present try, or one that timed out. Returns whether that try is over."""
        present = self.current
        if present is None or (present is not attempt and present.tcp):
            return True  # too late: it is settled, or something better is under way
        try:
            reply = read(wire, self.question, attempt.message_id)
        except MismatchedReply as junk:
            self._mismatches.setdefault(attempt.server, Counter())[str(junk)] += 1
            if not attempt.tcp:
                return False
            self._attempt_failed(attempt, f"over TCP: {junk}", now)
        except RcodeError as refused:
            if present is attempt:
                self._rcode = str(refused)
                self._attempt_failed(attempt, self._rcode, now)
        else:
            self._stats.mark_up(attempt.server)
            self._now = now
            if attempt.tcp:
                self._stats.no_tcp.pop(attempt.server, None)
                if len(wire) > EDNS_SIZE:
                    self._stats.too_long[self.question] = True
                else:
                    self._stats.too_long.pop(self.question, None)
            if reply.truncated and not attempt.tcp:
                self._cut = replace(reply, server=attempt.server)
            else:
                asked = dict.fromkeys((*self._asked, attempt.server))
                self.reply = replace(reply, server=attempt.server, asked=tuple(asked))
            self._advance()
        return True

    def timed_out(self, now: float) -> None:
        """Nothing that counts came for the present try."""
        attempt = self.current
        assert attempt is not None
        self._silent_for[attempt.server] = self._silent_for.get(attempt.server, 0.0) + (
            attempt.ends_at - attempt.starts_at
        )
        self._stats.mark_down(attempt.server)
        self._now = now
        self._advance()

    def failed(self, error: OSError, now: float) -> None:
        """The present try could not be made, or broke off."""
        attempt = self.current
        assert attempt is not None
        what = "connection refused" if isinstance(error, ConnectionRefusedError) else None
        what = what or error.strerror or str(error) or type(error).__name__
        self._attempt_failed(attempt, f"{what} (TCP)" if attempt.tcp else what, now)

    # What follows from it

    @property
    def _asked(self) -> tuple[Server, ...]:
        return tuple(
            dict.fromkeys(
                (*self._silent_for, *self._errors, *((self.current.server,) if self.current else ()))
            )
        )

    def _attempt_failed(self, attempt: Transmission, why: str, now: float) -> None:
        self._errors[attempt.server] = why
        self._refusals[attempt.server] += 1
        self._stats.mark_down(attempt.server)
        self._now = now
        self._advance()

    def _advance(self) -> None:
        following = next(self._transmissions, None)
        if following is None and self.reply is None:
            self.reply = Reply.failed(self.question, self._failure_summary(), self._asked)
        elif following is None and self.reply is not None and self._mismatches:
            self.reply = replace(self.reply, ignored=self._ignored())
        self.current = following

    def _run(self) -> Iterator[Transmission]:
        """The tries, one after the other. Between two of them the driver told how the last one went."""
        for turn in itertools.count():
            began = self._now
            for server in self._servers:
                if self._refusals[server] < MAX_REFUSALS:
                    starts = max(self._now, began)
                    yield from self._one_server(server, FIRST_TIMEOUT * 2**turn, starts)
                    if self.reply is not None:
                        return
                    if self.until - self._now < MIN_TIMEOUT:
                        return
            if all(self._refusals[server] >= MAX_REFUSALS for server in self._servers):
                return
            self._now = max(self._now, began + ROUND_INTERVAL)

    def _one_server(self, server: Server, seconds: float, starts: float) -> Iterator[Transmission]:
        if self._bypass_cache or self.question in self._stats.too_long:
            # Time is left for UDP, since TCP may be blocked without a word.
            refusals = self._refusals[server]
            yield self._transmission(server, self._tcp_seconds(server), starts, tcp=True)
            if self.reply is not None or self._server_refused(server, refusals):
                return
            self._stats.no_tcp[server] = True
            self._stats.too_long.pop(self.question, None)
            starts = self._now
        for edns in True, False:
            self._rcode = ""
            refusals = self._refusals[server]
            yield self._transmission(server, seconds, starts, edns=edns)
            if self._cut is not None:
                yield from self._retry_truncated(edns=edns)
            if self.reply is not None or self._rcode not in FORMERR_LIKE:
                return
            self._refusals[server] = refusals  # being asked in the wrong way is no refusal yet
            starts = self._now

    def _server_refused(self, server: Server, refusals: int) -> bool:
        """Whether the server itself said no, which it would say over UDP as well."""
        code, self._rcode = self._rcode, ""
        return self._refusals[server] > refusals and bool(code) and code not in FORMERR_LIKE

    def _retry_truncated(self, *, edns: bool) -> Iterator[Transmission]:
        """What came was cut short: the same over TCP, there or at one other server."""
        cut, self._cut = self._cut, None
        assert cut is not None
        assert cut.server is not None
        server = cut.server
        others = [s for s in self._servers if s != server]
        for candidate in [server, *others][:2]:
            yield self._transmission(candidate, self._tcp_seconds(candidate), self._now, tcp=True, edns=edns)
            if self.reply is not None:
                return
            self._stats.no_tcp[candidate] = True
        self._stats.mark_up(server)  # over UDP it answers
        why = self._errors.get(server, "no answer")
        self.reply = replace(
            cut,
            asked=(*self._asked, *(() if server in self._asked else (server,))),
            note=f"nameserver {server} cut its answer short, and TCP is not to be had there ({why}): "
            "open TCP port 53 to it, or the pods past the cut stay unseen",
        )

    def _tcp_seconds(self, server: Server) -> float:
        limit = TCP_RETRY_TIMEOUT if server in self._stats.no_tcp else TCP_TIMEOUT
        return min(limit, (self.until - self._now) * 0.6)

    def _transmission(
        self, server: Server, seconds: float, starts: float, *, tcp: bool = False, edns: bool = True
    ) -> Transmission:
        message_id = int.from_bytes(os.urandom(2))
        wire = write(self.question, message_id, edns=edns)
        ends = min(starts + seconds, self.until)
        return Transmission(server, tcp, wire, starts, max(ends, starts), message_id)

    def _ignored(self) -> tuple[str, ...]:
        """What came from the servers and was ignored; of a failed reply `_account` tells it."""
        asked = f"{self.question.kind.name} {self.question.name}"
        return tuple(
            f"{junk.total()} ignored from {server}, no answer to {asked}: {', '.join(junk)}"
            for server, junk in self._mismatches.items()
        )

    def _failure_summary(self) -> str:
        """What each server did."""
        parts = []
        for server in dict.fromkeys((*self._errors, *self._silent_for)):
            did = [self._errors[server]] if server in self._errors else []
            if server in self._silent_for:
                seconds = f"{self._silent_for[server]:.1f}"
                did.append("no time was left to ask it" if seconds == "0.0" else f"no answer in {seconds} s")
            if junk := self._mismatches.get(server):
                kinds = ", ".join(junk)
                did.append(f"{junk.total()} ignored: {kinds}")
            parts.append(f"{server}: {', '.join(did)}")
        return "; ".join(parts) or ("no time was left to ask" if self._servers else "no nameserver is known")
