"""Programs of their own: what a process does at its end can only be seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys


def run_script(text: str, *arguments: str, status: int = 0, stderr: str | None = "") -> str:
    """What the program prints. It ends within 20 s, with this status, and says `stderr` (None: anything)."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", text, *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},
    )
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    if stderr is not None:
        assert done.stderr == stderr
    return done.stdout
