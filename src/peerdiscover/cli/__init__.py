"""The command line: `peerdiscover resolve | watch | wait | demo`.

The modules of this room:

    _arguments   what can be written: commands, options, their help
    _commands    resolve, watch, wait
    _own_name    `wait --self`: what DNS says of the pod that waits
    _showing     sets and changes as JSON, as plain text, as a table
    _talking     words on stderr, the library's log among them
    _demo        the library at work on an embedded headless service

Rules of this room:

* Results go to stdout, words to stderr. A program can read the one and a person the other.
* The exit status says what is known: 0 found; 1 nobody, or fewer than asked; 2 usage or
  configuration; 3 nobody could answer. 3 is never 1: no answer is no evidence.
* No traceback. An error's text is the library's own, as it is.
* `--help` loads argparse and nothing else of weight: a command loads what it needs.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import TextIO

from peerdiscover.errors import ConfigurationError, Outcome, PeerDiscoverError, ResolutionTimeoutError

from ._arguments import parse
from ._stderr import say, say_error, show_log

__all__ = ["main"]

FOUND, NOBODY, WRONG, NO_ANSWER = 0, 1, 2, 3
BROKEN = 70  # EX_SOFTWARE of sysexits.h: an error of ours
# What shells report for a process that the signal ended.
INTERRUPTED, TERMINATED, READER_GONE = 128 + 2, 128 + 15, 128 + 13


class _Terminated(BaseException):
    """SIGTERM came. The first process of a container gets no default action: it has to end by itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; what comes back is the exit status. Usage errors and `--help` raise `SystemExit`."""
    verbose = 0
    try:
        signal.signal(signal.SIGTERM, _terminate)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # Where a character cannot be shown there is a question mark, not an error.
            sys.stdout.reconfigure(errors="replace")
        try:
            arguments = parse(argv)
            verbose = arguments.verbose
            show_log(verbose)
            return _run(arguments.command, arguments)
        finally:
            _flush(sys.stdout)
    except KeyboardInterrupt:
        return _ended_by(INTERRUPTED)
    except _Terminated:
        return _ended_by(TERMINATED)
    except BrokenPipeError:
        return READER_GONE
    except PeerDiscoverError as error:
        say_error(error)
        return status_of(error)
    except Exception as error:  # noqa: BLE001 - the last resort: a line in place of a traceback
        status = _status_of_signal(error)
        return _unexpected(error, verbose) if status is None else _ended_by(status)
    finally:
        _let_go(sys.stdout)
        _let_go(sys.stderr)


def status_of(error: PeerDiscoverError, *, anybody: bool = False) -> int:
    """The exit status for an error; `anybody`: whether some peers are known all the same."""
    if isinstance(error, ConfigurationError):
        return WRONG
    if isinstance(error, ResolutionTimeoutError) and not anybody:
        return NO_ANSWER if error.outcome in (None, Outcome.FAILED) else NOBODY
    return NOBODY


def _run(command: str, arguments: Namespace) -> int:
    if command == "demo":
        from . import _demo  # loads the embedded service

        return _demo.run(arguments)
    from . import _commands  # see the rules

    return _commands.run(command, arguments)


def _terminate(_signal: int, _frame: object) -> None:
    raise _Terminated


def _status_of_signal(error: BaseException) -> int | None:
    """The status where a signal is at the bottom of it, as when one comes while a class is being made.

    Python 3.11 then raises a RuntimeError, with what the handler raised as its cause.
    """
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt | _Terminated):
            return INTERRUPTED if isinstance(cause, KeyboardInterrupt) else TERMINATED
        cause = cause.__cause__
    return None


def _ended_by(status: int) -> int:
    """Leave quietly, whatever is still to be closed on the way out; a second signal ends it at once."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return status


def _flush(stream: TextIO | None) -> None:
    if stream is not None:
        stream.flush()


def _let_go(stream: TextIO | None) -> None:
    """Forget what nobody reads: the interpreter would try again at its end, and complain."""
    try:
        _flush(stream)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno() if stream else nowhere)
        os.close(nowhere)


def _unexpected(error: Exception, verbose: int) -> int:
    import traceback  # rarely needed

    say(f"unexpected {type(error).__name__}: {error}")
    if verbose > 1:
        say("".join(traceback.format_exception(error)))
    elif not isinstance(error, OSError):
        say("this is an error of peerdiscover itself; -vv shows where")
    return BROKEN
