"""The exchange of one question: which server to ask next, how, and for how long. No socket, no clock.

An `Exchange` says which `Transmission` comes next; a driver sends it and reports what happened.

Invariants:

* Each transmission has a new socket and a new random id: a retry from the same port can hit a stale
  conntrack entry, and two queries on one socket race in it.
* UDP with EDNS comes first. A lost datagram is repeated after 0.4 s, then after twice as long each time,
  until the time is up. A late answer still counts: a slow server is not a dead one.
* A server that does not understand EDNS is asked without it. One that was silent for two rounds is asked
  once over TCP and once without EDNS, since datagrams, or those with EDNS, may be lost on the way; if only
  TCP helps, TCP comes first next time.
* `options use-vc` asks over TCP first, `timeout:` bounds the wait for a datagram, and `attempts:` says how
  often a server is asked that refuses (resolv.conf(5)).
* After `MAX_GUESSES` datagrams with a wrong id only TCP counts: someone is guessing ids. (Letters of random
  case in the question would be another guard; servers that compare names by case would deny the name.)
* A truncated reply is fetched over TCP, from at most two servers; if TCP does not work, the reply counts as
  it is, with a note. What was too long last time is asked over TCP at once, until it is shorter or TCP fails.
* NXDOMAIN and NODATA are answers and end the exchange. SERVFAIL, REFUSED and an unreachable server are not:
  the next server is asked, and each such server at most twice, with a pause in between.
* What does not answer our question is ignored. Servers that answered last time are asked first.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from peerdiscover.sources._server import Server

from ._messages import EDNS_SIZE, FORMERR_LIKE, MismatchedReply, RcodeError, read, write
from ._remembered import ServerStats
from ._types import Question, Reply

FIRST_TIMEOUT = 0.4
"""Seconds for a server's first UDP reply: many times what a cluster's DNS takes."""
TCP_TIMEOUT = 1.5
"""Seconds for a reply over TCP: the kernel repeats a lost SYN after one."""
TCP_RETRY_TIMEOUT = 0.5
"""… from a server whose TCP failed last time."""
SILENT_ROUNDS = 2
"""After so many rounds without a reply a server is asked in other ways."""
MAX_GUESSES = 20
ROUND_INTERVAL = 0.2
"""Seconds between the starts of two rounds: CoreDNS refuses for about 0.3 s when it restarts."""
MAX_REFUSALS = 2
"""How often a server may refuse before it is left out, unless resolv.conf says so."""
MIN_TIMEOUT = 0.01
"""Seconds below which no transmission is worth a socket."""
_EXPLAINED = {
    "FORMERR": "FORMERR (it does not understand the question)",
    "NOTIMP": "NOTIMP (it does not support the question)",
}


@dataclass(frozen=True, slots=True)
class Transmission:
    """One question, sent once to one server, over TCP or UDP."""

    server: Server
    tcp: bool
    wire: bytes
    starts_at: float  # now, or after a pause
    ends_at: float  # until then a driver waits for the reply
    message_id: int  # the reply has to repeat it
    final: bool = False  # what comes for earlier ones counts no more


class Exchange:
    """The steps of one question. `current` is the transmission to make, or None once `reply` is set."""

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
        self.until = until  # late answers count until then
        self._stats = stats
        self._now = now
        self._bypass_cache = bypass_cache
        self._cut: Reply | None = None
        self._rcode = ""
        self._answered = ""  # over what
        self._guesses = Counter[Server]()
        self._max_refusals = stats.options.attempts or MAX_REFUSALS
        self._refusals = Counter[Server]()
        self._silent_for: dict[Server, float] = {}
        self._errors: dict[Server, str] = {}
        self._mismatches: dict[Server, Counter[str]] = {}
        self._transmissions = self._run()
        self._advance(now)

    # What a driver reports

    def begin(self, now: float) -> Transmission:
        """The current transmission, which is made now: if that is late, its time ends later, too."""
        due = self.current
        assert due is not None
        ends_at = max(now, min(now + due.ends_at - due.starts_at, self.until))
        self.current = replace(due, starts_at=now, ends_at=ends_at)
        return self.current

    def received(self, wire: bytes, now: float, transmission: Transmission) -> bool:
        """A message came for this transmission, maybe a late one. Returns whether that is done."""
        current, server = self.current, transmission.server
        if current is None or (current is not transmission and current.final):
            return True  # too late: it is settled, or a better transmission is in flight
        if not transmission.tcp and self._is_guessed(server):
            return True
        try:
            reply = read(wire, self.question, transmission.message_id)
        except MismatchedReply as mismatch:
            self._mismatches.setdefault(server, Counter())[str(mismatch)] += 1
            if not transmission.tcp:
                return self._count_guess(wire, transmission, now)
            if current is transmission:
                self._attempt_failed(server, f"over TCP: {mismatch}", now)
        except RcodeError as refused:
            if current is transmission:
                self._rcode = str(refused)
                self._attempt_failed(server, _EXPLAINED.get(self._rcode, self._rcode), now)
        else:
            self._answered = "TCP" if transmission.tcp else "UDP"
            self._stats.mark_up(server)
            if transmission.tcp:
                self._stats.mark_tcp(server, self.question, too_long=len(wire) > EDNS_SIZE)
            if reply.truncated and not transmission.tcp:
                self._cut = replace(reply, server=server)
            else:
                self.reply = replace(reply, server=server, asked=self._asked(server))
            self._advance(now)
        return True

    def _is_guessed(self, server: Server) -> bool:
        return self._guesses[server] >= MAX_GUESSES

    def _count_guess(self, wire: bytes, transmission: Transmission, now: float) -> bool:
        """A datagram does not answer. Returns whether to stop listening, since someone is guessing ids."""
        if int.from_bytes(wire[:2]) != transmission.message_id:
            self._guesses[transmission.server] += 1
        if not self._is_guessed(transmission.server):
            return False
        if self.current is transmission:
            self._advance(now)
        return True

    def timed_out(self, now: float) -> None:
        """No valid reply came for the current transmission."""
        assert self.current is not None
        server, seconds = self.current.server, self.current.ends_at - self.current.starts_at
        self._silent_for[server] = self._silent_for.get(server, 0.0) + seconds
        self._stats.mark_down(server)
        self._advance(now)

    def failed(self, error: OSError, now: float) -> None:
        """The current transmission could not be sent, or broke off."""
        assert self.current is not None
        refused, over = isinstance(error, ConnectionRefusedError), " (TCP)" if self.current.tcp else ""
        what = "connection refused" if refused else error.strerror or str(error) or type(error).__name__
        self._attempt_failed(self.current.server, what + over, now)

    # What follows

    def _asked(self, *more: Server) -> tuple[Server, ...]:
        current = (self.current.server,) if self.current else ()
        return tuple(dict.fromkeys((*self._silent_for, *self._errors, *current, *more)))

    def _attempt_failed(self, server: Server, why: str, now: float) -> None:
        self._errors[server] = why
        self._refusals[server] += 1
        self._stats.mark_down(server)
        self._advance(now)

    def _advance(self, now: float) -> None:
        self._now = now
        following = next(self._transmissions, None)
        if following is None and self.reply is None:
            self.reply = Reply.failed(self.question, self._failure_summary(), self._asked())
        elif following is None and self.reply is not None and self._mismatches:
            self.reply = replace(self.reply, ignored=self._ignored())
        self.current = following

    def _run(self) -> Iterator[Transmission]:
        """The transmissions, one by one. Between two of them the driver reports what happened."""
        longest = self._stats.options.timeout or float("inf")
        for turn in itertools.count():
            began = self._now
            left = [server for server in self._servers if self._refusals[server] < self._max_refusals]
            for server in left:
                if turn == SILENT_ROUNDS and server in self._silent_for:
                    yield from self._other_ways(server, longest)
                if self.reply is None and (turn == 0 or self.until - self._now >= MIN_TIMEOUT):
                    yield from self._one_server(server, min(FIRST_TIMEOUT * 2 ** min(turn, 16), longest))
                if self.reply is not None or self.until - self._now < MIN_TIMEOUT:
                    return
            if not left:
                return
            self._now = max(self._now, began + ROUND_INTERVAL)

    def _one_server(self, server: Server, seconds: float) -> Iterator[Transmission]:
        if self._is_guessed(server):
            yield self._over_tcp(server)
            return
        if self._bypass_cache or self._stats.prefers_tcp(server, self.question):
            # Some time is left for UDP, since a firewall may drop TCP silently.
            self._rcode = ""
            edns = server not in self._stats.udp_silent  # it may be EDNS that is lost
            yield self._over_tcp(server, edns=edns)
            if self.reply is not None or self._rcode not in {"", *FORMERR_LIKE}:
                return  # an answer, or a refusal that would come over UDP as well
            self._stats.no_tcp[server] = True
            self._stats.too_long.pop(self.question, None)
            self._stats.udp_silent.pop(server, None)
        for edns in True, False:
            self._rcode = ""
            yield self._over_udp(server, seconds, edns=edns)
            if self._cut is not None:
                yield from self._retry_truncated(self._cut, edns=edns)
            if self.reply is None and self._is_guessed(server):
                yield self._over_tcp(server)
                return
            if self.reply is not None or self._rcode not in FORMERR_LIKE:
                return
            if edns:
                self._refusals[server] -= 1  # asking without EDNS may help: no refusal yet

    def _other_ways(self, server: Server, longest: float) -> Iterator[Transmission]:
        """Over UDP the server was silent: ask over TCP, then without EDNS, in the time that is left."""
        yield self._over_tcp(server, edns=False)
        if self.reply is not None:
            if self._answered == "TCP" and self.reply.server == server:  # no datagram that came late
                self._stats.udp_silent[server] = True
            return
        self._stats.no_tcp[server] = True
        yield self._over_udp(
            server, min(FIRST_TIMEOUT * 2, longest, (self.until - self._now) / 2), edns=False
        )
        if self._cut is not None:
            yield from self._retry_truncated(self._cut, edns=False)

    def _retry_truncated(self, cut: Reply, *, edns: bool) -> Iterator[Transmission]:
        """Fetch a truncated reply over TCP, from the same server or from one other."""
        server, self._cut = cut.server, None
        assert server is not None
        for candidate in [server, *(s for s in self._servers if s != server)][:2]:
            yield self._over_tcp(candidate, edns=edns, final=True)
            if self.reply is not None:
                return
            self._stats.no_tcp[candidate] = True
        self._stats.mark_up(server)  # over UDP it answers
        why = self._errors.get(server, "no answer")
        note = (
            f"nameserver {server} truncated its answer, and TCP does not work there ({why}): "
            "open TCP port 53 to it, or the pods past the cut stay unknown"
        )
        self.reply = replace(cut, asked=self._asked(server), note=note)

    def _over_udp(self, server: Server, seconds: float, *, edns: bool) -> Transmission:
        message_id = int.from_bytes(os.urandom(2))
        wire = write(self.question, message_id, edns=edns)
        ends_at = max(self._now, min(self._now + seconds, self.until))
        return Transmission(server, False, wire, self._now, ends_at, message_id)

    def _over_tcp(self, server: Server, *, edns: bool = True, final: bool = False) -> Transmission:
        limit = TCP_RETRY_TIMEOUT if server in self._stats.no_tcp else TCP_TIMEOUT
        seconds = min(limit, (self.until - self._now) * 0.6)
        return replace(self._over_udp(server, seconds, edns=edns), tcp=True, final=final)

    def _ignored(self) -> tuple[str, ...]:
        """What was ignored. For a failed reply, `_failure_summary` has it."""
        asked = f"{self.question.kind.name} {self.question.name}"
        return tuple(
            f"{kinds.total()} replies ignored from {server}, which did not answer {asked}: {', '.join(kinds)}"
            for server, kinds in self._mismatches.items()
        )

    def _failure_summary(self) -> str:
        parts = []
        for server in dict.fromkeys((*self._errors, *self._silent_for)):
            did = [self._errors[server]] if server in self._errors else []
            if server in self._silent_for:
                seconds = f"{self._silent_for[server]:.1f}"
                did.append("no time was left to ask it" if seconds == "0.0" else f"no answer in {seconds} s")
            if kinds := self._mismatches.get(server):
                did.append(f"{kinds.total()} replies ignored: {', '.join(kinds)}")
            parts.append(f"{server}: {', '.join(did)}")
        return "; ".join(parts) or ("no time was left to ask" if self._servers else "no nameserver is known")
