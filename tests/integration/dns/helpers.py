"""What the tests against real servers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio

from peerdiscover import DNS, Answer, Discovery, LookupRequest, PeerSet, Policy, ServiceName
from tests.waiting import LONG, eventually

__all__ = [
    "QUICK",
    "SERVICE",
    "addresses",
    "changed_to",
    "entering",
    "hostnames",
    "lookup",
    "lookup_in",
    "policy",
]

SERVICE = "web-headless.prod"

QUICK = Policy(
    min_refresh=0.05,
    max_refresh=0.2,
    jitter=0.0,
    timeout=2.0,
    hold=1.0,
    retry_initial=0.05,
    retry_max=0.2,
    ready_timeout=LONG,
)
"""The default policy on a clock that runs twenty times as fast or more."""


def policy(**changes: Any) -> Policy:
    """`QUICK` with other numbers."""
    return replace(QUICK, **changes)


def hostnames(peers: Iterable[Any]) -> list[str | None]:
    """The hostnames of peers or endpoints, in their order."""
    return [peer.hostname for peer in peers]


def addresses(peers: Iterable[Any]) -> list[str]:
    """The first addresses of peers or endpoints, in their order."""
    return [peer.addresses[0] for peer in peers]


def lookup(source: DNS, service: str, **ask: Any) -> Answer:
    """One answer of the source, without a discovery around it."""
    return source.lookup(LookupRequest(ServiceName.parse(service), **ask))


def lookup_in(world: str, source: DNS, service: str, **ask: Any) -> Answer:
    """The same in "threads", "asyncio" or "trio"."""
    if world == "threads":
        return lookup(source, service, **ask)
    return anyio.run(source.alookup, LookupRequest(ServiceName.parse(service), **ask), backend=world)


def changed_to(web: Discovery, wanted: Callable[[PeerSet], bool], timeout: float = LONG) -> PeerSet:
    """Waits, change by change, until the set is what is wanted."""
    if wanted(web.peers):
        return web.peers
    for change in web.changes(timeout=timeout):
        if wanted(change.after):
            return change.after
    raise AssertionError(f"no such set came in {timeout} s:\n{web.explain()}")


@contextmanager
def entering(web: Discovery) -> Iterator[None]:
    """Enters in another thread, since that waits; leaves at the end."""
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(web.start)
        try:
            eventually(lambda: web.status.next_refresh < 1e9 or started.done())
            yield
            started.result(timeout=LONG)
        finally:
            web.close()
