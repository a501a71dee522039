"""`peerdiscover demo`: what it shows did happen."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from .running import COMMAND, SECONDS, ended, environment, line, run, running


def test_fast() -> None:
    done = run("demo", "--fast")
    assert (done.returncode, done.stderr) == (0, "")
    out = done.stdout
    assert re.search(r"3 pods from 1 DNS query \(SRV\) in \d+\.\d ms", out)
    assert "9 requests, answered by: web-0 3, web-1 3, web-2 3" in out
    assert "answered: web-0, web-1, web-2; failed: none" in out
    assert "complete for generation 1: True" in out
    restarts = re.findall(r"(web-\d) restarted: (\S+) -> (\S+), noticed after \d+ ms", out)
    assert [key for key, _, _ in restarts] == ["web-2", "web-1", "web-0"]
    assert all(old != new for _, old, new in restarts)
    pattern = r"(\d+) requests sent = (\d+) answered \+ (\d+) failed; (\d+) of them needed another pod"
    sent, answered, failed, retried = map(int, re.findall(pattern, out)[0])
    assert sent == answered + failed
    assert sent > 10
    assert failed == 0
    assert retried < sent  # the first one was answered before a pod was restarted
    _, old, new = restarts[2]
    assert (
        f"web.ordinal(0) was Peer(web-0, {old}), and is now Peer(web-0, {new}), which answers as web-0" in out
    )
    assert "leader" not in out  # an ordinal is a name: nobody was elected
    assert "web-headless.prod:http: headless, 3 peers, generation 4" in out  # of explain()
    assert f"web-0 at {new}: in: the last answers have it" in out


def test_with_pods_that_share_one_address() -> None:
    """As on macOS, where only 127.0.0.1 can be bound."""
    program = """
import sys
from peerdiscover.testing import _service
assert _service.can_bind_127
_service.can_bind_127 = lambda: False
from peerdiscover.cli import main
sys.exit(main(["demo", "--fast"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), timeout=SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")
    restarts = re.findall(r"web-\d restarted: 127\.0\.0\.1:(\d+) -> 127\.0\.0\.1:(\d+), noticed", done.stdout)
    assert len(restarts) == 3
    assert " + 0 failed" in done.stdout


FAILING = """
import sys, threading
from peerdiscover import NoPeersError
from peerdiscover.cli import _demo, main
from peerdiscover.testing import HeadlessService
ask = _demo._ask
def lose(peer):
    if threading.current_thread().name.startswith(sys.argv[1]):
        raise NoPeersError("lost")
    return ask(peer)
_demo._ask = lose
if sys.argv[1] == "no restart":
    HeadlessService.replace = lambda *_: None
    _demo._RESTART_DEADLINE = 0.5
sys.exit(main(["demo", "--fast"]))
"""


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("demo requests", r"(\d+) requests sent = 0 answered \+ \1 failed"),
        ("peerdiscover-broadcast", "answered: none; failed: web-0, web-1, web-2"),
        ("no restart", "web-2 was restarted, and discovery did not notice it"),
    ],
)
def test_what_went_wrong_is_shown_and_is_its_status(what: str, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING, what],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(text, done.stdout)


def test_ctrl_c_in_the_middle() -> None:
    with running("demo", command=(COMMAND,)) as demo:
        while "2. Discovery" not in line(demo):  # before, it may be importing, and Python has words for that
            pass
        assert ended(demo, signal.SIGINT)[::2] == (130, "")
