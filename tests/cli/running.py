"""Runs the installed command, with no environment but what a test gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from peerdiscover.testing import HeadlessService
from tests.waiting import LONG

COMMAND = str(Path(sys.executable).with_name("peerdiscover"))
NAME = "web-headless.prod:http"
PEER_KEYS = ["key", "hostname", "fqdn", "address", "port", "ordinal", "zone", "node", "hostport"]
SECONDS = LONG
AT_A_SIGNAL = "error,ignore::ResourceWarning"
"""What a signal's handler raises may come between the opening of a file and the name that would close it."""


def environment(**given: str) -> dict[str, str]:
    """The environment without what says which pod this is, and where."""
    ours = ("PEERDISCOVER_", "POD_", "PYTHON", "NO_COLOR", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONWARNINGS": "error", "LC_ALL": "C.UTF-8", **given}


def at(svc: HeadlessService) -> tuple[str, str]:
    """The option that names the embedded nameserver."""
    return ("--nameserver", svc.nameserver)


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end. There is never a traceback."""
    done = subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, env=environment(**env), timeout=SECONDS
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextmanager
def running(
    *arguments: str, command: Sequence[str] = (COMMAND,), **env: str
) -> Iterator[subprocess.Popen[str]]:
    """The running command; the end of the block ends it."""
    env = {"PYTHONWARNINGS": AT_A_SIGNAL, **env}
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=environment(**env),
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line of its stdout."""
    assert process.stdout is not None
    return process.stdout.readline()


def words(process: subprocess.Popen[str]) -> str:
    """The next line of its stderr."""
    assert process.stderr is not None
    return process.stderr.readline()


def ended(process: subprocess.Popen[str], sent: signal.Signals | None = None) -> tuple[int, str, str]:
    """Its status and what was left to read, after a signal where one is to be sent."""
    if sent is not None:
        process.send_signal(sent)
    out, err = process.communicate(timeout=SECONDS)
    assert "Traceback" not in err, err
    return process.returncode, out, err
