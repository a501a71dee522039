"""What became of each client in a file, one line of JSON each: tables and plots are made again from it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import astuple
from pathlib import Path

from tests.http._load import Answered, Load

from ._restarts_run import Run


def save(run: Run, path: Path) -> None:
    """Append it to the file."""
    kept = {
        "client": run.client, "busy": run.busy, "waited": run.waited, "late": run.load.late,
        "restarts": run.restarts, "executed": run.executed,
        "answered": [astuple(one) for one in run.load.answered],
    }  # fmt: skip
    with path.open("a") as file:
        file.write(json.dumps(kept) + "\n")


def saved(path: Path) -> list[Run]:
    """Every run in the file, in order."""
    return [_read(line) for line in path.read_text().splitlines()]


def _read(line: str) -> Run:
    kept = json.loads(line)
    load = Load([Answered(*one) for one in kept["answered"]], kept["late"])
    restarts = [(begun, end) for begun, end in kept["restarts"]]
    return Run(kept["client"], load, kept["busy"], kept["waited"], restarts, Counter(kept["executed"]))
