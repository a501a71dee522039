"""What importing costs in fresh processes, against `import dns.resolver` in the same run: processor time.

Where what dnspython takes for DNS over HTTPS is installed (httpx2, h2), it loads that, too, and the
yardstick is three times as long: the ratio is to be read without those.

All are loaded from bytecode that the first round wrote. Else an editable install, whose bytecode may be
stale or not there (PYTHONDONTWRITEBYTECODE), would be compiled each time, and dnspython not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from tempfile import TemporaryDirectory

ROUNDS = 25
YARDSTICK = "import dns.resolver"
OURS = (
    "import peerdiscover",
    "from peerdiscover import Discovery",
    "from peerdiscover import Discovery, DNS",
)
UNWANTED = ("httpx", "tenacity", "dns.resolver")

_PROGRAM = """
import sys, time
began = time.process_time()
{statement}
print(time.process_time() - began, *(name for name in {unwanted!r} if name in sys.modules))
"""


def figures() -> Iterator[tuple[str, str, str]]:
    times: dict[str, list[float]] = {statement: [] for statement in (YARDSTICK, *OURS)}
    loaded: dict[str, list[str]] = {}
    with TemporaryDirectory() as bytecode:
        for turn in range(ROUNDS + 1):
            for statement, seconds in times.items():
                took, loaded[statement] = run(statement, bytecode)
                if turn:  # the first one compiles and fills the page cache
                    seconds.append(took)
    yardstick = median(times[YARDSTICK])
    yield YARDSTICK, f"{yardstick * 1e3:.1f} ms", ""
    for statement in OURS:
        took = median(times[statement])
        goal = "≤ 0.5 ×" if statement is not OURS[-1] else ""
        yield statement, f"{took * 1e3:.1f} ms = {took / yardstick:.2f} ×", goal
    found = sorted({name for statement in OURS for name in loaded[statement]})
    yield f"… loaded by any of these, of {', '.join(UNWANTED)}", ", ".join(found) or "none", "none"


def run(statement: str, bytecode: str, **environment: str) -> tuple[float, list[str]]:
    """Seconds of the processor for an import in a fresh process, and which of UNWANTED it loads."""
    program = _PROGRAM.format(statement=statement, unwanted=UNWANTED)
    bytecode_there = {"PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=True, env={**os.environ, **bytecode_there, **environment},
    )  # fmt: skip
    seconds, *names = done.stdout.split()
    return float(seconds), names
