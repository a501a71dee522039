"""The demo: what the library does, on an embedded headless Service.

Rules of this room:

* What is printed was measured in this very run; nothing is told that did not happen.
* Each step says in one line what it is about, and shows the code that a user would write.
* Loopback alone, no privileges; all that was started has ended when it returns.
"""

from __future__ import annotations

import json
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Self

from peerdiscover import Change, Discovery, NoPeersError, Peer, Policy, resolve
from peerdiscover.testing import HeadlessService

from . import FOUND, NOBODY
from ._output import lines, terminal

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]

_SERVICE = "web-headless.prod:http"
_SEEN_WITHIN = 10.0
"""Seconds that a restart may take to be seen; then the demo has failed, and says so."""


def run(arguments: Namespace) -> int:
    """`peerdiscover demo`. 1 where a request was lost, or a restart was not seen."""
    fast = arguments.fast
    # A lookup each time the TTL of 5 s is over, as in a cluster; for those in a hurry, several a second.
    policy = Policy(min_refresh=0.1, max_refresh=0.3) if fast else Policy()
    with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}, ttl=1 if fast else 5) as svc:
        return _Demo(svc, policy, pause=0.0 if fast else 0.8, apart=0.3 if fast else 1.2).run()


class _Demo:
    def __init__(self, svc: HeadlessService, policy: Policy, *, pause: float, apart: float) -> None:
        self._svc = svc
        self._policy = policy
        self._pause = pause
        self._apart = apart
        self._say = _Teller(terminal())
        self._good = True

    def run(self) -> int:
        began = time.monotonic()
        say, svc = self._say, self._svc
        say.title("A headless Service with three pods, on this machine alone")
        say.code('svc = HeadlessService("web-headless.prod", replicas=3)')
        say.out(f"its nameserver is {svc.nameserver}; each pod answers HTTP with its name")
        self._resolve()
        self._breathe()
        say.title("2. Discovery: the same, kept up to date in the background")
        say.code(f'with Discovery("{_SERVICE}", source=svc.source) as web:')
        with Discovery(_SERVICE, source=svc.source, policy=self._policy) as web:
            say.out(
                f"{len(web.peers)} pods, generation {web.peers.generation}; "
                f"asks again in {web.status.next_refresh:.1f} s"
            )
            for step in (self._round_robin, self._broadcast, self._ordinal, self._restart, self._explain):
                self._breathe()
                step(web)
        say.title(
            f"That was {time.monotonic() - began:.1f} s. In a cluster leave out source=: "
            "the pod's surroundings say whom to ask."
        )
        return FOUND if self._good else NOBODY

    def _resolve(self) -> None:
        say, svc = self._say, self._svc
        self._breathe()
        say.title("1. Resolve: a name goes in, every pod comes out")
        say.code(f'pods = resolve("{_SERVICE}", source=svc.source)')
        before, began = len(svc.queries), time.monotonic()
        pods = resolve(_SERVICE, source=svc.source)
        took = time.monotonic() - began
        say.out(*lines(pods))
        asked = svc.queries[before:]
        kinds = ", ".join(sorted({query.type for query in asked}))
        say.out(
            f"{len(pods)} pods by {_counted(len(asked), 'DNS question')} ({kinds}) in {took * 1000:.1f} ms"
        )

    def _round_robin(self, web: Discovery) -> None:
        self._say.title("3. Round-robin: one pod after the other")
        self._say.code("peer = web.round_robin().pick()", 'httpx.get(peer.url("/"))')
        answered = Counter(_ask(web.round_robin().pick()) for _ in range(9))
        shares = ", ".join(f"{pod} {times}" for pod, times in sorted(answered.items()))
        self._say.out(f"{_counted(sum(answered.values()), 'request')}, answered by: {shares}")

    def _broadcast(self, web: Discovery) -> None:
        self._say.title("4. Broadcast: all pods at once, with a receipt")
        self._say.code("receipt = web.broadcast(invalidate, timeout=2)")
        began = time.monotonic()
        receipt = web.broadcast(_ask, timeout=2)
        took = time.monotonic() - began
        self._say.out(
            f"answered: {_names(receipt.results)}; failed: {_names(receipt.errors)}; in {took * 1000:.1f} ms",
            f"complete for generation {receipt.generation}: {receipt.complete}",
        )
        self._good = self._good and receipt.complete

    def _ordinal(self, web: Discovery) -> None:
        self._say.title("5. Ordinal: that pod, whatever its address is today")
        self._say.code("leader = web.ordinal(0)")
        leader = web.ordinal(0)
        self._say.out(f"{leader!r}; it answers as {_ask(leader)}")

    def _restart(self, web: Discovery) -> None:
        say, before = self._say, web.ordinal(0)
        say.title("6. A rolling restart, while requests go on: a failed one is made again on another pod")
        say.code(
            "for attempt in web.attempts(on=(OSError, HTTPException)):",
            "    with attempt as peer:",
            "        answer = ask(peer)",
        )
        changes = web.changes(timeout=_SEEN_WITHIN)
        next(changes)  # what is there now
        with _Load(web) as load:
            time.sleep(self._apart)
            for ordinal in (2, 1, 0):  # as a StatefulSet does it: the last one first
                self._replace(web, ordinal, changes)
                time.sleep(self._apart)
        say.out(
            f"{load.sent} requests sent = {load.answered} answered + {load.failed} failed; "
            f"{load.again} of them needed a second pod"
        )
        after = web.ordinal(0)
        say.out(f"web.ordinal(0) was {before!r} and is {after!r}; it answers as {_ask(after)}")
        self._good = self._good and load.failed == 0 and load.sent == load.answered

    def _replace(self, web: Discovery, ordinal: int, changes: Iterator[Change]) -> None:
        old = web.ordinal(ordinal)
        self._svc.replace(ordinal)
        began = time.monotonic()
        new = next((new for change in changes for was, new in change.moved if was.key == old.key), None)
        took = time.monotonic() - began
        if new is None:
            self._say.out(f"{old.key} was restarted, and that was not seen in {took:.1f} s")
            self._good = False
        else:
            self._say.out(
                f"{old.key} restarted: {old.hostport} -> {new.hostport}, known {took * 1000:.0f} ms later"
            )

    def _explain(self, web: Discovery) -> None:
        self._say.title("7. Explain: who is in, who is out, and why")
        self._say.code("print(web.explain())")
        self._say.out(*web.explain().splitlines())

    def _breathe(self) -> None:
        """Time to read."""
        time.sleep(self._pause)


class _Load:
    """A client that sends one request after the other, and counts what becomes of them."""

    def __init__(self, web: Discovery) -> None:
        self._web = web
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, name="demo requests", daemon=True)
        self.sent = self.answered = self.failed = self.again = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._over.wait(0.005):
            self.sent += 1
            tries = 0
            try:
                for attempt in self._web.attempts(on=(OSError, HTTPException)):
                    tries += 1
                    with attempt as peer:
                        _ask(peer)
            except (OSError, HTTPException, NoPeersError):
                self.failed += 1
            else:
                self.answered += 1
                self.again += tries > 1


class _Teller:
    """Prints titles, code and results, with some colour on a terminal."""

    def __init__(self, console: Console | None) -> None:
        self._console = console

    def title(self, text: str) -> None:
        self._print(f"\n{text}", "bold cyan")

    def code(self, *texts: str) -> None:
        for text in texts:
            self._print(f"    {text}", "green")

    def out(self, *texts: str) -> None:
        for text in texts:
            self._print(f"  {text}".rstrip(), "")

    def _print(self, text: str, style: str) -> None:
        if self._console is None:
            print(text, flush=True)
            return
        from rich.text import Text  # only for terminals

        self._console.print(Text(text, style=style), soft_wrap=True)


def _ask(peer: Peer) -> str:
    """The name that a pod answers with."""
    connection = HTTPConnection(peer.address, peer.port, timeout=2)
    try:
        connection.request("GET", "/")
        return str(json.loads(connection.getresponse().read())["pod"])
    finally:
        connection.close()


def _names(peers: Iterable[Peer]) -> str:
    return ", ".join(peer.key for peer in peers) or "nobody"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
