"""The two drivers: they make the calls of `_rounds`, in the caller's thread or task, and decide nothing."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from peerdiscover.discovery._user_code import awaitable, check_function, finished
from peerdiscover.peers import Peer

from ._contact_point import ContactPoint
from ._decision import Standing
from ._probes import ahttp_probe, http_probe
from ._rounds import steps

if TYPE_CHECKING:
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from peerdiscover import AsyncDiscovery, Discovery


def bootstrap(
    discovery: Discovery,
    contact: ContactPoint,
    *,
    form: Callable[[str], object],
    join: Callable[[Peer, str], object],
    probe: Callable[[Peer], Standing] | None = None,
    claim: Callable[[str], str] | None = None,
    stop: StopBaseT | None = None,
    wait: WaitBaseT | None = None,
) -> str:
    """Form or join the one cluster of these pods; returns its id.

    `discovery`: open, of a headless Service that publishes pods before they are ready.
    `contact`: what this pod's server answers with; it answers already.
    `form(cluster)`: begin a cluster of one under this id.
    `join(peer, cluster)`: join at `peer`. It must raise if `peer` is not in `cluster` at that moment.
    `probe(peer)`: asks a peer for its standing; default `http_probe()`.
    `claim(cluster)`: writes the id to a store that outlives pods, unless one is written there already, and
    returns the one that is; asked before `form`. Default: none.
    `stop`, `wait`: tenacity's; default 600 s in all, and 1 to 1.2 s between rounds.

    If `form` or `join` raises, this pod is in no cluster, and the next round decides. `NotFormedError` says
    what the last round waited for. A `contact` that has a cluster already returns it, and asks no peer.
    """
    probe = probe or http_probe()
    for function in (form, join, probe, *filter(None, [claim])):
        check_function("bootstrap", function, "abootstrap")
    calls = steps(
        discovery, contact, form, join, probe, claim, stop, wait, sleep=time.sleep, now=time.monotonic
    )
    try:
        call = next(calls)
        while True:
            try:
                value = finished(call())
            except BaseException as error:  # noqa: BLE001 - it decides what to do about it, and raises most
                call = calls.throw(error)
            else:
                call = calls.send(value)
    except StopIteration as end:
        cluster: str = end.value
        return cluster


async def abootstrap(
    discovery: AsyncDiscovery,
    contact: ContactPoint,
    *,
    form: Callable[[str], Awaitable[object]],
    join: Callable[[Peer, str], Awaitable[object]],
    probe: Callable[[Peer], Awaitable[Standing]] | None = None,
    claim: Callable[[str], Awaitable[str]] | None = None,
    stop: StopBaseT | None = None,
    wait: WaitBaseT | None = None,
) -> str:
    """`bootstrap` for asyncio and trio: `form`, `join`, `probe` and `claim` are awaited."""
    import anyio

    probe = probe or ahttp_probe()
    calls = steps(
        discovery, contact, form, join, probe, claim, stop, wait, sleep=anyio.sleep, now=anyio.current_time
    )
    try:
        call = next(calls)
        while True:
            try:
                value = await awaitable(call(), "bootstrap")
            except BaseException as error:  # noqa: BLE001 - as above
                call = calls.throw(error)
            else:
                call = calls.send(value)
    except StopIteration as end:
        cluster: str = end.value
        return cluster
