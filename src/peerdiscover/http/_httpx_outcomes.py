"""How an attempt of httpx ended: `_outcomes`, and what httpcore says beside it.

What HTTP/2 said comes as an object in the error of httpcore: a stream that was reset, or a connection that
was terminated. After some GOAWAYs httpcore sends a request again by itself; then a body that is a stream
raises that it was consumed.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

from ._attempts import Attempt
from ._bodies import CONSUMED
from ._outcomes import classify
from ._retry import AttemptOutcome

_REFUSED_STREAM = 7  # RFC 9113, 7
_TOO_LARGE = 431  # RFC 6585, 5: what h11 would answer to a head beyond its limit


def classify_httpx(attempt: Attempt, error: Exception, core: Any) -> AttemptOutcome:
    """Return what this error of `core` means for the attempt that it ended."""
    event = error.args[0] if error.args else None
    if _waited_for_a_stream(event):
        return AttemptOutcome.UNSENT
    is_local = isinstance(error, core.LocalProtocolError | core.UnsupportedProtocol)
    if is_local and not _is_about_the_response(attempt, event):
        return AttemptOutcome.LOCAL_ERROR
    if isinstance(error, core.PoolTimeout):
        return AttemptOutcome.POOL_TIMEOUT
    outcome = classify(attempt, error, lambda cause: getattr(cause, "error_status_hint", None) == _TOO_LARGE)
    if outcome is not AttemptOutcome.MAYBE_PROCESSED:
        return outcome
    if event is CONSUMED:
        return AttemptOutcome.REFUSED
    if hasattr(event, "remote_reset") and getattr(event, "error_code", None) == _REFUSED_STREAM:
        return AttemptOutcome.REFUSED
    if getattr(event, "last_stream_id", None) == 0:
        return AttemptOutcome.REFUSED
    return outcome


_LOST_COUNT = "the HTTP library lost count of the streams of its connection, after a cancellation"
"""The argument of the error of `as_core_error`; known by being this very object."""


def as_core_error(error: BaseException, core: Any) -> BaseException:
    """Return the error, or one of `core` for the `ValueError` of a semaphore that it released too often.

    httpcore does that over HTTP/2 after a request was cancelled. It is known by where it was raised.
    """
    if type(error) is not ValueError:
        return error
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    of_core = any(frame.f_globals.get("__name__", "").partition(".")[0] == core.__name__ for frame in frames)
    if not of_core or not frames or frames[-1].f_code.co_name not in ("release", "release_nowait"):
        return error
    replacement: BaseException = core.RemoteProtocolError(_LOST_COUNT)
    replacement.__cause__ = error
    return replacement


def is_lost_count(error: BaseException) -> bool:
    """Return whether the error is the one of `as_core_error`."""
    return bool(error.args) and error.args[0] is _LOST_COUNT


def _is_about_the_response(attempt: Attempt, event: object) -> bool:
    """Whether h2 complains of what the pod sent: httpcore calls that a local error, too."""
    h2 = sys.modules.get("h2.exceptions")
    return attempt.received and h2 is not None and isinstance(event, h2.ProtocolError)


def _waited_for_a_stream(event: object) -> bool:
    """Whether an HTTP/2 connection had too many streams, and ended while this request waited for one."""
    h2 = sys.modules.get("h2.exceptions")
    return h2 is not None and isinstance(event, h2.TooManyStreamsError)
