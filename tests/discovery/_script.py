"""Programs of their own: what a process does at its end can only be seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.waiting import LONG


def run_script(text: str, *arguments: str, status: int = 0, stderr: str | None = "") -> str:
    """What the program prints. It ends with this status, and says `stderr` (None: anything)."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", text, *arguments],
        capture_output=True,
        text=True,
        timeout=LONG,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )
    # The event loop's development mode remarks on a busy machine, which is nobody's fault here.
    said = "".join(line for line in done.stderr.splitlines(True) if not line.startswith("Executing <"))
    if done.returncode != status or stderr not in (None, said):
        raise AssertionError(f"status {done.returncode}, {status} was expected\n{done.stdout}\n{said}")
    return done.stdout
