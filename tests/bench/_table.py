"""A Markdown table, with columns as wide as they must be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One figure: of the watch, of DNS, and what was hoped for."""

    what: str
    watch: str
    dns: str = ""
    goal: str = ""


def show(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints it."""
    lines = [head, *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in (head, tuple("-" * width for width in widths), *lines[1:]):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
