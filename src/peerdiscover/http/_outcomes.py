"""How an attempt ended, and whether its pod is to blame: read from objects, never from an error's text.

What HTTP/2 said comes as an object in the error of httpcore: a stream that was reset, or a connection that
was terminated. After some GOAWAYs httpcore sends a request again by itself; then a body that is a stream
raises that it was consumed.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ._attempts import Attempt
from ._retry import AttemptOutcome

__all__ = ["ReadOnce", "classify", "counts_as_pod_failure"]

_REFUSED_STREAM = 7  # RFC 9113, 7


class _Consumed:
    """What the error says if a stream was to be read a second time."""

    def __str__(self) -> str:
        return "the connection ended before the request was processed"


_CONSUMED = _Consumed()


class ReadOnce:
    """The body of a request that cannot be sent again."""

    def __init__(self, stream: Any, core: Any) -> None:
        self._stream = stream
        self._core = core
        self.consumed: bool = False

    def _consume(self) -> None:
        if self.consumed:
            raise self._core.RemoteProtocolError(_CONSUMED)
        self.consumed = True

    def __iter__(self) -> Iterator[bytes]:
        self._consume()
        iterator: Iterator[bytes] = iter(self._stream)
        return iterator

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._consume()
        iterator: AsyncIterator[bytes] = aiter(self._stream)
        return iterator


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
    if not attempt.sent:
        return AttemptOutcome.BAD_CERTIFICATE if _is_bad_certificate(error) else AttemptOutcome.UNSENT
    if event is _CONSUMED:
        return AttemptOutcome.REFUSED
    if hasattr(event, "remote_reset") and getattr(event, "error_code", None) == _REFUSED_STREAM:
        return AttemptOutcome.REFUSED
    if getattr(event, "last_stream_id", None) == 0:
        return AttemptOutcome.REFUSED
    return AttemptOutcome.MAYBE_PROCESSED


def counts_as_pod_failure(attempt: Attempt, error: Exception, outcome: AttemptOutcome, core: Any) -> bool:
    """Return whether the pod is to blame.

    It is not for a full pool, which is ours, nor for what it refused in good order, nor for what we cut. A
    kept connection that ended as it was used says only that the pod closes idle ones, as servers do.
    """
    if (
        outcome in (AttemptOutcome.LOCAL_ERROR, AttemptOutcome.REFUSED, AttemptOutcome.POOL_TIMEOUT)
        or attempt.pod.aborted
    ):
        return False
    return attempt.is_new_connection or attempt.connecting or isinstance(error, core.TimeoutException)


def _is_bad_certificate(error: BaseException) -> bool:
    """Whether a certificate did not verify: that error was being handled when this one was raised."""
    return isinstance(error.__context__, ssl.SSLCertVerificationError)


def _is_about_the_response(attempt: Attempt, event: object) -> bool:
    """Whether h2 complains of what the pod sent: httpcore calls that a local error, too."""
    h2 = sys.modules.get("h2.exceptions")
    return attempt.received and h2 is not None and isinstance(event, h2.ProtocolError)


def _waited_for_a_stream(event: object) -> bool:
    """Whether an HTTP/2 connection had too many streams, and ended while this request waited for one."""
    h2 = sys.modules.get("h2.exceptions")
    return h2 is not None and isinstance(event, h2.TooManyStreamsError)
