"""What a terminal gets: a table and colours with `rich`, the plain text without."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from peerdiscover.cli._output import set_json, show_change, show_set
from peerdiscover.cli._stderr import say
from peerdiscover.peers import Change, Peer, PeerSet
from peerdiscover.testing import HeadlessService

from .running import NAME, SECONDS, at, environment

ESCAPE = "\x1b["
WITHOUT_RICH = "import sys; sys.modules['rich'] = None; "
RUN = "from peerdiscover.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def svc() -> Iterator[HeadlessService]:
    with HeadlessService("web-headless.prod", replicas=3) as service:
        yield service


def on_a_terminal(program: str, *arguments: str, **env: str) -> str:
    """What the command writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    environ = environment(TERM="xterm-256color", COLUMNS="100", **env)
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=theirs, env=environ)
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 65536):
            written += chunk
    except OSError:  # the other end was closed
        pass
    finally:
        os.close(ours)
    assert process.wait(SECONDS) == 0
    return written.decode().replace("\r\n", "\n")


def test_a_table(svc: HeadlessService) -> None:
    out = on_a_terminal("import sys; " + RUN, "resolve", NAME, *at(svc))
    assert ESCAPE in out
    assert "━" in out
    assert all(peer.hostport in out for peer in svc.peers)


def test_what_others_wrote_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    odd = "\x1b]0;title\x07\n  web-9  6.6.6.6:80"
    peer = Peer("web-0" + odd, "10.0.0.1", 80, hostname="web-0" + odd, fqdn="a." + odd, zone="eu-1" + odd)
    peers = PeerSet("web.prod:80" + odd, [peer])
    show_set(peers)
    show_change(Change.between(PeerSet("web.prod:80" + odd), peers))
    say(f"no answer from {odd}")
    plain, messages = capsys.readouterr()
    assert len(plain.splitlines()) == 4
    assert messages.splitlines() == ["peerdiscover: no answer from \\x1b]0;title\\x07", "  web-9  6.6.6.6:80"]
    console = Console(file=io.StringIO(), width=300, force_terminal=True, color_system=None)
    show_set(peers, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for out in (plain, messages, shown):
        assert "\x07" not in out
        assert "\x1b]" not in out
    assert json.loads(set_json(peers))["peers"][0]["zone"] == peer.zone


def test_a_table_without_colour(svc: HeadlessService) -> None:
    out = on_a_terminal("import sys; " + RUN, "resolve", NAME, *at(svc), NO_COLOR="1")
    assert "━" in out
    assert f"{ESCAPE}3" not in out  # 30 to 39: colours
    assert f"{ESCAPE}1;3" not in out


def test_plain_text_without_rich(svc: HeadlessService) -> None:
    out = on_a_terminal(WITHOUT_RICH + RUN, "resolve", NAME, *at(svc))
    assert out.splitlines()[0] == "web-headless.prod:http: headless, 3 pods"
    assert ESCAPE not in out


def test_json_is_the_same_everywhere(svc: HeadlessService) -> None:
    out = on_a_terminal("import sys; " + RUN, "resolve", NAME, "--json", *at(svc))
    assert out.startswith('{"service": ')
    assert ESCAPE not in out


@pytest.mark.parametrize(("program", "coloured"), [("import sys; ", True), (WITHOUT_RICH, False)])
def test_changes(svc: HeadlessService, program: str, coloured: bool) -> None:
    out = on_a_terminal(program + RUN, "watch", NAME, "--timeout", "2", *at(svc))
    assert (ESCAPE in out) == coloured
    assert all(peer.hostport in out for peer in svc.peers)


def test_the_set_stands_below_the_changes(svc: HeadlessService) -> None:
    """It is redrawn, says what is held and why, and `q` ends the command."""
    ours, theirs = pty.openpty()
    environ = environment(TERM="xterm-256color", COLUMNS="80", LINES="40")
    # A session of its own, whose terminal this is, so that keys are read from it.
    owns = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    command = [sys.executable, "-c", owns + RUN, "watch", NAME, *at(svc)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    try:
        read_until(ours, b"q ends")
        read_until(ours, b"last answer: ")
        svc.answer("nxdomain")
        read_until(ours, b": held: missing from ")
        os.write(ours, b"q")
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        svc.answer(None)


def test_a_terminal_of_another_session_gives_no_keys(svc: HeadlessService) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "import os, sys; os.setsid(); " + RUN, "watch", NAME, "--timeout", "1"]
    environ = environment(TERM="xterm-256color", COLUMNS="80", LINES="40")
    process = subprocess.Popen([*command, *at(svc)], stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    try:
        read_until(ours, b"q ends")
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What is written to the terminal up to these bytes."""
    written = b""
    deadline = time.monotonic() + SECONDS
    while wanted not in written:
        assert select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0], written
        written += os.read(terminal, 65536)
    return written


@pytest.mark.parametrize("width", [80, 60])
def test_a_table_fits_the_terminal(width: int) -> None:
    """Names shorten in the middle, since they differ at their ends; addresses are whole."""
    names = [f"release-name-{n}" for n in range(3)]
    domain = "release-name-headless.production.svc.cluster.local."
    pods = [
        Peer(name, f"10.244.100.{n}", 8080, hostname=name, fqdn=f"{name}.{domain}", zone="eu-central-1a")
        for n, name in enumerate(names)
    ]
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    show_set(PeerSet("web.prod:80", pods), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if "│" in line]
    assert [peer.hostport in row for peer, row in zip(pods, rows, strict=True)] == [True] * 3
    assert all("…" in row for row in rows)


@pytest.mark.parametrize(("program", "coloured"), [("import sys; ", True), (WITHOUT_RICH, False)])
def test_the_demo(program: str, coloured: bool) -> None:
    out = on_a_terminal(program + RUN, "demo", "--fast")
    assert (ESCAPE in out) == coloured
    assert "requests sent = " in out
