"""Prints each figure beside its goal. `python -m tests.bench.compare` has two checkouts side by side.

Everything is measured against something in the same run: clocks of shared machines wander, ratios of
interleaved rounds hardly do. Medians throughout.
"""

from __future__ import annotations

import logging
import platform
import sys

from . import _adapters, _grpc, _imports, _peers, _picks, _requests
from ._table import show


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}\n")
    logging.disable()  # sets that are larger than DNS can carry are logged
    lines = []
    for module in (_picks, _peers, _requests, _adapters, _grpc, _imports):
        for line in module.figures():
            lines.append(line)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    show(("what", "measured", "goal"), lines)


if __name__ == "__main__":
    main()
