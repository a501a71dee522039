"""Messages on stderr: the commands' own, and the library's log.

Invariants:

* The library's warnings are always shown; `-v` adds what happens, `-vv` each answer.
* What others wrote cannot control the terminal: control characters are escaped, line breaks excepted.
* A message that cannot be written never stops a command: stderr may have been closed on purpose.
"""

from __future__ import annotations

import contextlib
import logging
import sys

from peerdiscover._text import printable

_MAX_LINE = 4000


def say(text: str) -> None:
    """Write a message for a person."""
    text = "\n".join(printable(line, _MAX_LINE) for line in text.split("\n"))
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it is None if it was closed before
        sys.stderr.write(f"peerdiscover: {text}\n")
        sys.stderr.flush()


def say_error(error: BaseException) -> None:
    """Write an error's own text and its notes."""
    say(str(error))
    for note in getattr(error, "__notes__", ()):
        say(f"  {note}")


def show_log(verbose: int) -> None:
    """Show the library's log: warnings; with `-v` also what happens; with `-vv` everything."""
    log = logging.getLogger("peerdiscover")
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = _ToStderr()
    handler.setFormatter(_OneLineFormatter(None if verbose else "warning: %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # a record that cannot be formatted must not stop a command
            say(self.format(record))


class _OneLineFormatter(logging.Formatter):
    """One line a record: a traceback does not help the user of a command line."""

    def __init__(self, plain: str | None) -> None:
        super().__init__(plain or "%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatException(self, ei: object) -> str:  # noqa: ARG002, N802 - the base class's name
        return ""
