"""Resolving once: what is repeated, what is believed, and that nothing is left."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from peerdiscover import (
    DNS,
    Answer,
    AsyncDiscovery,
    ConfigurationError,
    Identity,
    LookupRequest,
    NameNotFoundError,
    NoPeersError,
    Outcome,
    PeerSet,
    ResolutionTimeoutError,
    aresolve,
    resolve,
)
from peerdiscover.discovery.once import OneShot
from peerdiscover.testing import HeadlessService
from tests.waiting import LONG

from ._clock import run_virtually
from ._sources import FAILED, NOT_FOUND, AsyncScript, AsyncWatch, Script, Watch, pods, told

EMPTY = Answer(outcome=Outcome.EMPTY)


@pytest.fixture(params=["threads", "asyncio", "trio"])
def once(request: pytest.FixtureRequest) -> Callable[..., PeerSet]:
    """`resolve`, and `aresolve` under both event loops."""
    if request.param == "threads":
        return resolve
    backend: str = request.param

    def awaited(service: str, **options: Any) -> PeerSet:
        return anyio.run(lambda: aresolve(service, **options), backend=backend)

    return awaited


def test_a_second_opinion_is_asked_for_at_once() -> None:
    one = OneShot("web", Script(), 5.0, None)
    first_attempt = SimpleNamespace(attempt_number=1)
    for answer, at_once in (EMPTY, True), (FAILED, False):
        assert not one.next_request(0.0).second_opinion
        assert one.apply(answer, 0.0) is None
        assert (one.retrying()["wait"](first_attempt) == 0) is at_once
        one._second_opinion = False


def test_it_gives_the_set(once: Callable[..., PeerSet]) -> None:
    peers = once("web", source=Script(pods(0, 1)), me=Identity(name="web-1"))
    assert [peer.key for peer in peers] == ["web-0", "web-1"]
    assert peers.me == peers[1]
    assert peers.generation == 1
    assert peers.service == "web"
    assert len(once("static:10.0.0.1:80,10.0.0.2:80")) == 2
    assert len(once("web", source=lambda: ["10.0.0.1:80"])) == 1


def test_a_coroutine_function(once: Callable[..., PeerSet]) -> None:
    async def function() -> list[str]:
        await anyio.lowlevel.checkpoint()
        return ["10.0.0.1:80"]

    assert len(once("web", source=function)) == 1


def test_failures_are_repeated(once: Callable[..., PeerSet]) -> None:
    def fails(_: LookupRequest) -> Answer:
        raise OSError("no network yet")

    source = Script(fails, FAILED, lambda _: None, pods(0))
    assert len(once("web", source=source, timeout=LONG)) == 1
    assert len(source.asks) == 4


def test_one_wrong_word_among_good_ones_is_not_believed(once: Callable[..., PeerSet]) -> None:
    for wrong in NOT_FOUND, EMPTY:
        source = Script(wrong, pods(0, 1))
        assert len(once("web", source=source, timeout=LONG)) == 2
        assert [ask.second_opinion for ask in source.asks] == [False, True]


def test_nobody_twice_is_believed(once: Callable[..., PeerSet]) -> None:
    source = Script(NOT_FOUND)
    with pytest.raises(NameNotFoundError, match="web: not found"):
        once("web", source=source, timeout=LONG)
    assert len(source.asks) == 2


def test_the_source_of_truth_is_believed_at_once(once: Callable[..., PeerSet]) -> None:
    source = Script(told())
    with pytest.raises(NameNotFoundError, match="web: empty"):
        once("web", source=source, timeout=LONG)
    assert len(source.asks) == 1


def test_time_is_over(once: Callable[..., PeerSet]) -> None:
    began = time.monotonic()
    with pytest.raises(ResolutionTimeoutError) as caught:
        once("web", source=Script(FAILED), timeout=0.3)
    passed = time.monotonic() - began
    said = re.fullmatch(r"web: 0 of 1 peers after (\d+\.\d) s; failed: the test.*", str(caught.value))
    assert said
    assert float(said[1]) <= passed + 0.05, "it says how long it took"
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.outcome is Outcome.FAILED


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("timeout", "earliest"), [(5, 4.5), (0.5, 0.29)])
def test_failures_are_repeated_until_the_time_is_over(
    backend: str, chance: float, timeout: float, earliest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerdiscover.discovery.once.random.random", lambda: chance)
    asked_at: list[float] = []

    async def fails() -> list[str]:
        asked_at.append(anyio.current_time())
        await anyio.lowlevel.checkpoint()
        raise OSError("no network")

    async def main() -> None:
        with pytest.raises(ResolutionTimeoutError):
            await aresolve("web", source=fails, timeout=timeout)

    run_virtually(backend, main)
    # The last question comes near the end, with time left for an answer.
    assert earliest <= asked_at[-1] - asked_at[0] <= timeout * 0.96
    assert max(later - earlier for earlier, later in itertools.pairwise(asked_at)) < 1.01


def test_what_is_wrong_is_said_at_once(once: Callable[..., PeerSet]) -> None:
    source = Script(Answer.failed(ConfigurationError("two ports: http, grpc")))
    with pytest.raises(ConfigurationError, match="two ports"):
        once("web", source=source, timeout=LONG)
    assert len(source.asks) == 1
    for wrong in (
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": None},
        {"source": 5},
        {"service": "web.prod.wrong"},
        {"service": ""},
        {"me": "web-0"},
    ):
        with pytest.raises(ConfigurationError):
            once(**({"service": "web", "source": Script(pods(0))} | wrong))


# Over DNS


def test_a_real_server(once: Callable[..., PeerSet]) -> None:
    with HeadlessService("web.prod", replicas=3, pods=False) as svc:
        peers = once("web.prod:http", source=svc.source)
        assert [peer.key for peer in peers] == ["web-0", "web-1", "web-2"]
        assert peers.kind == "headless"


def test_a_name_that_is_not_there(once: Callable[..., PeerSet]) -> None:
    with HeadlessService("web.prod", replicas=3, pods=False) as svc:
        with pytest.raises(NameNotFoundError) as caught:
            once("wep.prod:http", source=svc.source, timeout=LONG)
        error = caught.value
        assert error.service == "wep.prod:http"
        assert error.name == "wep.prod.svc.cluster.local."
        assert error.servers == (svc.nameserver,)
        assert error.outcome is Outcome.NOT_FOUND
        assert isinstance(error, NoPeersError)
        for part in error.service, error.name, svc.nameserver, "not found":
            assert part in str(error)
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), again.servers, again.outcome) == (str(error), error.servers, error.outcome)


def test_servers_that_do_not_answer(once: Callable[..., PeerSet]) -> None:
    """The error says of each server what it did."""
    with (
        HeadlessService("web.prod", replicas=3, pods=False) as svc,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent,
    ):
        svc.answer("servfail")
        silent.bind(("127.0.0.1", 0))
        mute = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ResolutionTimeoutError) as caught:
            once("web.prod:http", source=DNS(nameservers=[svc.nameserver, mute]), timeout=2)
        assert set(caught.value.servers) == {svc.nameserver, mute}
        assert "SERVFAIL" in str(caught.value)
        assert svc.nameserver in str(caught.value)
        assert mute in str(caught.value)


def test_nobody_listens(once: Callable[..., PeerSet]) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{sock.getsockname()[1]}"
    with pytest.raises(ResolutionTimeoutError, match="refused"):
        once("web.prod:http", source=DNS(nameservers=[nobody]), timeout=1)


def test_a_server_that_comes_to_itself(once: Callable[..., PeerSet]) -> None:
    with HeadlessService("web.prod", replicas=3, pods=False) as svc:
        svc.answer("servfail")

        class Source:
            kind = "dns"
            asked = 0

            def lookup(self, ask: LookupRequest) -> Answer:
                self.asked += 1
                if self.asked == 3:
                    svc.answer(None)
                return svc.source.lookup(ask)

        assert len(once("web.prod:http", source=Source(), timeout=LONG)) == 3


# What is left behind: `conftest` looks for threads and sockets


def test_the_first_word_of_a_watch_is_enough() -> None:
    source = Watch()
    source.tell(told(0, 1), told())
    assert len(resolve("web", source=source)) == 2

    closed: list[str] = []

    class Generator:
        kind = "test"

        def watch(self, _ask: LookupRequest) -> Iterator[Answer]:
            try:
                while True:
                    yield told(0)
            finally:
                closed.append("yes")

    assert len(resolve("web", source=Generator())) == 1
    assert closed == ["yes"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_first_word_of_an_asynchronous_watch_is_enough(backend: str) -> None:
    source = AsyncWatch([(0, OSError())], [], [(1, told(0, 1)), (1e9, told())])

    async def main() -> None:
        assert len(await aresolve("web", source=source)) == 2
        assert source.ended == 3

    run_virtually(backend, main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_can_be_cancelled(backend: str) -> None:
    source = AsyncScript(pods(0), takes=100)

    async def main() -> None:
        with anyio.move_on_after(2) as scope:
            await aresolve("web", source=source, timeout=50)
        assert scope.cancelled_caught
        assert source.cancelled == 1

    run_virtually(backend, main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_its_time_is_kept_in_tasks(backend: str) -> None:
    async def main() -> None:
        for source in (AsyncScript(FAILED), AsyncScript(FAILED, takes=1), AsyncScript(pods(0), takes=1e6)):
            began = anyio.current_time()
            with pytest.raises(ResolutionTimeoutError):
                await aresolve("web", source=source, timeout=30)
            assert 28.5 <= anyio.current_time() - began <= 31.1  # no last question without time for an answer
            assert len(source.at) < 100

    run_virtually(backend, main)


def test_its_time_is_kept_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def fails(_: LookupRequest) -> Answer:
        sleep(1)
        return FAILED

    monkeypatch.setattr("peerdiscover.discovery.once.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=sleep))
    for says in FAILED, fails:
        began, source = now, Script(says)
        with pytest.raises(ResolutionTimeoutError, match=r"0 of 1 peers after (29|30|31)\.\d s"):
            resolve("web", source=source, timeout=30)
        assert 28.5 <= now - began <= 31.1
        assert len(source.asks) < 100


class Hasty:
    """Says what the servers did where it has time for it; else that it had none."""

    kind = "test"

    def __init__(self) -> None:
        self.allowed: list[float] = []

    async def lookup(self, ask: LookupRequest) -> Answer:
        self.allowed.append(ask.timeout)
        return Answer.failed("SERVFAIL" if ask.timeout >= 1 else "no time was left to ask it")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_of_several_failures_the_one_that_says_most_is_told(backend: str) -> None:
    async def main() -> None:
        source = Hasty()
        with pytest.raises(ResolutionTimeoutError, match="SERVFAIL"):
            await aresolve("web", source=source, timeout=30)
        assert source.allowed[0] == 30
        assert source.allowed[-1] < 1

    run_virtually(backend, main)


def test_asyncio_cancels_it() -> None:
    async def main() -> None:
        task = asyncio.create_task(aresolve("web", source=AsyncScript(pods(0), takes=100), timeout=50))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtually("asyncio", main)


def test_from_within_a_coroutine() -> None:
    """`resolve` blocks, there too; a coroutine function gets an event loop of its own."""

    async def function() -> list[str]:
        await asyncio.sleep(0)
        return ["10.0.0.1:80"]

    async def main() -> None:
        assert len(resolve("web", source=function)) == 1
        async with AsyncDiscovery("web", source=function) as web:
            assert len(web.peers) == 1

    asyncio.run(main())
