"""What is asked, and how often; and what comes of servers that answer nothing, or anything."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest

from peerdiscover.cli import main
from peerdiscover.doctor import _asking, _pods
from peerdiscover.doctor._api import KINDS
from peerdiscover.doctor._asking import Asking
from peerdiscover.doctor._dns import MAX_QUESTIONS
from peerdiscover.doctor._objects import Objects
from peerdiscover.doctor._report import Report
from peerdiscover.names import ServiceName
from peerdiscover.sources._server import Server
from peerdiscover.sources.environment import Environment, ResolvConf
from peerdiscover.testing import HeadlessService

from .test_command import OURS
from .test_manifests import slice_of

NAME = "web-headless.prod:http"
FAILURES = ("servfail", "refused", "nxdomain", "timeout", "truncated")


@pytest.fixture
def svc() -> Iterator[HeadlessService]:
    with HeadlessService("web-headless.prod", 3, {"http": 8080}) as service:
        yield service


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """This is no pod."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def examined(name: str, nameserver: str, *, seconds: float = 15.0, connects: bool = True) -> Report:
    report = Report()
    asking = Asking(
        ServiceName.parse(name),
        Environment(environ={}),
        [Server.parse(nameserver)],
        seconds,
        connects,
        report,
    )
    assert [section.title for section in asking.sections()] == [
        "Name and DNS",
        "Pods",
        "Service and workload",
    ]
    return report


def levels(report: Report) -> dict[str, str]:
    return {one.code: one.level for one in report.findings}


def missing(report: Report) -> set[str]:
    return {code for one in report.missing for code in one.codes}


@pytest.mark.parametrize("name", [NAME, "web-headless.prod", "web-headless.prod:8080", "other.prod:80"])
def test_at_most_twenty_questions(svc: HeadlessService, name: str) -> None:
    report = examined(name, svc.nameserver)
    assert len(svc.queries) <= MAX_QUESTIONS
    assert bool(report.findings) == (name == "other.prod:80")
    for mode in FAILURES:
        svc.answer(mode)  # type: ignore[arg-type]
        svc.queries.clear()
        examined(name, svc.nameserver)
        assert len(svc.queries) <= MAX_QUESTIONS, mode
        svc.answer(None)


def test_one_connection_a_pod(svc: HeadlessService, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a second one, and one to another port, to those that refuse."""
    made: list[tuple[str, int]] = []
    connect = _pods._try

    def counted(place: tuple[str, int]) -> str:
        made.append(place)
        return connect(place)

    monkeypatch.setattr(_pods, "_try", counted)
    assert levels(examined(NAME, svc.nameserver)) == {}
    assert sorted(made) == sorted(peer.sockaddr for peer in svc.peers)
    made.clear()
    assert levels(examined("web-headless.prod:81", svc.nameserver)) == {"PD106": "warning", "PD201": "error"}
    assert len(made) == 3 * 2 + 3
    made.clear()
    assert "PD201" in missing(examined(NAME, svc.nameserver, connects=False))
    assert made == []


def test_what_failed_once_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["refuses", "accepts"])
    monkeypatch.setattr(_pods, "_try", lambda _: next(answers))
    assert _pods.connect([("10.0.0.1", 80)], [], 30.0) == {"10.0.0.1:80": "accepts"}


def test_a_silent_server_is_asked_three_times_over_udp(svc: HeadlessService) -> None:
    svc.answer("timeout")
    examined(NAME, svc.nameserver)
    assert [query.transport for query in svc.queries] == ["udp"] * 3 + ["tcp"] * 2


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("timeout", {"PD101": "error"}),
        ("servfail", {}),
        ("refused", {}),
        ("nxdomain", {"PD104": "error"}),
        ("truncated", {"PD108": "warning"}),
    ],
)
def test_what_a_server_may_do(svc: HeadlessService, mode: str, expected: dict[str, str]) -> None:
    svc.answer(mode)  # type: ignore[arg-type]
    report = examined(NAME, svc.nameserver)
    assert levels(report) == expected
    if mode in ("servfail", "refused"):
        assert missing(report) >= {"PD104", "PD106", "PD108", "PD109", "PD201"}
        assert any(mode.upper() in one.why for one in report.missing)


@pytest.mark.parametrize("mode", [None, *FAILURES])
def test_the_text_fits_80_columns(
    svc: HeadlessService, mode: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    svc.answer(mode)  # type: ignore[arg-type]
    for name in [NAME] if mode else [NAME, "web-headless.prod:81"]:
        main(["doctor", name, "--nameserver", svc.nameserver, "--timeout", "6"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{name}, asked from outside of a pod"
        assert max(map(len, lines)) <= 80


def test_udp_alone(svc: HeadlessService) -> None:
    svc.answer("timeout", transport="tcp")
    assert levels(examined(NAME, svc.nameserver)) == {"PD107": "warning"}


def test_two_servers_that_disagree(svc: HeadlessService) -> None:
    """Twice, a TTL apart; not if the second round agrees."""
    name = ServiceName.parse(NAME)
    with HeadlessService("web-headless.prod", 2, {"http": 8080}, ttl=1, pods=False) as other:
        servers = [Server.parse(svc.nameserver), Server.parse(other.nameserver)]
        report = Report()
        asking = Asking(name, Environment(environ={}), servers, 30.0, False, report)
        list(asking.sections())
    (finding,) = report.findings
    assert (finding.code, finding.level) == ("PD109", "warning")
    assert finding.seen == "5 of 10 answers lack web-2"
    assert len(svc.queries) <= MAX_QUESTIONS


def test_only_the_slices_are_read_again(svc: HeadlessService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers lack a pod that is ready in the API; if the slices changed meanwhile, that is not checked."""
    read: list[list[str]] = []

    def read_namespace(
        _environment: Environment,
        _namespace: str,
        _service: str,
        _seconds: float,
        kinds: Iterable[str] = KINDS,
    ) -> tuple[Objects, str]:
        read.append(list(kinds))
        slices = slice_of("http")
        slices["endpoints"][0]["addresses"] = [f"10.9.9.{len(read)}"]
        return Objects.of([(slices, None, None)]), ""

    monkeypatch.setattr(_asking, "read_namespace", read_namespace)
    monkeypatch.setattr(_asking, "MAX_TTL", 0.1)
    report = examined(NAME, svc.nameserver, connects=False)
    assert read == [list(KINDS), ["EndpointSlice"]]
    assert "PD109" not in report.found
    assert [one.why for one in report.missing if "PD109" in one.codes] == ["the set is changing: ask again"]


def test_strict_counts_what_was_not_checked(svc: HeadlessService) -> None:
    arguments = ["doctor", NAME, "--nameserver", svc.nameserver, "-o", "json"]
    assert main(arguments) == 0
    assert main([*arguments, "--strict"]) == 1


@contextmanager
def junk(reply: bytes) -> Iterator[str]:
    """A nameserver that sends these bytes for each question, behind its id."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                asked, sender = sock.recvfrom(4096)
                if not asked:
                    return
                sock.sendto(asked[: min(2, len(reply))] + reply, sender)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{sock.getsockname()[1]}"
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", sock.getsockname())
            thread.join()


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\x00",
        b"\x81\x80" + b"\xff" * 500,
        b"\x81\x80\x00\x00\x00\x00\x00\x00\x00\x00",
        b"HTTP/1.1 400 no",
    ],
)
def test_junk_is_no_answer(reply: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with junk(reply) as nameserver:
        status = main(["doctor", NAME, "--nameserver", nameserver, "-o", "json", "--timeout", "6"])
    said = json.loads(capsys.readouterr().out)
    jsonschema.validate(said, OURS)
    found = [one["code"] for one in said["findings"]]
    assert found in ([], ["PD101"])
    assert status == bool(found)
    assert {code for one in said["not_checked"] for code in one["codes"]} >= {"PD104", "PD109", "PD201"}


def test_nothing_could_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No nameserver is known, and no API server: the status says that nothing is known."""
    nowhere = Environment(environ={}, resolv_conf=ResolvConf(tmp_path / "resolv.conf"))
    monkeypatch.setattr("peerdiscover.cli._doctor.Environment", lambda **_: nowhere)
    assert main(["doctor", NAME]) == 3
    out = capsys.readouterr().out
    assert "no nameserver is known" in " ".join(out.split())


def test_the_namespace_must_be_known() -> None:
    environment = Environment(
        environ={}, namespace_file=Path("/nowhere"), resolv_conf=ResolvConf(Path("/nowhere"))
    )
    with pytest.raises(Exception, match="the namespace is not known here"):
        Asking(ServiceName.parse("web:80"), environment, [], 1.0, True, Report())


TCP = """  sl  local_address rem_address   st
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2
   2: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3
   3: 0100007F:2328 0200007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 4
"""
TCP6 = """  sl  local_address                         remote_address                        st
   0: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 0 0 0
   1: 00000000000000000000000000000000:1F91 00000000000000000000000000000000:0000 0A 0 0 0
   2: 0000000000000000FFFF00000100007F:0052 00000000000000000000000000000000:0000 0A 0 0 0
"""


def test_who_listens_on_loopback_alone(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(TCP)
    (tmp_path / "tcp6").write_text(TCP6)
    assert _pods._loopback_ports(tmp_path) == {8080, 81, 82}
    assert _pods._loopback_ports(tmp_path / "none") == frozenset()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_real_listener_on_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert sock.getsockname()[1] in _pods._loopback_ports(Path("/proc/net"))
