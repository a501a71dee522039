"""Probes over HTTP, at whatever has the address now: both end in time, and leave nothing open."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import httpx
import pytest

from peerdiscover import Peer
from peerdiscover.clustering import ContactPoint, Standing, ahttp_probe, http_probe
from tests.sources.kubernetes.test_drivers import EARLY_HINTS, Fake, Script, drips, floods, says, stays
from tests.waiting import LONG

Probe = Callable[[Peer], Standing]
OK = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture(params=["threads", "asyncio", "trio"])
def probe_within(request: pytest.FixtureRequest) -> Callable[[float], Probe]:
    """A probe that has so many seconds, called from a thread."""
    if request.param == "threads":
        return lambda seconds: http_probe(timeout=seconds)
    return lambda seconds: lambda peer: anyio.run(ahttp_probe(timeout=seconds), peer, backend=request.param)


@pytest.mark.parametrize("script", [drips, floods(EARLY_HINTS), stays()], ids=["drips", "floods", "silent"])
def test_it_ends_in_time(probe_within: Callable[[float], Probe], script: Script) -> None:
    with Fake(script) as fake, pytest.raises((TimeoutError, httpx.TimeoutException)):
        probe_within(0.5)(Peer("web-0", "127.0.0.1", fake.port))


def test_a_standing_and_what_is_none(probe_within: Callable[[float], Probe]) -> None:
    contact = ContactPoint("web-0", ("web-0",))
    whole = OK + contact.answer()
    with Fake(says(whole), says(OK), says(OK.replace(b"200", b"503")), floods(b"[", OK)) as fake:
        peer, probe = Peer("web-0", "127.0.0.1", fake.port), probe_within(LONG)
        assert probe(peer) == contact.standing
        for _ in range(3):
            with pytest.raises(ValueError):
                probe(peer)
    assert all("post /peerdiscover http/1.1" in head for head in fake.heads)
