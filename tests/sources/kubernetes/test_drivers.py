"""The drivers of a watch against a server of the test's own, for what no API server can be made to do.

It speaks HTTP on loopback, without TLS and without a token, as `kubectl proxy` does.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from peerdiscover import (
    AsyncDiscovery,
    ConfigurationError,
    Discovery,
    Kubernetes,
    Outcome,
    Policy,
    ServiceName,
)
from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.sources._calling import Cancellation
from peerdiscover.sources.environment import Environment, ResolvConf
from peerdiscover.sources.kubernetes import _reflector
from tests.discovery.test_fork import Child
from tests.tools.certificates import Authority
from tests.waiting import LONG, eventually

from .test_reflector import END, added, deleted, item

ASK = LookupRequest(ServiceName.parse("web.prod:http"), timeout=1.0)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(*events: Any) -> bytes:
    return raw(b"".join(json.dumps(event).encode() + b"\n" for event in events))


def raw(some: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(some), some)


def whole(status: str, body: Any, *headers: str) -> bytes:
    text = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(text)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + text


Script = Callable[[socket.socket], Any]
"""What to do with a request, on its connection. Its end ends the connection, unless it returns True."""


def says(*parts: bytes) -> Script:
    """Sends those and hangs up."""

    def act(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)

    return act


def stays(*parts: bytes) -> Script:
    """Sends those and waits until the other side hangs up."""

    def act(connection: socket.socket) -> None:
        says(*parts)(connection)
        while connection.recv(1000):
            pass

    return act


def floods(some: bytes, *parts: bytes) -> Script:
    """Sends those, then the same thing again and again, without pause."""

    def act(connection: socket.socket) -> None:
        says(*parts)(connection)
        while True:
            connection.sendall(some * 1000)

    return act


def drips(connection: socket.socket) -> None:
    """Sends a head whose end is far: each byte comes long before a read times out. It gives up in the end."""
    connection.settimeout(0.02)
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000:
        connection.sendall(bytes([byte]))
        try:
            if not connection.recv(1):
                return
        except TimeoutError:
            pass


class Fake:
    """Serves one request after the other by a script; the last one serves all that follow."""

    def __init__(self, *scripts: Script, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._scripts = list(scripts)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests: list[tuple[float, str]] = []
        """When, and its first line."""
        self.heads: list[str] = []
        self._open: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve)

    @property
    def lines(self) -> list[str]:
        return [line for _, line in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        if self._open is not None:
            with suppress(OSError):
                self._open.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._context is not None:
                try:
                    connection = self._context.wrap_socket(connection, server_side=True)
                except OSError:
                    continue
            self._open = connection
            with closing(connection), suppress(OSError):
                while self._answer(connection):
                    pass

    def _answer(self, connection: socket.socket) -> bool:
        request = b""
        while b"\r\n\r\n" not in request:
            some = connection.recv(4096)
            if not some:
                return False
            request += some
        self.heads.append(request.decode().lower())
        self.requests.append((time.monotonic(), request.partition(b"\r\n")[0].decode()))
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        return bool(script(connection))


Take = Callable[..., list[Answer]]


@pytest.fixture(params=["threads", "asyncio", "trio"])
def take(request: pytest.FixtureRequest) -> Take:
    """The first so many answers of a watch, by each driver."""

    def by_thread(source: Kubernetes, count: int, ask: LookupRequest = ASK) -> list[Answer]:
        answers = source.watch(ask)
        try:
            return list(islice(answers, count))
        finally:
            answers.close()  # type: ignore[attr-defined]

    async def awaited(source: Kubernetes, count: int, ask: LookupRequest) -> list[Answer]:
        found: list[Answer] = []
        answers = source.awatch(ask)
        with anyio.fail_after(LONG):
            try:
                while len(found) < count:
                    found.append(await anext(answers))
            finally:
                await answers.aclose()  # type: ignore[attr-defined]
        return found

    if request.param == "threads":
        return by_thread
    return lambda source, count, ask=ASK: anyio.run(awaited, source, count, ask, backend=request.param)


def there(answer: Answer) -> set[str]:
    assert answer.is_evidence, answer
    return {endpoint.addresses[0] for endpoint in answer.endpoints}


SYNCED = chunk(added("10.0.0.1"), END)


def test_a_stream_that_ends_is_taken_up(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reflector, "FIRST_WAIT", 0.01)
    with Fake(
        says(OK, SYNCED, LAST),
        says(OK, chunk(added("10.0.0.2", 44))),  # and breaks
        stays(OK, chunk(deleted("10.0.0.1"))),
    ) as fake:
        answers = take(Kubernetes(fake.url), 3)
    assert [there(answer) for answer in answers] == [
        {"10.0.0.1"}, {"10.0.0.1", "10.0.0.2"}, {"10.0.0.2"}
    ]  # fmt: skip
    assert all("\r\naccept-encoding: identity\r\n" in head for head in fake.heads)
    assert all(answer.servers == (f"127.0.0.1:{fake.port}",) for answer in answers)
    assert "sendInitialEvents=true" in fake.lines[0]
    assert "resourceVersion=10&" in fake.lines[1]
    assert "resourceVersion=44&" in fake.lines[2]


def test_too_many_requests(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server is not to be had so busy: it says when to come again."""
    monkeypatch.setattr(_reflector, "FIRST_WAIT", 0.01)
    busy = whole("429 Too Many Requests", {"message": "busy"}, "Retry-After: 1", "Connection: close")
    with Fake(says(busy), stays(OK, SYNCED)) as fake:
        failed, found = take(Kubernetes(fake.url), 2)
    assert str(failed.error) == "429: busy"
    assert there(found) == {"10.0.0.1"}
    (first, _), (second, _) = fake.requests
    assert second - first >= 1


def test_a_server_without_such_watches(take: Take) -> None:
    """One that ignores what it does not know, as Kubernetes did before 1.27: a list, then a watch."""
    page = {"metadata": {"resourceVersion": "5"}, "items": [item("10.0.0.1")]}

    def listed(connection: socket.socket) -> bool:
        connection.sendall(whole("200 OK", page))
        return True

    with Fake(stays(OK, chunk(added("10.0.0.1"))), listed, stays(OK, chunk(added("10.0.0.2")))) as fake:
        began = time.monotonic()
        one, two = take(Kubernetes(fake.url), 2)
    assert time.monotonic() - began < LONG, "it does not wait for the end of the first watch"
    assert [there(one), there(two)] == [{"10.0.0.1"}, {"10.0.0.1", "10.0.0.2"}]
    assert "limit=20" in fake.lines[1]
    assert "resourceVersion=5&" in fake.lines[2]


def test_a_server_that_drips(take: Take) -> None:
    """A byte now and then keeps no one waiting: the first answer comes in time."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(OK)
        while True:
            connection.sendall(raw(b" "))
            time.sleep(0.02)  # the pace of the drops decides nothing

    with Fake(drip) as fake:
        began = time.monotonic()
        (answer,) = take(Kubernetes(fake.url), 1)
    assert "no answer in" in str(answer.error)
    assert 1 <= time.monotonic() - began < LONG


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", OK + b"zz\r\n", b""]
)
def test_a_server_that_speaks_something_else(take: Take, said: bytes) -> None:
    with Fake(says(said)) as fake:
        (answer,) = take(Kubernetes(fake.url), 1)
    assert answer.outcome is Outcome.FAILED


def test_what_cannot_work_is_a_failed_answer(take: Take, tmp_path: Path) -> None:
    (answer,) = take(Kubernetes("https://127.0.0.1:1", ca=tmp_path / "none"), 1)
    assert isinstance(answer.error, ConfigurationError)
    assert str(tmp_path / "none") in str(answer.error)
    nowhere = Environment(environ={}, namespace_file=tmp_path / "namespace")
    (answer,) = take(Kubernetes(environment=nowhere), 1)
    assert isinstance(answer.error, ConfigurationError)
    assert str(answer.error).startswith("no API server is known")


@pytest.mark.parametrize(
    ("given", "environ", "pod", "asked"),
    [
        ("given", "environ", "pod", "given"),
        (None, "environ", "pod", "environ"),
        (None, "", "pod", "pod"),
    ],
)
def test_which_namespace_a_name_without_one_is_in(
    tmp_path: Path, given: str | None, environ: str, pod: str, asked: str
) -> None:
    with Fake(stays(OK, SYNCED)) as fake:
        source = Kubernetes(fake.url, namespace=given, environment=place(tmp_path, environ, pod))
        answer = first_of(source, "web:http")
    assert f"/namespaces/{asked}/endpointslices?" in fake.lines[0]
    assert answer.name == f"web.{asked}.svc.cluster.local."


def test_the_namespace_of_the_name_itself_counts_before_all_others(tmp_path: Path) -> None:
    with Fake(stays(OK, SYNCED)) as fake:
        for given in "given", None:
            source = Kubernetes(fake.url, namespace=given, environment=place(tmp_path, "NONE", "pod"))
            assert first_of(source, "web.prod:http").name == "web.prod.svc.cluster.local."
        assert all("/namespaces/prod/endpointslices?" in line for line in fake.lines)
        source = Kubernetes(fake.url, environment=place(tmp_path, "NONE", "pod"))
        assert "PEERDISCOVER_NAMESPACE='NONE'" in str(first_of(source, "web:http").error)


def test_no_namespace_is_made_up(tmp_path: Path) -> None:
    source = Kubernetes("http://127.0.0.1:1", environment=place(tmp_path))
    assert "the namespace is not known here" in str(first_of(source, "web:http").error)


def place(folder: Path, environ: str = "", pod: str | None = None) -> Environment:
    """Where the program runs, as far as namespaces go."""
    if pod is not None:
        (folder / "namespace").write_text(pod)
    return Environment(
        environ={"PEERDISCOVER_NAMESPACE": environ},
        resolv_conf=ResolvConf(folder / "resolv.conf"),
        namespace_file=folder / "namespace",
    )


def first_of(source: Kubernetes, name: str) -> Answer:
    """The first answer of a watch."""
    answers = source.watch(replace(ASK, service=ServiceName.parse(name)))
    answer = next(answers)
    answers.close()  # type: ignore[attr-defined]
    return answer


def test_proxies_of_the_environment_are_not_followed_unless_asked(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "no_proxy", "NO_PROXY":
        monkeypatch.delenv(name, raising=False)
    with Fake(stays(OK, SYNCED)) as proxy, Fake(stays(OK, SYNCED)) as fake:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        take(Kubernetes(fake.url), 1)
        assert fake.lines
        assert not proxy.lines
        fake.requests.clear()
        take(Kubernetes(fake.url, trust_env=True), 1)
        assert proxy.lines[0].startswith(f"GET {fake.url}/apis/")
        assert not fake.lines
        proxy.requests.clear()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        take(Kubernetes(fake.url, trust_env=True), 1)
        assert fake.lines
        assert not proxy.lines


def test_a_proxy_that_sends_its_password_back(take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "no_proxy", "NO_PROXY":
        monkeypatch.delenv(name, raising=False)
    basic = b64encode(b"user:s3cret").decode()
    body = {"message": f"user:s3cret is unknown; Proxy-Authorization: Basic {basic}"}
    with Fake(says(whole("407 Who", body))) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:s3cret@127.0.0.1:{proxy.port}")
        (answer,) = take(Kubernetes("http://127.0.0.1:1", trust_env=True), 1)
    assert f"basic {basic.lower()}" in proxy.heads[0], "it was sent"
    assert "user:<hidden> is unknown" in str(answer.error)
    assert "s3cret" not in f"{answer!r} {answer.error}"
    assert basic not in f"{answer!r} {answer.error}"


@pytest.mark.parametrize(
    "proxy", ["socks5://u:s3cret@[::1]:1", "https://u:s3cret@x:1", "http://u:s3cret/@x:1"]
)
def test_a_proxy_that_is_not_spoken_to_is_an_error_without_its_password(
    take: Take, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, proxy: str
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in "no_proxy", "NO_PROXY":
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    (answer,) = take(Kubernetes("http://127.0.0.1:1", trust_env=True), 1)
    assert isinstance(answer.error, ConfigurationError)
    assert "s3cret" not in f"{answer} {caplog.text}"


def test_nobody_listens(take: Take) -> None:
    (answer,) = take(Kubernetes("http://127.0.0.1:1"), 1, replace(ASK, timeout=2 * LONG))
    assert str(answer.error).startswith("ConnectionRefusedError: "), "also where it is awaited"


@contextmanager
def watched_in_a_thread(source: Kubernetes) -> Iterator[tuple[list[Answer], Cancellation]]:
    """What a thread was told so far, and how to end it."""
    told: list[Answer] = []
    cancellation = Cancellation()
    ask = replace(ASK, timeout=30.0, on_cancelled=cancellation.add_callback)

    def watch() -> None:
        for answer in source.watch(ask):
            told.append(answer)  # noqa: PERF402 -- seen at once by who waits for it

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield told, cancellation
    finally:
        cancellation.cancel()
        thread.join(LONG)
        assert not thread.is_alive()


def test_a_request_that_was_cancelled_before_asks_nothing() -> None:
    with Fake(stays()) as fake:
        assert next(iter(Kubernetes(fake.url).watch(replace(ASK, cancelled=lambda: True))), None) is None
        assert not fake.requests


def test_a_server_that_never_shakes_hands(take: Take) -> None:
    """Nothing of the connection is left open (see the fixture that looks at each test)."""
    with Fake(stays()) as fake:
        (answer,) = take(Kubernetes(fake.url.replace("http:", "https:")), 1)
    assert "no answer in" in str(answer.error)


EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


def test_a_server_that_sends_interim_responses_without_pause(take: Take) -> None:
    with Fake(floods(EARLY_HINTS)) as fake:
        (answer,) = take(Kubernetes(fake.url), 1)
    assert "no answer in" in str(answer.error)


def test_a_stream_that_never_pauses_is_read_again_when_its_time_ends(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reflector, "FIRST_WAIT", 0.01)
    with Fake(floods(raw(b" "), OK, SYNCED), stays(OK, chunk(added("10.0.0.2"), END))) as fake:
        answers = take(Kubernetes(fake.url, timeout_seconds=1), 2)
    assert [there(answer) for answer in answers] == [{"10.0.0.1"}, {"10.0.0.2"}]


@pytest.mark.anyio
async def test_an_event_loop_goes_on_while_a_stream_never_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read of a quarter of a megabyte has 40,000 such chunks: two seconds if read at a stretch."""
    turns, chunks, most = 0, 0, 0

    def data(self: Any, some: bytes | None, now: float) -> list[Answer]:
        nonlocal chunks, most
        chunks += 1
        most = max(most, chunks)
        return taken(self, some, now)

    taken = _reflector.Reflector.data
    monkeypatch.setattr(_reflector.Reflector, "data", data)
    with Fake(floods(raw(b" "), OK, SYNCED)) as fake, anyio.fail_after(LONG):
        web = AsyncDiscovery("web.prod:http", source=Kubernetes(fake.url), policy=Policy(timeout=4 * LONG))
        async with web:
            while turns < 1000:
                turns, chunks = turns + 1, 0
                await anyio.lowlevel.checkpoint()
    assert most < 10


def test_a_stream_that_never_pauses_over_tls(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What TLS has read in advance ends soon, and then the clock is looked at."""
    monkeypatch.setattr(_reflector, "FIRST_WAIT", 0.01)
    authority = Authority(tmp_path, "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("api", "IP:127.0.0.1"))
    scripts = floods(raw(b" "), OK, SYNCED), stays(OK, chunk(added("10.0.0.2"), END))
    with Fake(*scripts, context=context) as fake:
        source = Kubernetes(f"https://127.0.0.1:{fake.port}", ca=authority.ca, timeout_seconds=1)
        answers = take(source, 2)
    assert [there(answer) for answer in answers] == [{"10.0.0.1"}, {"10.0.0.2"}]


@pytest.mark.parametrize(
    "script",
    [stays(), stays(OK), stays(OK, SYNCED), says(), floods(EARLY_HINTS), floods(raw(b" "), OK, SYNCED)],
)
def test_a_thread_is_woken_wherever_it_waits(script: Script) -> None:
    """For the head, for the set, for an event, and between two attempts."""
    with Fake(script) as fake, watched_in_a_thread(Kubernetes(fake.url)) as (_, cancellation):
        eventually(lambda: fake.lines)
        began = time.monotonic()
        cancellation.cancel()
    assert time.monotonic() - began < 30, "it does not wait for its time"


FLOODS = [floods(EARLY_HINTS), floods(raw(b" "), OK, SYNCED)]


@pytest.mark.parametrize("script", FLOODS)
def test_closing_while_a_server_sends_without_pause(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    """In the head of its response, and in the body."""
    policy = Policy(timeout=4 * LONG)
    with Fake(script) as fake:
        web = Discovery("web.prod:http", source=Kubernetes(fake.url), policy=policy).start(wait=False)
        eventually(lambda: fake.lines)
        began = time.monotonic()
        web.close()
        assert time.monotonic() - began < LONG, "it does not wait for the server's time"
    assert "left behind" not in caplog.text


@pytest.mark.anyio
@pytest.mark.parametrize("script", FLOODS)
async def test_closing_while_a_server_sends_without_pause_awaited(script: Script) -> None:
    with Fake(script) as fake, anyio.fail_after(LONG):
        source = Kubernetes(fake.url)
        web = AsyncDiscovery("web.prod:http", source=source, policy=Policy(timeout=4 * LONG))
        await web.start(wait=False)
        while not fake.lines:
            await anyio.lowlevel.checkpoint()
        await web.aclose()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are looked at in /proc")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_child_of_a_fork_has_no_part_in_the_connection() -> None:
    before = sockets()
    fake = Fake(stays(OK, SYNCED))
    with fake, watched_in_a_thread(Kubernetes(fake.url)) as (told, _):
        eventually(lambda: told)
        ours = sockets() - before
        theirs = {s for s in ours if s in sockets_of(fake)}
        child = Child(lambda: len((sockets() & ours) - theirs))
        assert child.result() == 0
        assert len(ours - theirs) == 1, "the connection, and nothing beside it"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="descriptors are looked at in /proc")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.anyio
async def test_the_child_of_a_fork_has_no_part_in_the_connection_of_a_task() -> None:
    before = sockets()
    with Fake(stays(OK, SYNCED)) as fake:
        answers = Kubernetes(fake.url).awatch(ASK)
        await anext(answers)
        theirs = sockets_of(fake)
        connection = {s for s in sockets() - before - theirs if s in connected_to(fake)}
        assert len(connection) == 1
        child = Child(lambda: len(sockets() & connection))
        assert child.result() == 0
        await answers.aclose()  # type: ignore[attr-defined]


def connected_to(fake: Fake) -> set[str]:
    """The sockets of this process whose other end is the server's port (proc(5), /proc/net/tcp)."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{fake.port:04X}")}


def sockets() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(entry.readlink()))
    return {one for one in found if one.startswith("socket:")}


def sockets_of(fake: Fake) -> set[str]:
    assert fake._open is not None
    return {f"socket:[{os.fstat(sock.fileno()).st_ino}]" for sock in (fake._listener, fake._open)}


def test_arguments() -> None:
    assert repr(Kubernetes()) == "Kubernetes()"
    assert repr(Kubernetes("https://a:1", token="s3cret")) == "Kubernetes(server='https://a:1')"
    wrong: dict[str, Any]
    for wrong in {"timeout_seconds": 0}, {"timeout_seconds": 1e9}, {"namespace": "A"}, {"token": "a b"}:
        with pytest.raises(ConfigurationError):
            Kubernetes(**wrong)
