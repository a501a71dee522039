"""What goes wrong between us and an API server: how long to wait, and what it is called. Pure."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable

__all__ = ["BackOff", "certificate_trouble", "message_of", "said_by", "seconds_of"]

FIRST, CEILING = 0.8, 30.0
"""Seconds: those of client-go's reflector."""
RETRY_AFTER_MAX = 60.0


class BackOff:
    """The wait between attempts: it doubles with each failure in a row, of that 5 to 100 % by chance."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0
        self._at_once = False

    def is_well(self) -> None:
        """Something came through."""
        self._failures, self._at_once = 0, False

    def once_at_once(self) -> bool:
        """Whether to try again without a wait; only once before something comes through."""
        at_once, self._at_once = not self._at_once, True
        return at_once

    def wait(self, at_least: float = 0.0) -> float:
        """A failure: seconds to wait."""
        wait = min(FIRST * 2.0 ** min(self._failures, 60), CEILING)
        self._failures += 1
        return max(at_least, wait * (0.05 + 0.95 * self._random()))


def seconds_of(text: str | None) -> float:
    """What Retry-After says, held below a ceiling; 0 where it says nothing that is a number."""
    return min(float(text), RETRY_AFTER_MAX) if text and text.isascii() and text.isdigit() else 0.0


def message_of(body: bytes) -> str:
    """What a Status says, or the beginning of whatever else came."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace").strip()


def said_by(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def certificate_trouble(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The certificate that did not verify, beneath what the layers above made of it."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None
