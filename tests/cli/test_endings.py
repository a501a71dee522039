"""However a command is ended: quietly, with a status that says it, and without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerdiscover.testing import HeadlessService

from .running import COMMAND, NAME, SECONDS, at, ended, environment, line, running


@pytest.fixture
def svc() -> Iterator[HeadlessService]:
    with HeadlessService("web-headless.prod", replicas=3, ttl=1) as service:
        yield service


@pytest.mark.parametrize("command", ["resolve", "watch", "wait"])
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_question_is_under_way(
    svc: HeadlessService, command: str, sent: signal.Signals, status: int
) -> None:
    svc.answer("timeout")
    with running(command, NAME, *at(svc)) as process:
        svc.wait_for_queries(1)
        assert ended(process, sent) == (status, "", "")


def test_a_signal_while_nothing_changes(svc: HeadlessService) -> None:
    with running("watch", NAME, *at(svc)) as watch:
        for _ in range(4):
            line(watch)
        assert ended(watch, signal.SIGINT) == (130, "", "")


def test_a_reader_that_has_gone(svc: HeadlessService) -> None:
    with running("watch", NAME, "--json", *at(svc)) as watch:
        line(watch)
        assert watch.stdout is not None
        watch.stdout.close()
        svc.replace(0)
        assert watch.wait(SECONDS) == 141
        assert watch.stderr is not None
        assert watch.stderr.read() == ""


@pytest.mark.parametrize(
    "arguments", [("resolve", NAME), ("--help",), ("resolve", "--help"), ("demo", "--fast")], ids=str
)
def test_a_reader_that_was_never_there(svc: HeadlessService, arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    more = at(svc) if NAME in arguments else ()
    try:
        done = subprocess.run(
            [COMMAND, *arguments, *more],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=SECONDS,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_stdout_that_is_closed(svc: HeadlessService) -> None:
    for redirection in (">&-", "2>&-", ">&- 2>&-", "<&-"):
        done = subprocess.run(
            ["sh", "-c", f'"$0" "$@" {redirection}', COMMAND, "resolve", NAME, *at(svc)],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=SECONDS,
        )
        assert (done.returncode, done.stderr) == (0, ""), redirection


def test_errors_where_nobody_reads_them() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([COMMAND, "resolve", "a b"], stderr=writer, env=environment(), timeout=SECONDS)
    finally:
        os.close(writer)
    assert done.returncode == 2


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk(svc: HeadlessService) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, "resolve", NAME, *at(svc)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=SECONDS,
        )
    assert done.returncode == 70
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_text_that_the_terminal_cannot_show(svc: HeadlessService) -> None:
    done = subprocess.run(
        [COMMAND, "resolve", "wéb.prod:1"],
        capture_output=True,
        text=True,
        encoding="ascii",
        env=environment(PYTHONIOENCODING="ascii"),
        timeout=SECONDS,
    )
    assert done.returncode == 2
    assert "not a DNS label" in done.stderr


def test_an_error_of_ours_is_one_line_too() -> None:
    program = """
import sys
from peerdiscover.cli import _commands, main
def broken(arguments):
    raise RuntimeError("broken")
_commands.resolve = broken
sys.exit(main(["resolve", "web.prod:1", *sys.argv[1:]]))
"""
    for more, lines in (((), 2), (("-vv",), 7)):
        done = subprocess.run(
            [sys.executable, "-c", program, *more],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=SECONDS,
        )
        assert done.returncode == 70
        assert "peerdiscover: unexpected RuntimeError: broken\n" in done.stderr
        assert len(done.stderr.splitlines()) >= lines
        assert ("Traceback" in done.stderr) == bool(more)


@pytest.mark.parametrize(("sent", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_that_python_wraps(sent: str, status: int) -> None:
    """On 3.11 a signal that comes while a class is being made arrives as the cause of a RuntimeError."""
    program = f"""
import os, signal, sys
from peerdiscover import cli

class Attribute:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.{sent})
        for _ in range(1000):
            pass

def command(*_):
    class Made:
        attribute = Attribute()

cli._run = command
sys.exit(cli.main(["demo"]))
"""
    with running(command=(sys.executable, "-c", program)) as process:
        assert ended(process) == (status, "", "")
