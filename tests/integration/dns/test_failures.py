"""Error is not empty: what fails removes nobody, and what fails at the start is never "there are none"."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import anyio
import pytest

from peerdiscover import (
    DNS,
    AsyncDiscovery,
    Discovery,
    NameNotFoundError,
    Outcome,
    ResolutionTimeoutError,
    resolve,
)
from tests.tools.nameservers import Authoritative, Bind, Knot, Unbound, pods_of
from tests.waiting import LONG, eventually

from .helpers import SERVICE, changed_to, entering, hostnames, lookup, policy

NAME = f"{SERVICE}.svc.cluster.local."

Break = Callable[[Authoritative], None]


def servfail(server: Authoritative) -> None:
    server.turn("servfail")


def refused(server: Authoritative) -> None:
    server.turn("refuse")


def dead(server: Authoritative) -> None:
    server.kill()


def silent(server: Authoritative) -> None:
    server.pause()


# What is done to the server, and what the error says of it.
BREAKS = [
    pytest.param(servfail, "SERVFAIL", id="servfail"),
    pytest.param(refused, "REFUSED", id="refused"),
    pytest.param(dead, "connection refused", id="dead"),
    pytest.param(silent, "no answer in", id="silent"),
]


def mend(server: Authoritative, breaks: Break) -> None:
    """It serves again, what it served before."""
    if breaks is silent:
        server.resume()
    elif breaks is dead:
        server.start()
    else:
        server.turn("serve")


@pytest.fixture
def server() -> Iterator[Authoritative]:
    with Knot() as running:
        running.publish(SERVICE, pods_of("web", 3))
        yield running


@pytest.fixture
def bind() -> Iterator[Authoritative]:
    with Bind() as running:
        running.publish(SERVICE, pods_of("web", 3))
        yield running


@pytest.mark.parametrize(("breaks", "says"), BREAKS)
@pytest.mark.parametrize(("which", "port"), [("server", "8080"), ("server", "http"), ("bind", "http")])
def test_after_a_success(
    request: pytest.FixtureRequest, breaks: Break, says: str, which: str, port: str
) -> None:
    server: Authoritative = request.getfixturevalue(which)
    with Discovery(
        f"{SERVICE}:{port}", source=DNS([server.nameserver]), policy=policy(timeout=0.6, hold=0.05)
    ) as web:
        three = web.peers
        breaks(server)
        for _ in range(3):
            assert web.refresh() is three
        status = web.status
        assert status.outcome is Outcome.FAILED
        assert status.stale
        assert status.suspects == ()
        assert status.failures >= 3
        assert says in (status.error or "")
        assert server.nameserver in (status.error or "")
        assert web.round_robin().pick() in three
        mend(server, breaks)
        server.publish(SERVICE, pods_of("web", 4))
        assert len(changed_to(web, lambda peers: len(peers) == 4)) == 4
        web.refresh()
        assert web.status.error is None
        assert not web.status.stale


@pytest.mark.parametrize(("breaks", "says"), BREAKS)
def test_at_the_start(server: Authoritative, breaks: Break, says: str) -> None:
    """It raises, with what the server did, and never takes "no answer" for "nobody"."""
    breaks(server)
    source = DNS([server.nameserver])
    web = Discovery(f"{SERVICE}:8080", source=source, policy=policy(timeout=2, ready_timeout=3))
    with pytest.raises(ResolutionTimeoutError, match=says) as caught:
        web.start()
    assert caught.value.outcome is Outcome.FAILED
    assert caught.value.name == NAME
    assert caught.value.servers == (server.nameserver,)


@pytest.mark.parametrize(("breaks", "says"), BREAKS)
def test_resolving_once_says_what_the_servers_did(server: Authoritative, breaks: Break, says: str) -> None:
    breaks(server)
    with pytest.raises(ResolutionTimeoutError, match=says) as caught:
        resolve(f"{SERVICE}:8080", source=DNS([server.nameserver]), timeout=2.0)
    assert caught.value.servers == (server.nameserver,)


@pytest.mark.parametrize(("breaks", "says"), BREAKS)
def test_at_the_start_and_then_it_serves(server: Authoritative, breaks: Break, says: str) -> None:
    breaks(server)
    web = Discovery(f"{SERVICE}:8080", source=DNS([server.nameserver]), policy=policy(timeout=0.5))
    with entering(web):
        eventually(lambda: web.status.failures >= 2)
        assert len(web.peers) == 0
        mend(server, breaks)
        assert len(changed_to(web, bool)) == 3


@pytest.mark.anyio
@pytest.mark.parametrize(("breaks", "says"), BREAKS)
async def test_after_a_success_awaited(breaks: Break, says: str) -> None:
    with Knot() as server:
        server.publish(SERVICE, pods_of("web", 3))
        async with AsyncDiscovery(
            f"{SERVICE}:http", source=DNS([server.nameserver]), policy=policy(timeout=0.6)
        ) as web:
            three = web.peers
            breaks(server)
            for _ in range(2):
                assert await web.refresh() is three
            assert web.status.outcome is Outcome.FAILED
            assert says in (web.status.error or "")
            mend(server, breaks)
            server.publish(SERVICE, pods_of("web", 4))
            with anyio.fail_after(LONG):
                assert len(await web.wait(4)) == 4


@pytest.mark.parametrize(("breaks", "says"), BREAKS)
def test_the_other_server_serves(breaks: Break, says: str) -> None:
    """Two nameservers, one of them broken: the other one answers, whichever stands first."""
    with Knot() as good, Bind() as bad:
        for server in good, bad:
            server.publish(SERVICE, pods_of("web", 3))
        breaks(bad)
        for order in [bad, good], [good, bad]:
            source = DNS([server.nameserver for server in order])
            for port in "8080", "http":
                answer = lookup(source, f"{SERVICE}:{port}", timeout=3)
                assert answer.outcome is Outcome.RESOLVED
                assert {*hostnames(answer.endpoints)} == {"web-0", "web-1", "web-2"}


def test_a_cache_without_its_authority(server: Authoritative) -> None:
    """The cache says SERVFAIL for what it does not have: a failure, of a server that is well."""
    with Unbound(server) as cache:
        source = DNS([cache.nameserver])
        assert len(resolve(f"{SERVICE}:8080", source=source)) == 3
        server.kill()
        with pytest.raises(ResolutionTimeoutError, match=r"SERVFAIL|no answer"):
            resolve("other.prod:8080", source=source, timeout=1.0)
        server.start()
        with pytest.raises(NameNotFoundError):
            resolve("another.prod:8080", source=source)
