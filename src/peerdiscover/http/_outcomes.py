"""How an attempt ended, and whether its pod is to blame: read from objects, never from an error's text.

What is the same for every library beneath: the operating system's errors, and TLS. `_httpx_outcomes` adds
what httpcore says.
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import Callable, Iterator

from peerdiscover._text import printable

from ._attempts import Attempt
from ._retry import AttemptOutcome

_MAX_MESSAGE = 500  # characters
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
# What OpenSSL calls an answer to its hello that is not TLS.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")
_THE_PODS_FAULT = (AttemptOutcome.UNSENT, AttemptOutcome.BAD_CERTIFICATE, AttemptOutcome.MAYBE_PROCESSED)


def classify(
    attempt: Attempt, error: BaseException, is_about_size: Callable[[BaseException], bool]
) -> AttemptOutcome:
    """Return what this error means for the attempt that it ended.

    `is_about_size`: whether an error says that the head of a response is larger than the library takes.
    """
    causes = list(causes_of(error))
    if any(_is_client_certificate(cause) for cause in causes):
        return AttemptOutcome.CLIENT_CERTIFICATE
    if not attempt.sent:
        return _unsent(attempt, causes)
    return (
        AttemptOutcome.HEAD_TOO_LARGE if any(map(is_about_size, causes)) else AttemptOutcome.MAYBE_PROCESSED
    )


def counts_as_pod_failure(attempt: Attempt, outcome: AttemptOutcome, is_timeout: bool) -> bool:
    """Return whether the pod is to blame.

    It is not for what is ours (a full pool, no descriptors, our certificate, our limits, https for pods that
    speak http), nor for what it refused in good order, nor for what we cut. A kept connection that ended as
    it was used says only that the pod closes idle ones, as servers do.
    """
    if outcome not in _THE_PODS_FAULT or attempt.pod.aborted:
        return False
    return attempt.is_new_connection or attempt.connecting or is_timeout


def message_of(error: BaseException) -> str:
    """Return what the error says, or what the first of its causes does that says something.

    It is made printable: the HTTP library may quote what the pod sent.
    """
    said = (message for cause in causes_of(error) if (message := str(cause)))
    return printable(next(said, ""), _MAX_MESSAGE)


def causes_of(error: BaseException) -> Iterator[BaseException]:
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
        if isinstance(cause, ssl.SSLError) and attempt.connecting and _reason(cause) in _NOT_TLS:
            return AttemptOutcome.NOT_TLS
        if isinstance(cause, OSError) and cause.errno in _NO_DESCRIPTORS:
            return AttemptOutcome.NO_DESCRIPTORS
    return AttemptOutcome.UNSENT


def _is_client_certificate(error: BaseException) -> bool:
    """Whether the pod refused our certificate: TLS 1.3 says so after the handshake, by an alert."""
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLCertVerificationError):
        return False
    reason = _reason(error)
    return "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason)


def _reason(error: ssl.SSLError) -> str:
    return getattr(error, "reason", None) or ""  # aiohttp's subclass of it has none
