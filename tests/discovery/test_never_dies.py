"""The refresher never dies: whatever happens is an outcome, `status` says so meanwhile, and it goes on."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from peerdiscover import (
    DNS,
    Answer,
    AsyncDiscovery,
    Change,
    Discovery,
    Endpoint,
    LookupRequest,
    Outcome,
    Policy,
)
from peerdiscover.membership import Membership
from peerdiscover.sources._server import Server
from peerdiscover.sources.environment import Environment, Resolv, ResolvConf
from peerdiscover.testing import HeadlessService
from tests.waiting import LONG

from ._clock import SettableClock, run_virtually
from ._script import run_script
from ._sources import AsyncScript, AsyncWatch, Script, Watch, pods, told

QUICK = Policy(min_refresh=0.001, max_refresh=600, retry_initial=0.001, retry_max=0.001)
SLOW = 600.0


class UnspeakableError(Exception):
    """An error whose own text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def raised(error: BaseException) -> Callable[[LookupRequest], Any]:
    def say(_: LookupRequest) -> Any:
        raise error

    return say


class NoList:
    """Claims to be a list of endpoints."""

    def __iter__(self) -> Any:
        raise ZeroDivisionError


def junk_inside(**fields: Any) -> Callable[[LookupRequest], Any]:
    """An answer with a field that cannot be."""
    return lambda _: pods(0).replace(**fields)


def without_end(ask: LookupRequest) -> Any:
    return without_end(ask)


ANYTHING: dict[str, Callable[[LookupRequest], Any]] = {
    "Exception": raised(Exception("anything")),
    "OSError": raised(OSError(24, "Too many open files")),
    "TimeoutError": raised(TimeoutError()),
    "SystemExit": raised(SystemExit(3)),
    "GeneratorExit": raised(GeneratorExit()),
    "StopIteration": raised(StopIteration()),
    "CancelledError": raised(asyncio.CancelledError()),
    "group": raised(ExceptionGroup("several", [ValueError(), OSError()])),
    "group with SystemExit": raised(BaseExceptionGroup("several", [ValueError(), SystemExit()])),
    "RecursionError": without_end,
    "unspeakable": raised(UnspeakableError()),
    "None": lambda _: None,
    "text": lambda _: "10.0.0.1:80",
    "list": lambda _: ["10.0.0.1:80"],
    "class": lambda _: Answer,
    "endpoints that are none": junk_inside(endpoints=(1, None)),
    "endpoints that are no list": junk_inside(endpoints=NoList()),
    "endpoints: None": junk_inside(endpoints=None),
    "ttl: NaN": junk_inside(ttl=float("nan")),
    "ttl: text": junk_inside(ttl="soon"),
    "ttl below 0": junk_inside(ttl=-1),
    "outcome: text": junk_inside(outcome="resolved"),
    "failed_families: None": junk_inside(failed_families=None),
    "gone: None": junk_inside(gone=None, outcome=Outcome.PARTIAL, endpoints=(Endpoint(("10.0.0.9",), 80),)),
    "warnings: None": junk_inside(warnings=None),
    "dropped: numbers": junk_inside(dropped=5),
    "error: unspeakable": lambda _: Answer.failed(UnspeakableError()),
    "hint: None, failed": lambda _: Answer.failed("x").replace(servers=None, name=None, hint=None),
}


IN_THREADS = ANYTHING | {"KeyboardInterrupt": raised(KeyboardInterrupt())}


def is_alive(web: Discovery, source: Any) -> None:
    """It still asks by itself, and hears what it is told."""
    source.say(pods(0, 1, 2, ttl=0.001))
    assert len(web.refresh()) == 3
    assert not web.status.stale
    assert web.status.outcome is Outcome.RESOLVED
    source.say(pods(0, 1, ttl=SLOW))
    for change in web.changes(timeout=LONG):
        if len(change.after) == 2:
            return
    raise AssertionError("it does not ask any more")


@pytest.mark.parametrize("what", IN_THREADS)
def test_a_source_in_threads(what: str) -> None:
    source = Script(pods(0, 1, ttl=SLOW))
    with Discovery("web", source=source, policy=QUICK) as web:
        source.say(IN_THREADS[what])
        web.refresh()
        count = len(source.asks)
        source.wait_asked(count + 2)
        status = web.status
        assert {"web-0", "web-1"} <= {peer.key for peer in web.peers}
        assert status.stale
        assert status.outcome is Outcome.FAILED
        assert status.error
        assert status.failures >= 2
        web.explain()
        is_alive(web, source)


@pytest.mark.parametrize("what", ANYTHING)
def test_a_source_that_is_awaited(anyio_backend: str, what: str) -> None:
    async def main() -> None:
        source = AsyncScript(pods(0, 1))
        async with AsyncDiscovery("web", source=source, policy=Policy(jitter=0)) as web:
            source.say(ANYTHING[what])
            await anyio.sleep(60)
            status = web.status
            assert {"web-0", "web-1"} <= {peer.key for peer in web.peers}
            assert status.stale
            assert status.outcome is Outcome.FAILED
            assert status.error
            assert status.failures >= 3
            assert status.age == pytest.approx(60)
            web.explain()
            source.say(pods(0, 1, 2))
            await web.wait(3, timeout=31)
            assert not web.status.stale
            before = len(source.at)
            await anyio.sleep(20.5)
            assert len(source.at) == before + 4

    run_virtually(anyio_backend, main)


@pytest.mark.parametrize("what", ["Exception", "SystemExit", "GeneratorExit", "KeyboardInterrupt"])
def test_a_watch_in_threads(what: str) -> None:
    error = {"KeyboardInterrupt": KeyboardInterrupt()} | {
        kind.__name__: kind() for kind in (Exception, SystemExit, GeneratorExit)
    }
    source = Watch()
    source.tell(told(0))
    with Discovery("web", source=source, policy=QUICK) as web:
        source.tell(error[what])
        source.wait_begun(2)
        source.tell(None, told(0, 1))  # type: ignore[arg-type]  # junk
        assert len(web.wait(2, timeout=LONG)) == 2
        assert source.begun == 2


def test_a_watch_that_is_none(clock: SettableClock) -> None:
    class Source:
        kind = "test"
        begun = 0

        def watch(self, _ask: LookupRequest) -> Any:
            self.begun += 1
            if self.begun == 2:  # the first one has failed by then
                clock.forward(60)
            return 5

    with (
        pytest.raises(TimeoutError, match="TypeError: 'int' object is not iterable"),
        Discovery("web", source=Source(), policy=replace(QUICK, ready_timeout=60)) as web,
    ):
        pytest.fail(f"entered with {web.peers}")


CALLBACK_ERRORS = [
    Exception("x"),
    SystemExit(3),
    GeneratorExit(),
    asyncio.CancelledError(),
    UnspeakableError(),
]


@pytest.mark.parametrize("error", [*CALLBACK_ERRORS, KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_a_callback_in_threads(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    called = threading.Event()

    def callback(_: Change) -> None:
        called.set()
        raise error

    source = Script(pods(0, ttl=SLOW), pods(0, 1, ttl=SLOW))
    with Discovery("web", source=source, policy=QUICK) as web:
        web.on_change(callback)
        web.refresh()
        assert called.wait(LONG)
        is_alive(web, source)
    assert "a callback for changes" in caplog.text


@pytest.mark.parametrize("error", CALLBACK_ERRORS, ids=lambda e: type(e).__name__)
def test_a_callback_in_the_refreshing_task(
    anyio_backend: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Change] = []

    def callback(change: Change) -> None:
        calls.append(change)
        raise error

    async def main() -> None:
        source = AsyncScript(pods(0), pods(0, 1), pods(0, 1, 2))
        async with AsyncDiscovery("web", source=source, policy=Policy(jitter=0)) as web:
            web.on_change(callback)
            await anyio.sleep(100)
            assert len(source.at) > 15
            assert len(web.peers) == 3

    run_virtually(anyio_backend, main)
    assert len(calls) == 2
    assert "a callback for changes" in caplog.text


def test_a_handler_of_the_log() -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError(record.getMessage())

    logger, handler = logging.getLogger("peerdiscover"), Handler(logging.DEBUG)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        source = Script(pods(0, ttl=SLOW))
        with Discovery("web", source=source, policy=QUICK) as web:
            source.say(raised(OSError()))
            web.refresh()
            source.wait_asked(4)
            source.say(pods(0, 1, 2, ttl=SLOW))
            assert len(web.wait(3, timeout=LONG)) == 3
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class OnPort(ResolvConf):
    """A resolv.conf names no ports: the servers of a test are elsewhere than on 53."""

    def __init__(self, path: Path, port: int) -> None:
        super().__init__(path)
        self.port = port

    def read(self) -> Resolv:
        found = super().read()
        return replace(found, servers=tuple(Server(server.host, self.port) for server in found.servers))


def test_a_resolv_conf_that_comes_late_vanishes_and_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    with HeadlessService("web.prod", replicas=2, ttl=1) as svc:
        host, _, port = svc.nameserver.rpartition(":")
        source = DNS(environment=Environment(environ={}, resolv_conf=OnPort(path, int(port))))
        web = Discovery("web.prod:http", source=source, policy=replace(QUICK, retry_max=0.01))
        entering = threading.Thread(target=web.start)
        entering.start()
        try:
            while web.status.failures < 3:
                assert entering.is_alive()
                entering.join(0.001)
            assert "resolv.conf" in str(web.status.error)
            path.write_text(f"nameserver {host}\nsearch prod.svc.cluster.local svc.cluster.local\n")
            entering.join(LONG)
            assert len(web.peers) == 2
            path.unlink()
            svc.scale(3)
            assert len(web.wait(3, timeout=LONG)) == 3
            path.write_text("")
            svc.scale(4)
            assert len(web.wait(4, timeout=LONG)) == 4
            assert not web.status.stale
        finally:
            web.close()
            entering.join(LONG)


def test_a_wall_clock_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Script(pods(0, ttl=SLOW))
    with Discovery("web", source=source, policy=QUICK) as web:
        for jump in -1e9, 1e9, 0.0:
            at = time.time() + jump
            with monkeypatch.context() as patch:
                patch.setattr(time, "time", lambda at=at: at)
                before, began = len(source.asks), time.monotonic()
                web.refresh()
                assert len(source.asks) == before + 1
                status = web.status
                passed = time.monotonic() - began
                assert 0 <= status.age <= passed
                assert SLOW - passed <= status.next_refresh <= 1.2 * SLOW
        is_alive(web, source)


OUT_OF_FILES = """
import anyio, os, resource, sys
from peerdiscover import DNS, AsyncDiscovery, Discovery, Outcome

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
source = DNS(nameservers=[sys.argv[1]])

def before():
    used = max(int(name) for name in os.listdir("/dev/fd")) + 1
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(used)]  # fill the gaps
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 1, hard))
    return held

def during(web):
    status = web.status
    assert status.stale and status.outcome is Outcome.FAILED, status
    assert "open files" in status.error, status
    assert len(web.peers) == 3, web.peers

def after(held):
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for fd in held:
        os.close(fd)

def threads():
    with Discovery("web.prod:http", source=source) as web:
        held = before()
        web.refresh()
        web.refresh()
        during(web)
        after(held)
        web.refresh()
        assert not web.status.stale, web.status

async def tasks():
    async with AsyncDiscovery("web.prod:http", source=source) as web:
        held = before()
        await web.refresh()
        await web.refresh()
        during(web)
        after(held)
        await web.refresh()
        assert not web.status.stale, web.status

threads() if sys.argv[2] == "threads" else anyio.run(tasks, backend=sys.argv[2])
print("done")
"""


@pytest.mark.parametrize("how", ["threads", "asyncio", "trio"])
def test_out_of_file_descriptors_for_a_while(how: str) -> None:
    with HeadlessService("web.prod", replicas=3) as svc:
        assert run_script(OUT_OF_FILES, svc.nameserver, how, stderr=None) == "done\n"  # it logs a warning


def test_a_watch_of_the_wrong_kind_says_so(anyio_backend: str) -> None:
    """An iterator for threads, given to an AsyncDiscovery."""

    async def main() -> None:
        source = Watch()
        with pytest.raises(TimeoutError, match="TypeError"):
            async with AsyncDiscovery("web", source=source, policy=Policy(ready_timeout=10)):
                raise AssertionError

    run_virtually(anyio_backend, main)


def test_a_watch_that_raises_while_it_is_closed(anyio_backend: str) -> None:
    class Source:
        kind = "test"

        async def watch(self, _ask: LookupRequest) -> AsyncIterator[Answer]:
            try:
                yield told(0)
                await anyio.sleep_forever()
            finally:
                raise OSError("while it was closed")

    async def main() -> None:
        async with AsyncDiscovery("web", source=Source()) as web:
            assert len(web.peers) == 1

    run_virtually(anyio_backend, main)


def test_watches_are_not_leaked(anyio_backend: str) -> None:
    async def main() -> None:
        each: list[tuple[float, Answer | BaseException]] = [(0, told(0)), (1, OSError("again"))]
        source = AsyncWatch(*[each] * 10)
        async with AsyncDiscovery("web", source=source, policy=Policy(retry_max=1)):
            await anyio.sleep(100)
        assert source.ended == len(source.at) == 11

    run_virtually(anyio_backend, main)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_source_that_hangs_takes_no_threads_from_the_program(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grace = "peerdiscover.sources._calling._GRACE"
    monkeypatch.setattr(grace, LONG)
    go_on = threading.Event()
    source = Script(pods(0, ttl=SLOW))

    async def main() -> None:
        async with AsyncDiscovery("web", source=source, policy=replace(QUICK, timeout=0.01)) as web:
            monkeypatch.setattr(grace, 0.01)
            source.say(lambda _: go_on.wait(LONG) and None)
            for _ in range(10):
                await web.refresh()
            assert web.status.stale
            assert web.status.error == "TimeoutError: the source has not returned from earlier lookups"
            assert len(source.asks) == 3
            assert to_thread.current_default_thread_limiter().borrowed_tokens == 0
            monkeypatch.setattr(grace, LONG)
            source.say(pods(0, 1, ttl=SLOW))
            go_on.set()
            await web.wait(2, timeout=LONG)
            assert not web.status.stale

    anyio.run(main, backend=backend)


def test_many_beginnings_and_ends() -> None:
    with HeadlessService("web.prod", replicas=2, pods=False) as svc:
        for _ in range(30):
            with Discovery("web.prod:http", source=svc.source) as web:
                assert len(web.peers) == 2
        for backend in "asyncio", "trio":

            async def main() -> None:
                for _ in range(30):
                    async with AsyncDiscovery("web.prod:http", source=svc.source) as web:
                        assert len(web.peers) == 2

            anyio.run(main, backend=backend)


def test_a_fault_of_ours_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that trips over a case that nobody foresaw must not end the refresher."""
    begin, faults = Membership.begin, iter([KeyError("unforeseen")])

    def tripping(self: Membership) -> LookupRequest:
        ask = begin(self)
        for fault in faults:
            raise fault
        return ask

    policy = Policy(retry_initial=0.01, retry_max=0.01, ready_timeout=LONG)
    monkeypatch.setattr(Membership, "begin", tripping)
    with Discovery("web", source=lambda: ["10.0.0.1:80"], policy=policy) as web:
        assert web.status.failures == 1
        assert web.status.outcome is Outcome.RESOLVED
