"""Lookups over real sockets on loopback, in threads and on both event loops."""

from __future__ import annotations

import gc
import os
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest

from peerdiscover import _forks
from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.errors import Outcome
from peerdiscover.names import ServiceName
from peerdiscover.sources._server import Server as Nameserver
from peerdiscover.sources.dns import DNS, _drivers, _exchange
from peerdiscover.sources.dns._drivers import MAX_IN_FLIGHT, _exchanges, _SelectorDriver, _TaskDriver
from peerdiscover.sources.dns._exchange import Transmission
from peerdiscover.sources.dns._remembered import ServerStats
from peerdiscover.sources.dns._sockets import PendingQuery
from peerdiscover.sources.dns._types import Batch, Question, RecordType
from tests.waiting import LONG, one_of_ten

from ._lookups import NAME
from ._server import Answers, Server, closed_port, nothing, records
from .conftest import Look

THREE = [f"{NAME} SRV 0 33 8080 web-{i}.{NAME}" for i in range(3)]
GLUE = tuple(f"web-{i}.{NAME} A 10.0.0.{i + 1}" for i in range(3))
GOOD = records(*THREE, f"{NAME} A 10.0.0.1", additional=GLUE)
TC = 0x0200


def hostnames(answer: Answer) -> list[str | None]:
    return [endpoint.hostname for endpoint in answer.endpoints]


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers is waited for, however busy the machine is, and nothing is sent twice."""
    monkeypatch.setattr(_exchange, "FIRST_TIMEOUT", LONG)
    monkeypatch.setattr(_exchange, "TCP_TIMEOUT", LONG)


@pytest.mark.usefixtures("unhurried")
def test_one_question_and_its_answer(look: Look) -> None:
    with Server(GOOD) as server:
        answer = look(DNS([server.nameserver]))
    assert hostnames(answer) == ["web-0", "web-1", "web-2"]
    assert answer.servers == (server.nameserver,)
    assert server.transports == ["udp"]


def without_glue(pods: int) -> Answers:
    """SRV without addresses: two more questions a pod."""
    return records(
        *[f"{NAME} SRV 0 1 8080 web-{i}.{NAME}" for i in range(pods)],
        *[f"web-{i}.{NAME} A 10.0.0.{i + 1}" for i in range(pods)],
    )


def test_a_batch_is_asked_in_parallel_each_question_from_its_own_socket(look: Look) -> None:
    bare = without_glue(MAX_IN_FLIGHT // 2)
    held: dict[bytes, tuple[bytes, int]] = {}

    def when_all_are_there(query: bytes) -> list[bytes]:
        """None is answered before: all sockets are open together, and none can have another's port."""
        text = query[2:]  # without its id: on a busy machine a question is sent again
        if text == server.queries[0][1][2:]:
            return bare(query)  # SRV, that all others wait for
        held[text] = query, server.queries[-1][2]
        if len(held) == MAX_IN_FLIGHT:
            for wire, port in held.values():
                server.send_late(bare(wire)[0], port)
        return []

    with Server(when_all_are_there) as server:
        answer = look(DNS([server.nameserver]), timeout=LONG)
    assert len(answer.endpoints) == MAX_IN_FLIGHT // 2
    assert len({port for _, port in held.values()}) == MAX_IN_FLIGHT


def test_a_batch_may_be_larger_than_what_is_asked_at_once(look: Look) -> None:
    with Server(without_glue(12)) as server:
        answer = look(DNS([server.nameserver]))
    assert len(answer.endpoints) == 12
    # By their texts: on a busy machine one is sent again, with another id.
    assert len({query[2:] for _, query, _ in server.queries}) == 25


@pytest.mark.usefixtures("unhurried")
def test_no_more_are_asked_at_once(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    is_open: set[PendingQuery] = set()
    counts: list[int] = []

    class Counted(PendingQuery):
        def __init__(self, transmission: Transmission) -> None:
            super().__init__(transmission)
            is_open.add(self)
            counts.append(len(is_open))

        def close(self) -> None:
            is_open.discard(self)
            super().close()

    monkeypatch.setattr(_drivers, "PendingQuery", Counted)
    with Server(without_glue(MAX_IN_FLIGHT)) as server:
        look(DNS([server.nameserver]), timeout=LONG)
    assert max(counts) == MAX_IN_FLIGHT


def test_questions_without_an_answer_do_not_keep_others_from_being_asked(look: Look) -> None:
    """AAAA is lost on the way for more machines than are asked at once."""
    name, hosts = "db.example.", 2 * MAX_IN_FLIGHT
    known = records(
        *[f"{name} SRV 0 1 8080 db-{i}.{name}" for i in range(hosts)],
        *[f"db-{i}.{name} A 10.0.0.{i + 1}" for i in range(hosts)],
    )

    def only_a(query: bytes) -> list[bytes]:
        return [] if query.find(b"\0\0\x1c\0\1", 12) > 0 else known(query)

    with Server(only_a) as server:
        answer = look(DNS([server.nameserver]), name, timeout=4.0)
    assert len(answer.endpoints) == hosts
    assert answer.failed_families == {6}


@pytest.mark.parametrize("driver", ["threads", "asyncio", "trio"])
def test_a_question_that_had_to_wait_for_its_turn_has_its_time(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first transmission is made when it would have ended. It is not repeated at once."""
    monkeypatch.setattr(_exchange, "FIRST_TIMEOUT", LONG)

    def exchange(now: float) -> _exchange.Exchange:
        servers = [Nameserver.parse(server.nameserver)]
        question = Question(NAME, RecordType.A)
        return _exchange.Exchange(question, servers, ServerStats(), now=now - LONG, until=now + 3 * LONG)

    async def awaited() -> None:
        await _TaskDriver(exchange(anyio.current_time())).run(anyio.Semaphore(1))

    with Server(GOOD) as server:
        if driver == "threads":
            assert _SelectorDriver([exchange(time.monotonic())], time.monotonic).run(lambda: False)
        else:
            anyio.run(awaited, backend=driver)
    assert server.transports == ["udp"]


def test_what_was_never_answered_gets_its_share_of_the_time() -> None:
    a, aaaa = Question(NAME, RecordType.A), Question(NAME, RecordType.AAAA)
    batch = Batch((a, aaaa), share=0.5, time_shares={aaaa: 0.25})
    asked = _exchanges(batch, [Nameserver("10.0.0.1")], ServerStats(), began=10, timeout=8, now=10)
    assert [(exchange.question, exchange.until) for exchange in asked] == [(a, 14), (aaaa, 11)]


@pytest.mark.usefixtures("unhurried")
def test_junk_a_wrong_id_a_wrong_question_and_a_wrong_source_come_first(look: Look) -> None:
    def answer(query: bytes) -> list[bytes]:
        (good,) = GOOD(query)
        (evil,) = records(f"{NAME} SRV 0 33 8080 evil.{NAME}", additional=(f"evil.{NAME} A 10.6.6.6",))(query)
        server.from_elsewhere(evil, server.queries[-1][2])
        wrong_id = bytes([evil[0] ^ 1]) + evil[1:]
        wrong_name = evil.replace(b"\x03web\x04prod", b"\x03wob\x04prod")
        return [b"junk", b"", query, wrong_id, wrong_name, good[:30], good]

    with Server(answer) as server:
        found = look(DNS([server.nameserver]))
    assert hostnames(found) == ["web-0", "web-1", "web-2"]
    assert len(server.queries) == 1
    (ignored,) = found.dropped
    assert ignored.startswith(
        f"6 replies ignored from {server.nameserver}, which did not answer SRV {NAME}: "
    )


def test_silence_then_an_answer_from_the_next_server(look: Look) -> None:
    def attempt() -> None:
        with Server(nothing) as silent, Server(GOOD) as good:
            dns = DNS([silent.nameserver, good.nameserver])
            assert len(look(dns).endpoints) == 3
            assert len(silent.queries) == 1
            assert len(look(dns).endpoints) == 3
            assert len(silent.queries) == 1, "the one that answered is asked first"

    one_of_ten(attempt)


def test_a_lost_datagram_is_sent_again_from_another_port(look: Look) -> None:
    with Server(lambda query: GOOD(query) if len(server.queries) > 1 else []) as server:
        assert len(look(DNS([server.nameserver])).endpoints) == 3
    assert len({port for _, _, port in server.queries}) == len(server.queries) >= 2
    assert len({query[2:] for _, query, _ in server.queries}) == 1


def test_a_slow_server_is_not_a_dead_one(look: Look) -> None:
    """Its answer to the first try comes while the second one waits."""

    def attempt() -> None:
        first: list[bytes] = []

        def slow(query: bytes) -> list[bytes]:
            first.append(query)
            if len(first) == 2:
                server.send_late(GOOD(first[0])[0], server.queries[0][2])
            return []

        with Server(slow) as server:
            assert len(look(DNS([server.nameserver])).endpoints) == 3
        assert len(first) == 2

    one_of_ten(attempt)


def test_silence_of_all(look: Look) -> None:
    with Server(nothing) as server:
        began = time.monotonic()
        answer = look(DNS([server.nameserver]), timeout=0.6)
        took = time.monotonic() - began
    assert answer.outcome is Outcome.FAILED
    assert re.search(rf"{server.nameserver}: no answer in 0\.[23] s", str(answer.error))
    assert answer.servers == (server.nameserver,)
    assert took > 0.55


def test_a_port_at_which_nobody_listens_fails_at_once(look: Look) -> None:
    with closed_port() as dead, Server(GOOD) as good:
        answer = look(DNS([dead, good.nameserver]))
        assert len(answer.endpoints) == 3
        answer = look(DNS([dead]))
    assert answer.outcome is Outcome.FAILED
    assert "connection refused" in str(answer.error), "it did not wait for an answer"
    assert "no answer" not in str(answer.error)


@pytest.mark.usefixtures("unhurried")
def test_cut_short_then_whole_over_tcp(look: Look) -> None:
    many = [f"{NAME} SRV 0 1 8080 web-{i}.{NAME}" for i in range(600)]
    glue = tuple(f"web-{i}.{NAME} A 10.0.{i // 256}.{i % 256}" for i in range(600))
    with Server(records(flags=TC), records(*many, additional=glue)) as server:
        answer = look(DNS([server.nameserver]), timeout=LONG)
    assert len(answer.endpoints) == 600
    assert answer.outcome is Outcome.RESOLVED
    assert set(server.transports) == {"udp", "tcp"}
    assert server.transports.count("tcp") == 1


def test_cut_short_and_tcp_refused(look: Look) -> None:
    with Server(records(*[f"{NAME} A 10.0.0.{i}" for i in range(1, 74)], flags=TC)) as server:
        answer = look(DNS([server.nameserver]))
    assert answer.outcome is Outcome.PARTIAL
    assert len(answer.endpoints) == 73
    assert any("TCP" in warning and "connection refused" in warning for warning in answer.warnings)


@pytest.mark.parametrize("ending", [[], [b""], [b"\x00"]])
def test_tcp_that_breaks_off(look: Look, ending: list[bytes]) -> None:
    with Server(records(*THREE, additional=GLUE, flags=TC), lambda query: ending) as server:
        answer = look(DNS([server.nameserver]), "web.prod")
    assert answer.outcome is Outcome.PARTIAL
    assert len(answer.endpoints) == 3


@pytest.mark.usefixtures("unhurried")
def test_a_second_opinion_comes_over_tcp_from_another_server(look: Look) -> None:
    with Server(GOOD, GOOD) as first, Server(GOOD, GOOD) as second:
        answer = look(DNS([first.nameserver, second.nameserver]), second_opinion=True)
    assert len(answer.endpoints) == 3
    assert (first.transports, second.transports) == ([], ["tcp"])
    assert answer.servers == (second.nameserver,)


@pytest.mark.usefixtures("unhurried")
def test_a_second_opinion_without_tcp_comes_over_udp(look: Look) -> None:
    with Server(GOOD) as server:
        assert len(look(DNS([server.nameserver]), second_opinion=True).endpoints) == 3
    assert server.transports == ["udp"]


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_out_of_file_descriptors_is_a_failed_answer() -> None:
    with Server(GOOD) as server:
        dns, ask = DNS([server.nameserver]), LookupRequest(ServiceName.parse("web.prod:8080"))
        assert dns.lookup(ask).outcome is Outcome.RESOLVED
        with no_more_descriptors():
            answer = dns.lookup(ask)
        assert answer.outcome is Outcome.FAILED
        assert "open files" in str(answer.error)
        assert dns.lookup(ask).outcome is Outcome.RESOLVED


def test_whoever_does_not_wait_any_more_is_not_kept() -> None:
    with Server(nothing) as server:
        gone = threading.Event()
        ask = LookupRequest(ServiceName.parse("web.prod:8080"), timeout=30, cancelled=gone.is_set)
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(DNS([server.nameserver]).lookup(ask)))
        thread.start()
        while not server.queries:
            assert thread.is_alive()
        gone.set()
        thread.join(25)  # less than its time
        assert not thread.is_alive()
    assert answers[0].outcome is Outcome.FAILED


@pytest.mark.anyio
async def test_cancelling_leaves_no_socket(anyio_backend: str) -> None:
    with Server(nothing) as server:
        dns = DNS([server.nameserver])
        async with anyio.create_task_group() as group:
            group.start_soon(dns.alookup, LookupRequest(ServiceName.parse("web.prod:8080"), timeout=30))
            while not server.queries:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    gc.collect()
    assert not [sock for sock in _forks._sockets if sock.fileno() >= 0]


def test_one_source_for_many_threads() -> None:
    with Server(GOOD) as server:
        dns, ask = DNS([server.nameserver]), LookupRequest(ServiceName.parse("web.prod:8080"))
        answers: list[Answer] = []
        threads = [
            threading.Thread(target=lambda: answers.extend(dns.lookup(ask) for _ in range(5)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 40
    assert {len(answer.endpoints) for answer in answers} == {3}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded.*fork:DeprecationWarning"
)  # forking under threads is the test
def test_a_child_has_none_of_its_parents_sockets() -> None:
    with Server(nothing) as server:
        gone = threading.Event()
        ask = LookupRequest(ServiceName.parse("web.prod:8080"), timeout=30, cancelled=gone.is_set)
        thread = threading.Thread(target=DNS([server.nameserver]).lookup, args=(ask,))
        thread.start()
        while not server.queries:
            assert thread.is_alive()
        open_ones = [sock for sock in _forks._sockets if sock.fileno() >= 0]
        child = os.fork()
        if child == 0:
            os._exit(sum(sock.fileno() >= 0 for sock in open_ones))
        _, status = os.waitpid(child, 0)
        gone.set()
        thread.join()
    assert open_ones
    assert os.waitstatus_to_exitcode(status) == 0


def test_ipv6_nameserver(look: Look) -> None:
    try:
        probe = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on loopback here")
    with probe:
        answers = threading.Thread(target=_answer_once, args=(probe,))
        answers.start()
        answer = look(DNS([f"[::1]:{probe.getsockname()[1]}"]))
        answers.join()
    assert len(answer.endpoints) == 3


def _answer_once(sock: socket.socket) -> None:
    query, client = sock.recvfrom(65535)
    sock.sendto(GOOD(query)[0], client)
