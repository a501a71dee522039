"""What users grep for: the lines of the log and the errors they meet most, as docs/operations.md shows them.

Each row of its two tables is produced here for real, and must come out with that level, or as that error,
and that text; numbers and addresses aside. A row more or less on either side fails.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import certifi
import httpx
import pytest

from peerdiscover import (
    Answer,
    AsyncDiscovery,
    Discovery,
    Endpoint,
    Fallback,
    Kubernetes,
    Outcome,
    Policy,
    resolve,
)
from peerdiscover.answers import LookupRequest
from peerdiscover.errors import PeerDiscoverError
from peerdiscover.http import AsyncPodTransport, PodTransport
from peerdiscover.sources import FunctionSource
from peerdiscover.testing import HeadlessService
from tests.discovery._clock import SettableClock
from tests.discovery.test_overdue import HangsAfterOne
from tests.http.test_full_pools import cancel_many
from tests.waiting import LONG

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
NAME = "web-headless.prod:http"
NOT_FOUND = Answer(outcome=Outcome.NOT_FOUND, ttl=60)
FAILED = Answer.failed("127.0.0.1:53: SERVFAIL")

Lines = list[tuple[str, str]]


def normalised(text: str) -> str:
    """A text without what differs in each run: numbers, and so addresses."""
    return re.sub(r"\d+(?:[.:,]\d+)*", "N", text)


def table(name: str) -> dict[str, tuple[str, str]]:
    """Event → level or error, and example, of a table between markers. Cells are in backquotes."""
    text = PAGE.read_text()
    inside = re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", text, re.DOTALL)
    assert inside is not None, f"no table of {name}"
    row = re.compile(r"\| (.*?) \| `?(\w+)`? \| (`+)(.*)\3 \|")
    found = [row.fullmatch(line) for line in inside[1].strip().splitlines()[2:]]
    assert all(found)
    return {match[1]: (match[2], match[4]) for match in found if match}


class Script:
    """A source that says one thing until it is given another."""

    kind = "script"

    def __init__(self, say: Answer | BaseException) -> None:
        self.say: Answer | BaseException = say

    def lookup(self, request: LookupRequest) -> Answer:  # noqa: ARG002 - the protocol's
        if isinstance(self.say, BaseException):
            raise self.say
        return self.say


def pods(*numbers: int, **more: Any) -> Answer:
    endpoints = [Endpoint((f"10.0.0.{n + 1}",), 8080, f"web-{n}") for n in numbers]
    return Answer.of(endpoints, ttl=60).replace(**more)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], Lines]:
    """The log so far: levels, and the first line of each text."""
    caplog.set_level(logging.DEBUG, "peerdiscover")
    return lambda: [(r.levelname, r.getMessage().partition("\n")[0]) for r in caplog.records]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SettableClock:
    settable = SettableClock()
    monkeypatch.setattr("peerdiscover.discovery._threads.ThreadedRuntime.now", lambda _: settable())
    return settable


@contextmanager
def discovery(source: Any, name: str = NAME, **policy: Any) -> Iterator[Discovery]:
    with Discovery(name, source=source, policy=Policy(min_peers=0, **policy)) as web:
        yield web


LOG: dict[str, Callable[[SettableClock], None]] = {}
ERRORS: dict[str, Callable[[], object]] = {}


def logs(event: str) -> Callable[[Callable[[SettableClock], None]], Callable[[SettableClock], None]]:
    def add(run: Callable[[SettableClock], None]) -> Callable[[SettableClock], None]:
        LOG[event] = run
        return run

    return add


def raises(event: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def add(run: Callable[[], object]) -> Callable[[], object]:
        ERRORS[event] = run
        return run

    return add


def _said(*answers: Answer | BaseException, **policy: Any) -> None:
    """A discovery that gets these answers."""
    source = Script(answers[0])
    with discovery(source, **policy) as web:
        for answer in answers[1:]:
            source.say = answer
            web.refresh()


# The log


@logs("lookups fail")
def _(_: SettableClock) -> None:
    _said(pods(0, 1, 2), FAILED)


@logs("lookups work again")
def _(_: SettableClock) -> None:
    _said(pods(0, 1, 2), FAILED, pods(0, 1, 2))


@logs("DNS reports no pods, and the set is kept")
def _(_: SettableClock) -> None:
    _said(pods(0, 1, 2), NOT_FOUND)


@logs("DNS reports pods again")
def _(_: SettableClock) -> None:
    _said(pods(0, 1, 2), NOT_FOUND, pods(0, 1, 2))


@logs("the set becomes empty")
def _(_: SettableClock) -> None:
    _said(pods(0), NOT_FOUND, on_empty="accept")


@logs("the set has peers again")
def _(_: SettableClock) -> None:
    _said(pods(0), NOT_FOUND, pods(0), on_empty="accept")


@logs("`Policy(max_stale=…)` emptied the set")
def _(clock: SettableClock) -> None:
    source = Script(pods(0))
    with discovery(source, max_stale=600) as web:
        source.say = FAILED
        clock.forward(601)
        web.refresh()


@logs("a lookup is overdue, when `status` is read")
def _(clock: SettableClock) -> None:
    source = HangsAfterOne()
    with discovery(source) as web:
        web.report_failure(web.peers[0])  # asks again
        clock.forward(1)
        assert source.hanging.wait(LONG)
        clock.forward(60)
        assert web.status.stale
        source.let_go.set()


@logs("an overdue lookup has ended")
def _(clock: SettableClock) -> None:
    source = HangsAfterOne()
    with discovery(source) as web:
        web.report_failure(web.peers[0])
        clock.forward(1)
        assert source.hanging.wait(LONG)
        clock.forward(60)
        assert web.status.stale
        source.let_go.set()
        web.refresh()


@logs('`zone="prefer"` makes no difference')
def _(_: SettableClock) -> None:
    with discovery(Script(pods(0))) as web:
        web.round_robin(zone="prefer").pick()


@logs("an answer was truncated")
def _(_: SettableClock) -> None:
    _said(pods(0, outcome=Outcome.PARTIAL))


@logs("a ClusterIP Service")
def _(_: SettableClock) -> None:
    with HeadlessService("web.prod", kind="cluster-ip") as svc, discovery(svc.source, "web.prod:8080"):
        pass


@logs("no SRV record has the port")
def _(_: SettableClock) -> None:
    with HeadlessService("web-headless.prod") as svc, discovery(svc.source, "web-headless.prod:8081"):
        pass


@logs("the watch fails, and DNS is asked")
def _(_: SettableClock) -> None:
    with HeadlessService("web-headless.prod", 1) as svc:
        source = Fallback(Kubernetes(server="http://127.0.0.1:1", namespace="prod"), svc.source)
        with discovery(source):
            pass


class _Watch:
    """A watch that fails first, and works when it is started again."""

    kind = "watch"

    def __init__(self) -> None:
        self.started = 0

    def watch(self, request: LookupRequest) -> Iterator[Answer]:
        self.started += 1
        if self.started == 1:
            yield FAILED
            return
        yield pods(0, ttl=None, authoritative=True)
        stopped = threading.Event()
        request.on_cancelled(stopped.set)
        stopped.wait(LONG)


@logs("the watch works again")
def _(clock: SettableClock) -> None:
    source = Fallback(_Watch(), Script(pods(0, 1)))
    with discovery(source) as web:
        while web.status.watch_error is not None or len(web.peers) != 1:
            clock.forward(40)  # a watch that failed is started again within half a minute
            web.refresh()


@logs("a source does not return, and the discovery was closed")
def _(clock: SettableClock) -> None:
    go_on, hangs = threading.Event(), threading.Event()

    def addresses() -> list[str]:
        hangs.set()
        go_on.wait(LONG)
        return []

    web = Discovery(NAME, source=FunctionSource(addresses), policy=Policy(min_peers=0, timeout=0.01))
    web.start(wait=False)
    assert hangs.wait(LONG)
    thread = next(t for t in threading.enumerate() if t.name.startswith("peerdiscover"))
    try:
        web.close()
    finally:
        go_on.set()
        thread.join(LONG)


@logs("cancelled requests filled a pool of connections")
def _(_: SettableClock) -> None:
    async def story(source: Any) -> None:
        limits = httpx.Limits(max_connections=5)
        async with (
            AsyncDiscovery("web-headless.prod:8080", source=source) as web,
            httpx.AsyncClient(transport=AsyncPodTransport(web, limits=limits), timeout=LONG) as client,
        ):
            await cancel_many(client, "http://web-headless.prod/")
            await client.get("http://web-headless.prod/")

    with HeadlessService("web-headless.prod", 1) as svc:
        asyncio.run(story(svc.source))


@logs("a certificate changed on disk, and cannot be read")
def _(_: SettableClock) -> None:
    with (
        HeadlessService("web-headless.prod", 1) as svc,
        NamedTemporaryFile("w+") as ca,
        discovery(svc.source) as web,
    ):
        ca.write(Path(certifi.where()).read_text())
        ca.flush()
        with httpx.Client(transport=PodTransport(web, verify=ca.name)) as client:
            for name in ca.name, f"{ca.name}.old":  # it is read with the first request
                Path(ca.name).rename(name)
                with pytest.raises(httpx.TransportError):
                    client.get("https://web-headless.prod/")  # the pods speak no TLS
        Path(f"{ca.name}.old").rename(ca.name)


@logs("the set changes")
def _(_: SettableClock) -> None:
    _said(pods(0, 1, 2), pods(0, 1, 2, 3))


@logs("there are no peers at the start")
def _(_: SettableClock) -> None:
    _said(NOT_FOUND)


@logs("a record was dropped")
def _(_: SettableClock) -> None:
    bad = HeadlessService("web-headless.prod", 2, pods=False, addresses=["10.0.0.1", "169.254.0.1"])
    with bad as svc, discovery(svc.source):
        pass


@logs("each answer")
def _(_: SettableClock) -> None:
    _said(pods(0, 1, 2))


@logs("the application reports a failure")
def _(_: SettableClock) -> None:
    with discovery(Script(pods(0, 1, 2))) as web:
        web.report_failure(web.peers[0], ConnectionRefusedError("refused"))


@logs("a source raises an exception")
def _(_: SettableClock) -> None:
    _said(pods(0), OSError("no route"))


@logs("a callback raises an exception")
def _(_: SettableClock) -> None:
    called = threading.Event()

    def broken(_: object) -> None:
        called.set()
        raise RuntimeError("broken")

    source = Script(pods(0))
    with discovery(source) as web:
        web.on_change(broken)
        source.say = pods(0, 1)
        web.refresh()
        assert called.wait(LONG)


@logs("a source's `on_cancelled` callback raises an exception")
def _(_: SettableClock) -> None:
    class Broken(Script):
        def lookup(self, request: LookupRequest) -> Answer:
            def broken() -> None:
                raise RuntimeError("broken")

            request.on_cancelled(broken)
            return super().lookup(request)

    with discovery(Broken(pods(0))):
        pass


@pytest.mark.parametrize("event", LOG)
def test_log(event: str, lines: Callable[[], Lines], clock: SettableClock) -> None:
    LOG[event](clock)
    level, example = table("log lines")[event]
    found = [(kind, normalised(text)) for kind, text in lines()]
    assert (level, normalised(example)) in found, lines()


def test_the_table_of_log_lines_has_each_line_once() -> None:
    rows = table("log lines")
    assert set(rows) == set(LOG)
    assert len(set(rows.values())) == len(rows)


# Errors


@raises("a malformed name")
def _() -> object:
    return resolve("web_headless.prod:8080")


@raises("a port out of range")
def _() -> object:
    return resolve("web-headless.prod:99999")


@raises("a URL")
def _() -> object:
    return resolve("http://web-headless.prod:8080")


@raises("no port, and several to choose from")
def _() -> object:
    with HeadlessService("web.prod", ports={"http": 8080, "grpc": 9090}, pods=False) as svc:
        return resolve("web.prod", source=svc.source)


@raises("no such Service, or no pod is ready")
def _() -> object:
    with HeadlessService("web-headless.prod", 0) as svc:
        return resolve(NAME, source=svc.source)


@raises("another port name")
def _() -> object:
    with HeadlessService("web-headless.prod") as svc:
        return resolve("web-headless.prod:htpp", source=svc.source)


@raises("no peers within `ready_timeout`")
def _() -> object:
    policy = Policy(ready_timeout=0.05)
    return Discovery(NAME, source=Script(NOT_FOUND), policy=policy).start()


@raises("no answer within `ready_timeout`")
def _() -> object:
    policy = Policy(ready_timeout=0.05)
    return Discovery(NAME, source=Script(FAILED), policy=policy).start()


@raises("a picker has no peer")
def _() -> object:
    with discovery(Script(NOT_FOUND)) as web:
        return web.round_robin().pick()


@raises("no pod has that ordinal")
def _() -> object:
    with discovery(Script(pods(0, 1, 2))) as web:
        return web.ordinal(7)


@raises("not started")
def _() -> object:
    return Discovery(NAME, source=Script(pods(0))).refresh()


@raises("already closed")
def _() -> object:
    with discovery(Script(pods(0))) as web:
        pass
    return web.refresh()


@pytest.mark.parametrize("event", ERRORS)
def test_errors(event: str) -> None:
    kind, example = table("errors")[event]
    with pytest.raises(PeerDiscoverError) as caught:
        ERRORS[event]()
    assert (type(caught.value).__name__, normalised(str(caught.value))) == (kind, normalised(example))


def test_the_table_of_errors_has_each_error_once() -> None:
    rows = table("errors")
    assert set(rows) == set(ERRORS)
    assert len(set(rows.values())) == len(rows)
