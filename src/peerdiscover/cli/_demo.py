"""The demo: what the library does, on an embedded headless Service.

Invariants:

* Everything printed was measured in this run, and happened.
* Each step says in one line what it is about, and shows the code that a user would write.
* It needs loopback and no privileges, and has stopped everything it started when it returns.
"""

from __future__ import annotations

import json
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Self

from peerdiscover import Change, Discovery, NoPeersError, Peer, Policy, resolve
from peerdiscover._text import counted
from peerdiscover.testing import HeadlessService

from . import FOUND, NO_PEERS
from ._output import lines, show

_SERVICE = "web-headless.prod:http"
_RESTART_DEADLINE = 10.0
"""Seconds until the restart of a pod must have been noticed; after that the demo fails, and says so."""


def run(arguments: Namespace) -> int:
    """`peerdiscover demo`. Returns 1 if a request was lost or a restart went unnoticed."""
    fast = arguments.fast
    # One lookup each time the TTL of 5 s expires, as in a cluster; with --fast, several a second.
    policy = Policy(min_refresh=0.1, max_refresh=0.3) if fast else Policy()
    with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}, ttl=1 if fast else 5) as svc:
        return _Demo(svc, policy, pause=0.0 if fast else 0.8, interval=0.3 if fast else 1.2).run()


@dataclass
class _Demo:
    svc: HeadlessService
    policy: Policy
    pause: float
    """Seconds that the reader gets before each step."""
    interval: float
    """Seconds between two restarts."""
    succeeded: bool = True

    def run(self) -> int:
        began = time.monotonic()
        svc = self.svc
        _title("A headless Service with three pods, all on this machine")
        _code('svc = HeadlessService("web-headless.prod", replicas=3)')
        _out(f"its nameserver is {svc.nameserver}; each pod answers HTTP requests with its name")
        self._resolve()
        self._pause_to_read()
        _title("2. Discovery: the same set, kept up to date in the background")
        _code(f'with Discovery("{_SERVICE}", source=svc.source) as web:')
        with Discovery(_SERVICE, source=svc.source, policy=self.policy) as web:
            _out(
                f"{len(web.peers)} pods, generation {web.peers.generation}; "
                f"the next lookup is in {web.status.next_refresh:.1f} s"
            )
            for step in (self._round_robin, self._broadcast, self._ordinal, self._restart, self._explain):
                self._pause_to_read()
                step(web)
        _title(
            f"That took {time.monotonic() - began:.1f} s. In a cluster, leave out source=: "
            "the pod's own configuration names the nameserver."
        )
        return FOUND if self.succeeded else NO_PEERS

    def _resolve(self) -> None:
        svc = self.svc
        self._pause_to_read()
        _title("1. Resolve: from a name to all its pods")
        _code(f'pods = resolve("{_SERVICE}", source=svc.source)')
        before, began = len(svc.queries), time.monotonic()
        pods = resolve(_SERVICE, source=svc.source)
        took = time.monotonic() - began
        _out(*lines(pods))
        asked = svc.queries[before:]
        kinds = ", ".join(sorted({query.type for query in asked}))
        _out(
            f"{len(pods)} pods from {counted(len(asked), 'DNS query', 'DNS queries')} ({kinds}) "
            f"in {took * 1000:.1f} ms"
        )

    def _round_robin(self, web: Discovery) -> None:
        _title("3. Round-robin: one pod after the other")
        _code("peer = web.round_robin().pick()", 'httpx.get(peer.url("/"))')
        answered = Counter(_ask(web.round_robin().pick()) for _ in range(9))
        shares = ", ".join(f"{pod} {times}" for pod, times in sorted(answered.items()))
        _out(f"{counted(sum(answered.values()), 'request')}, answered by: {shares}")

    def _broadcast(self, web: Discovery) -> None:
        _title("4. Broadcast: call all pods at once, and get a receipt")
        _code("receipt = web.broadcast(invalidate, timeout=2)")
        began = time.monotonic()
        receipt = web.broadcast(_ask, timeout=2)
        took = time.monotonic() - began
        _out(
            f"answered: {_names(receipt.results)}; failed: {_names(receipt.errors)}; in {took * 1000:.1f} ms",
            f"complete for generation {receipt.generation}: {receipt.complete}",
        )
        self.succeeded = self.succeeded and receipt.complete

    def _ordinal(self, web: Discovery) -> None:
        _title("5. Ordinal: one particular pod, whatever its address is")
        _code("first = web.ordinal(0)")
        first = web.ordinal(0)
        _out(f"{first!r} answers as {_ask(first)}")

    def _restart(self, web: Discovery) -> None:
        before = web.ordinal(0)
        _title("6. A rolling restart under load: a request that fails is sent again to another pod")
        _code(
            "for attempt in web.attempts(on=(OSError, HTTPException)):",
            "    with attempt as peer:",
            "        answer = ask(peer)",
        )
        changes = web.changes(timeout=_RESTART_DEADLINE)
        next(changes)  # the first change adds the pods that are there already
        with _Load(web) as load:
            time.sleep(self.interval)
            for ordinal in (2, 1, 0):  # as a StatefulSet does: the highest ordinal first
                self._replace(web, ordinal, changes)
                time.sleep(self.interval)
        _out(
            f"{load.sent} requests sent = {load.answered} answered + {load.failed} failed; "
            f"{load.retried} of them needed another pod"
        )
        after = web.ordinal(0)
        _out(f"web.ordinal(0) was {before!r}, and is now {after!r}, which answers as {_ask(after)}")
        self.succeeded = self.succeeded and load.failed == 0 and load.sent == load.answered

    def _replace(self, web: Discovery, ordinal: int, changes: Iterator[Change]) -> None:
        old = web.ordinal(ordinal)
        self.svc.replace(ordinal)
        began = time.monotonic()
        new = next((new for change in changes for was, new in change.moved if was.key == old.key), None)
        took = time.monotonic() - began
        if new is None:
            _out(f"{old.key} was restarted, and discovery did not notice it in {took:.1f} s")
            self.succeeded = False
        else:
            _out(f"{old.key} restarted: {old.hostport} -> {new.hostport}, noticed after {took * 1000:.0f} ms")

    def _explain(self, web: Discovery) -> None:
        _title("7. Explain: which peers are in the set, which are not, and why")
        _code("print(web.explain())")
        _out(*web.explain().splitlines())

    def _pause_to_read(self) -> None:
        time.sleep(self.pause)


class _Load:
    """A client that sends one request after the other and counts the results."""

    def __init__(self, web: Discovery) -> None:
        self._web = web
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="demo requests", daemon=True)
        self.sent = self.answered = self.failed = self.retried = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._stop.wait(0.005):
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
                self.retried += tries > 1


def _title(text: str) -> None:
    show([("bold cyan", f"\n{text}")])


def _code(*texts: str) -> None:
    show([("green", f"    {text}") for text in texts])


def _out(*texts: str) -> None:
    show([("", f"  {text}".rstrip()) for text in texts])


def _ask(peer: Peer) -> str:
    """Return the name that the pod answers with."""
    connection = HTTPConnection(peer.address, peer.port, timeout=2)
    try:
        connection.request("GET", "/")
        return str(json.loads(connection.getresponse().read())["pod"])
    finally:
        connection.close()


def _names(peers: Iterable[Peer]) -> str:
    return ", ".join(peer.key for peer in peers) or "none"
