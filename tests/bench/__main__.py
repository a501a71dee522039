"""Prints each figure beside its goal.

Everything is measured against something in the same run: clocks of shared machines wander, ratios of
interleaved rounds hardly do. Medians throughout.
"""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Iterable

from . import _imports, _peers, _picks, _requests


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}\n")
    logging.disable()  # sets past what DNS can carry are talked about
    lines = [("what", "measured", "goal")]
    for room in (_picks, _peers, _requests, _imports):
        for line in room.figures():
            lines.append(line)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    _table(lines)


def _table(lines: Iterable[tuple[str, str, str]]) -> None:
    head, *rest = lines
    widths = [max(len(line[i]) for line in (head, *rest)) for i in range(3)]
    for line in (head, tuple("-" * width for width in widths), *rest):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


if __name__ == "__main__":
    main()
