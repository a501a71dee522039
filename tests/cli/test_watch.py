"""`peerdiscover watch`: each change, as text, as JSON, and told to a command."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerdiscover.testing import HeadlessService

from .running import NAME, PEER_KEYS, at, ended, line, run, running, words


@pytest.fixture
def svc() -> Iterator[HeadlessService]:
    with HeadlessService("web-headless.prod", replicas=3, ttl=1) as service:
        yield service


def test_json_lines(svc: HeadlessService) -> None:
    with running("watch", NAME, "--json", *at(svc)) as watch:
        first = json.loads(line(watch))
        assert list(first) == ["generation", "added", "removed", "moved", "peers"]
        assert (first["generation"], first["removed"], first["moved"]) == (1, [], [])
        assert [list(peer) for peer in first["added"]] == [PEER_KEYS] * 3
        assert first["added"] == first["peers"]
        before = svc.peers[0]
        svc.replace(0)
        second = json.loads(line(watch))
        assert (second["generation"], second["added"], second["removed"]) == (2, [], [])
        assert [list(pair) for pair in second["moved"]] == [["before", "after"]]
        assert second["moved"][0]["before"] == first["peers"][0]
        assert second["moved"][0]["before"]["address"] == before.address
        assert second["moved"][0]["after"] == second["peers"][0]
        assert second["moved"][0]["after"]["address"] == svc.peers[0].address
        svc.scale(4)
        third = json.loads(line(watch))
        assert [peer["key"] for peer in third["added"]] == ["web-3"]
        svc.remove(1)
        fourth = json.loads(line(watch))
        assert [peer["key"] for peer in fourth["removed"]] == ["web-1"]
        assert [peer["key"] for peer in fourth["peers"]] == ["web-0", "web-2", "web-3"]
        assert ended(watch, signal.SIGINT) == (130, "", "")


def test_plain_text(svc: HeadlessService) -> None:
    with running("watch", NAME, *at(svc)) as watch:
        assert line(watch)[9:] == "web-headless.prod:http: headless, 3 pods, generation 1\n"
        assert [line(watch).split()[:3] for _ in range(3)] == [["+", p.key, p.hostport] for p in svc.peers]
        old = svc.peers[2]
        svc.replace(2)
        assert line(watch)[9:] == "web-headless.prod:http: headless, 3 pods, generation 2\n"
        assert line(watch).split()[:5] == ["moved", "web-2", old.hostport, "->", svc.peers[2].hostport]
        svc.scale(2)
        assert line(watch)[9:] == "web-headless.prod:http: headless, 2 pods, generation 3\n"
        assert line(watch).split()[:2] == ["-", "web-2"]
        assert ended(watch, signal.SIGINT)[0] == 130


def test_no_peers_yet_and_then_some() -> None:
    with (
        HeadlessService("web-headless.prod", replicas=0) as svc,
        running("watch", NAME, "--json", *at(svc)) as watch,
    ):
        assert words(watch) == "peerdiscover: web-headless.prod:http: no peers yet (not found); watching\n"
        svc.scale(1)
        assert [peer["key"] for peer in json.loads(line(watch))["added"]] == ["web-0"]
        assert ended(watch, signal.SIGTERM)[0] == 143


def test_goes_on_while_there_is_no_answer(svc: HeadlessService) -> None:
    svc.answer("servfail")
    with running("watch", NAME, "--json", *at(svc)) as watch:
        assert "warning: web-headless.prod:http: lookup failed" in words(watch)
        svc.answer(None)
        assert len(json.loads(line(watch))["added"]) == 3
        assert words(watch).endswith("lookup recovered: resolved, 3 endpoints\n")
        assert ended(watch, signal.SIGINT)[0] == 130


def test_says_when_dns_answers_again(svc: HeadlessService) -> None:
    with running("watch", NAME, "--json", *at(svc)) as watch:
        line(watch)
        svc.answer("refused")
        assert "web-headless.prod:http: lookup failed, keeping 3 peers" in words(watch)
        svc.answer(None)
        assert "web-headless.prod:http: lookup recovered: resolved, 3 endpoints" in words(watch)
        assert ended(watch, signal.SIGINT)[0] == 130


@pytest.mark.parametrize(("replicas", "mode", "status"), [(1, None, 0), (0, None, 1), (1, "servfail", 3)])
def test_status_after_a_timeout(replicas: int, mode: str | None, status: int) -> None:
    with HeadlessService("web-headless.prod", replicas=replicas) as svc:
        svc.answer(mode)  # type: ignore[arg-type]
        done = run("watch", NAME, "--timeout", "2", *at(svc))
    assert done.returncode == status
    assert bool(done.stdout) == (status == 0)


def test_configuration_is_found_out_before_anything_is_asked(svc: HeadlessService) -> None:
    for command in ("", "no-such-command --x", "echo 'unfinished"):
        done = run("watch", NAME, "--exec", command, *at(svc))
        assert (done.returncode, done.stdout) == (2, "")
        assert "--exec" in done.stderr
    assert svc.queries == []


def _append_to(path: Path, *, then: str = "") -> str:
    """A command that appends its stdin to a file."""
    append = f"with open({str(path)!r}, 'a') as file: file.write(sys.stdin.read())"
    program = f"import pathlib, sys\n{append}\n{then}"
    return shlex.join([sys.executable, "-c", program])


def test_exec_gets_each_change(svc: HeadlessService, tmp_path: Path) -> None:
    received = tmp_path / "received"
    with running(
        "watch", NAME, "--json", "--exec", _append_to(received, then="print('ran')"), *at(svc)
    ) as watch:
        first = line(watch)
        assert line(watch) == "ran\n"
        svc.replace(1)
        second = line(watch)
        assert line(watch) == "ran\n"
        assert received.read_text() == first + second
        assert ended(watch, signal.SIGINT)[0] == 130


def test_exec_runs_one_at_a_time_and_gets_the_rest_as_one_change(
    svc: HeadlessService, tmp_path: Path
) -> None:
    received, go = tmp_path / "received", tmp_path / "go"
    os.mkfifo(go)
    command = _append_to(received, then=f"print('begun', flush=True); pathlib.Path({str(go)!r}).read_text()")
    with running("watch", NAME, "--json", "--exec", command, *at(svc)) as watch:
        line(watch)
        assert line(watch) == "begun\n"
        for ordinal in (0, 1):
            svc.replace(ordinal)
            # The second lookup from now on began after the first was taken in.
            svc.wait_for_queries(len(svc.queries) + 2)
        go.write_text("")
        change = json.loads(line(watch))
        assert change["generation"] == 3
        assert [pair["after"]["key"] for pair in change["moved"]] == ["web-0", "web-1"]
        assert line(watch) == "begun\n"
        assert len(received.read_text().splitlines()) == 2
        go.write_text("")
        assert ended(watch, signal.SIGINT)[0] == 130


@pytest.mark.parametrize(
    ("command", "text"), [("false", "ended with status 1"), ("sh -c 'kill -9 $$'", "ended with signal 9")]
)
def test_exec_that_fails_stops_nothing(svc: HeadlessService, command: str, text: str) -> None:
    with running("watch", NAME, "--json", "--exec", command, *at(svc)) as watch:
        line(watch)
        assert f"{text}; the change to generation 1 is lost" in words(watch)
        svc.replace(0)
        assert json.loads(line(watch))["generation"] == 2
        assert f"{text}; the change to generation 2 is lost" in words(watch)
        assert ended(watch, signal.SIGINT)[0] == 130


def test_exec_that_cannot_be_run_stops_nothing(svc: HeadlessService, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no program")
    program.chmod(0o755)
    with running("watch", NAME, "--json", "--exec", str(program), *at(svc)) as watch:
        line(watch)
        said = words(watch)
        assert "Exec format error" in said
        assert "the change to generation 1 is lost" in said
        svc.replace(0)
        assert json.loads(line(watch))["generation"] == 2
        assert ended(watch, signal.SIGINT)[0] == 130


def test_exec_that_reads_nothing(svc: HeadlessService) -> None:
    done = run("watch", NAME, "--exec", "true", "--timeout", "2", *at(svc))
    assert (done.returncode, done.stderr) == (0, "")


def test_exec_ends_with_the_watch(svc: HeadlessService, tmp_path: Path) -> None:
    command = _append_to(
        tmp_path / "received", then="import time; print('begun', flush=True); time.sleep(60)"
    )
    with running("watch", NAME, "--json", "--exec", command, *at(svc)) as watch:
        line(watch)
        assert line(watch) == "begun\n"
        # Its end closes stdout, which `communicate` waits for: the command must have ended, too.
        assert ended(watch, signal.SIGTERM)[0] == 143
