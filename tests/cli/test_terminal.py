"""What a terminal gets: a table and colours with `rich`, the plain text without."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from peerdiscover.cli._output import set_json, show_change, show_set, table
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
    table(console, peers)
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


@pytest.mark.parametrize(("program", "coloured"), [("import sys; ", True), (WITHOUT_RICH, False)])
def test_the_demo(program: str, coloured: bool) -> None:
    out = on_a_terminal(program + RUN, "demo", "--fast")
    assert (ESCAPE in out) == coloured
    assert "requests sent = " in out
