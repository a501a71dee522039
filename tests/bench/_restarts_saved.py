"""What became of each client in a file, one line of JSON each: tables and plots are made again from it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import astuple
from pathlib import Path

from tests.http._load import Answered, Load

from ._rolls_run import Run


def save(run: Run, path: Path) -> None:
    """Appends it."""
    told = {
        "client": run.client, "busy": run.busy, "waited": run.waited, "late": run.load.late,
        "rolls": run.rolls, "executed": run.executed, "answered": [astuple(one) for one in run.load.answered],
    }  # fmt: skip
    with path.open("a") as file:
        file.write(json.dumps(told) + "\n")


def saved(path: Path) -> list[Run]:
    """All of them, in their order."""
    return [_read(line) for line in path.read_text().splitlines()]


def _read(line: str) -> Run:
    told = json.loads(line)
    load = Load([Answered(*one) for one in told["answered"]], told["late"])
    rolls = [(begun, over) for begun, over in told["rolls"]]
    return Run(told["client"], load, told["busy"], told["waited"], rolls, Counter(told["executed"]))
