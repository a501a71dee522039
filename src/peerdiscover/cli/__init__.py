"""The command line: `peerdiscover resolve | watch | wait | demo | render | doctor`.

Modules:

    _arguments   the commands, their options and the help
    _commands    resolve, watch, wait
    _wait_self   `wait --self`: what DNS says about this pod
    _output      sets and changes on stdout: JSON, plain text, a table
    _stderr      messages on stderr, the library's log included
    _live        the set below the changes of `watch`, on a terminal
    _doctor      what is wrong with a headless Service
    _demo        the library at work on an embedded headless Service

Invariants:

* Results go to stdout and messages to stderr, so that a program can read the one and a person the other.
* The exit status says what is known: 0 found; 1 no peers, or fewer than asked for; 2 usage or
  configuration; 3 no answer. 3 is never reported as 1, because a missing answer is no evidence.
* No traceback is printed. An error is shown with the library's own text.
* `--help` imports argparse and little else; each command imports what it needs.
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

FOUND, NO_PEERS, USAGE, NO_ANSWER = 0, 1, 2, 3
INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h
# A POSIX shell reports these for a process that a signal ended.
INTERRUPTED, TERMINATED, READER_GONE = 128 + 2, 128 + 15, 128 + 13


class _Terminated(BaseException):
    """SIGTERM arrived. By default it does not end the first process of a container, so the command does."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Usage errors and `--help` raise `SystemExit`."""
    verbose = 0
    try:
        signal.signal(signal.SIGTERM, _terminate)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A character that the terminal cannot show becomes a question mark, not an error.
            sys.stdout.reconfigure(errors="replace")
        try:
            arguments = parse(argv)
            verbose = arguments.verbose
            show_log(verbose)
            return _run(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return _ended_by(INTERRUPTED)
    except _Terminated:
        return _ended_by(TERMINATED)
    except BrokenPipeError:
        return READER_GONE
    except PeerDiscoverError as error:
        say_error(error)
        return status_of(error)
    except Exception as error:  # noqa: BLE001 - the last resort: one line, not a traceback
        status = _status_of_signal(error)
        return _unexpected(error, verbose) if status is None else _ended_by(status)
    finally:
        _discard(sys.stdout)
        _discard(sys.stderr)


def status_of(error: PeerDiscoverError, *, has_peers: bool = False) -> int:
    """Return the exit status for an error; `has_peers` says that some peers are known nevertheless."""
    if isinstance(error, ConfigurationError):
        return USAGE
    if isinstance(error, ResolutionTimeoutError) and not has_peers:
        return NO_ANSWER if error.outcome in (None, Outcome.FAILED) else NO_PEERS
    return NO_PEERS


def _run(arguments: Namespace) -> int:
    # Each module is loaded for its own commands only: see the invariants.
    if arguments.command == "demo":
        from ._demo import run
    elif arguments.command == "render":
        from ._render import run
    elif arguments.command == "doctor":
        from ._doctor import run
    else:
        from ._commands import run
    return run(arguments)


def _terminate(_signal: int, _frame: object) -> None:
    raise _Terminated


def _status_of_signal(error: BaseException) -> int | None:
    """Return the status if a signal caused the error, else None.

    A signal that arrives while a class is being created makes Python 3.11 raise a RuntimeError, whose
    cause is what the signal handler raised.
    """
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt | _Terminated):
            return INTERRUPTED if isinstance(cause, KeyboardInterrupt) else TERMINATED
        cause = cause.__cause__
    return None


def _ended_by(status: int) -> int:
    """Return the status, and let a second signal end the process at once while it still closes things."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return status


def _discard(stream: TextIO | None) -> None:
    """Discard output that has no reader: the interpreter would flush it again at its end, and complain."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _unexpected(error: Exception, verbose: int) -> int:
    import traceback  # rarely needed

    say(f"unexpected {type(error).__name__}: {error}")
    if verbose > 1:
        say("".join(traceback.format_exception(error)))
    elif not isinstance(error, OSError):
        say("this is a bug in peerdiscover; -vv shows the traceback")
    return INTERNAL_ERROR
