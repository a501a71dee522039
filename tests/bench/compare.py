"""What a pick, an import and a request cost in two checkouts, in one run.

    python -m tests.bench.compare CHECKOUT [--rounds 9]

CHECKOUT is another tree of the project, such as `git worktree add ../before COMMIT` makes. It is measured by
the benchmarks of this tree, so it must have the public names that these use. The two take turns, each in a
process of its own: what else the machine has to do is in neither's favour. Medians throughout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from . import _imports
from ._table import show

HERE = Path(__file__).parents[2]

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.compare")
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    trees = {"before": options.checkout.resolve(), "now": HERE}
    found: dict[str, list[Figures]] = {name: [] for name in trees}
    print(
        f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"the median of {options.rounds} rounds, the least in brackets\n"
    )
    with TemporaryDirectory() as bytecode:
        for turn in range(options.rounds + 1):
            for name in list(trees)[:: 1 if turn % 2 else -1]:
                figures = _measured(trees[name], bytecode)
                if turn:  # the first one compiles and fills the page cache
                    found[name].append(figures)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    rows = []
    for what in found["now"][0]:
        before, now = ([figures[what] for figures in found[name]] for name in trees)
        cells = (f"{median(each):.3g} ({min(each):.3g})" for each in (before, now))
        rows.append((what, *cells, f"{median(now) / median(before):.2f} ×"))
    show(("What", "Before", "Now", "Now against before"), rows)


def _measured(tree: Path, bytecode: str) -> Figures:
    path = {"PYTHONPATH": str(tree / "src")}
    figures = {}
    for statement in _imports.OURS:
        seconds, _ = _imports.run(statement, bytecode, **path)
        figures[f"{statement} (ms of the processor)"] = seconds * 1e3
    done = subprocess.run(
        [sys.executable, "-c", "from tests.bench.compare import child; child()"],
        cwd=HERE, env={**os.environ, **path}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    said = json.loads(done.stdout)
    if not Path(said.pop("file")).is_relative_to(tree):
        raise RuntimeError(f"what was measured is not what is in {tree}")
    return {**figures, **said}


def child() -> None:
    """Measure the checkout that PYTHONPATH names, and print what was found."""
    import peerdiscover

    from . import _picks, _requests

    logging.disable()
    pick = _picks.cost(rounds=31)
    figures: Mapping[str, float | str] = {
        "file": str(peerdiscover.__file__),
        "pick (ns)": pick.seconds * 1e9,
        "pick, against next(itertools.cycle) (×)": pick.ratio,
        "web.round_robin().pick() (ns)": pick.whole * 1e9,
    }
    with _requests.server() as port:
        for name, (plain, one, many) in (
            ("request", _requests.threads(port, rounds=6)),
            ("request, async", asyncio.run(_requests.tasks(port, rounds=6))),
        ):
            figures = {
                **figures,
                f"{name}: httpx (µs of the processor)": plain * 1e6,
                f"{name}: over one pod, against httpx (×)": one,
                f"{name}: over {_requests.MANY} pods, against one (×)": many,
            }
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main()
