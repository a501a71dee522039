"""The table of gaps, at the end of a run: docs/benchmarks.md has it from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench._table import show

from ._rolling import RESULTS

if TYPE_CHECKING:
    import pytest

_HEAD = ("Server", "Client", "Acknowledged", "Lost", "Longest time without a write", "… without a read")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if RESULTS:
        terminalreporter.write_line("")
        show(_HEAD, [result.row(server) for server, result in RESULTS])
