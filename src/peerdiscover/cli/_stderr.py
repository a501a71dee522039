"""Words on stderr: what the commands say, and the library's log.

Rules of this room:

* Warnings of the library are always shown; `-v` shows what happens, `-vv` each answer.
* Nothing that goes wrong while talking stops a command: whoever closed stderr does not want to hear.
"""

from __future__ import annotations

import contextlib
import logging
import sys

__all__ = ["say", "say_error", "show_log"]


def say(text: str) -> None:
    """Words for a person."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it is None where it was closed before
        sys.stderr.write(f"peerdiscover: {text}\n")
        sys.stderr.flush()


def say_error(error: BaseException) -> None:
    """An error's own text, and the notes that it carries."""
    say(str(error))
    for note in getattr(error, "__notes__", ()):
        say(f"  {note}")


def show_log(verbose: int) -> None:
    """Show the library's log: warnings, from `-v` on what happens, from `-vv` on everything."""
    log = logging.getLogger("peerdiscover")
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = _ToStderr()
    handler.setFormatter(_Line(None if verbose else "warning: %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # a record that cannot be shown must not stop a command
            say(self.format(record))


class _Line(logging.Formatter):
    """One line a record: tracebacks in it are not for users of a command line."""

    def __init__(self, plain: str | None) -> None:
        super().__init__(plain or "%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatException(self, ei: object) -> str:  # noqa: ARG002, N802 - the base class's name
        return ""
