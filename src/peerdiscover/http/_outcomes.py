"""How an attempt ended, and whether its pod is to blame: read from objects, never from an error's text.

What HTTP/2 said comes as an object in the error of httpcore: a stream that was reset, or a connection that
was terminated. After some GOAWAYs httpcore sends a request again by itself; then a body that is a stream
raises that it was consumed.
"""

from __future__ import annotations

import errno
import ssl
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from ._attempts import Attempt
from ._bodies import CONSUMED
from ._retry import AttemptOutcome

__all__ = ["as_core_error", "classify", "counts_as_pod_failure", "is_lost_count", "message_of"]

_REFUSED_STREAM = 7  # RFC 9113, 7
_TOO_LARGE = 431  # RFC 6585, 5: what h11 would answer to a head beyond its limit
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
# What OpenSSL calls an answer to its hello that is not TLS.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")
_NOT_THE_PODS_FAULT = frozenset(
    (
        AttemptOutcome.LOCAL_ERROR,
        AttemptOutcome.REFUSED,
        AttemptOutcome.POOL_TIMEOUT,
        AttemptOutcome.NO_DESCRIPTORS,
        AttemptOutcome.CLIENT_CERTIFICATE,
        AttemptOutcome.NOT_TLS,
        AttemptOutcome.HEAD_TOO_LARGE,
    )
)


def classify(attempt: Attempt, error: Exception, core: Any) -> AttemptOutcome:
    """Return what this error of `core` means for the attempt that it ended."""
    event = error.args[0] if error.args else None
    if _waited_for_a_stream(event):
        return AttemptOutcome.UNSENT
    is_local = isinstance(error, core.LocalProtocolError | core.UnsupportedProtocol)
    if is_local and not _is_about_the_response(attempt, event):
        return AttemptOutcome.LOCAL_ERROR
    if isinstance(error, core.PoolTimeout):
        return AttemptOutcome.POOL_TIMEOUT
    causes = list(_causes(error))
    if any(_is_client_certificate(cause) for cause in causes):
        return AttemptOutcome.CLIENT_CERTIFICATE
    if not attempt.sent:
        return _unsent(attempt, causes)
    if any(getattr(cause, "error_status_hint", None) == _TOO_LARGE for cause in causes):
        return AttemptOutcome.HEAD_TOO_LARGE
    if event is CONSUMED:
        return AttemptOutcome.REFUSED
    if hasattr(event, "remote_reset") and getattr(event, "error_code", None) == _REFUSED_STREAM:
        return AttemptOutcome.REFUSED
    if getattr(event, "last_stream_id", None) == 0:
        return AttemptOutcome.REFUSED
    return AttemptOutcome.MAYBE_PROCESSED


def counts_as_pod_failure(attempt: Attempt, error: Exception, outcome: AttemptOutcome, core: Any) -> bool:
    """Return whether the pod is to blame.

    It is not for what is ours (a full pool, no descriptors, our certificate, our limits, https for pods that
    speak http), nor for what it refused in good order, nor for what we cut. A kept connection that ended as
    it was used says only that the pod closes idle ones, as servers do.
    """
    if outcome in _NOT_THE_PODS_FAULT or attempt.pod.aborted or is_lost_count(error):
        return False
    return attempt.is_new_connection or attempt.connecting or isinstance(error, core.TimeoutException)


class _LostCount:
    """What the error says if httpcore lost count of the streams of an HTTP/2 connection."""

    def __str__(self) -> str:
        return "the HTTP library lost count of the streams of its connection, after a cancellation"


_LOST_COUNT = _LostCount()


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


def message_of(error: BaseException) -> str:
    """Return what the error says, or what the first of its causes does that says something."""
    return next((message for cause in _causes(error) if (message := str(cause))), "")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, and those that it came of. (httpcore raises it anew `from None`.)"""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        yield following
        seen.append(following)
        following = following.__cause__ or following.__context__


def _unsent(attempt: Attempt, causes: list[BaseException]) -> AttemptOutcome:
    """Return why an attempt was not sent, as far as that makes a difference."""
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return AttemptOutcome.BAD_CERTIFICATE
        if isinstance(cause, ssl.SSLError) and attempt.connecting and cause.reason in _NOT_TLS:
            return AttemptOutcome.NOT_TLS
        if isinstance(cause, OSError) and cause.errno in _NO_DESCRIPTORS:
            return AttemptOutcome.NO_DESCRIPTORS
    return AttemptOutcome.UNSENT


def _is_client_certificate(error: BaseException) -> bool:
    """Whether the pod refused our certificate: TLS 1.3 says so after the handshake, by an alert."""
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLCertVerificationError):
        return False
    reason = error.reason or ""
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _is_about_the_response(attempt: Attempt, event: object) -> bool:
    """Whether h2 complains of what the pod sent: httpcore calls that a local error, too."""
    h2 = sys.modules.get("h2.exceptions")
    return attempt.received and h2 is not None and isinstance(event, h2.ProtocolError)


def _waited_for_a_stream(event: object) -> bool:
    """Whether an HTTP/2 connection had too many streams, and ended while this request waited for one."""
    h2 = sys.modules.get("h2.exceptions")
    return h2 is not None and isinstance(event, h2.TooManyStreamsError)
