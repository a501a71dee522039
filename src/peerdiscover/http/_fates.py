"""What became of an attempt, and whether the pod is to blame: told from objects, never from a text.

What HTTP/2 said comes as an object in the error of httpcore: a stream reset, or the connection terminated.
"""

from __future__ import annotations

import ssl
from typing import Any

from ._attempts import Attempt
from ._steps import Fate

__all__ = ["fate_of", "speaks_against"]

_REFUSED_STREAM = 7  # RFC 9113, 7


def fate_of(attempt: Attempt, error: Exception, core: Any) -> Fate:
    """What this error of `core` means for the attempt that it ended."""
    if isinstance(error, core.LocalProtocolError | core.UnsupportedProtocol):
        return Fate.OWN
    if not attempt.sent:
        return Fate.UNTRUSTED if _is_untrusted(error) else Fate.UNSENT
    event = error.args[0] if error.args else None
    if hasattr(event, "remote_reset") and getattr(event, "error_code", None) == _REFUSED_STREAM:
        return Fate.REFUSED
    if getattr(event, "last_stream_id", None) == 0:
        return Fate.REFUSED
    return Fate.DOUBTFUL


def speaks_against(attempt: Attempt, error: Exception, fate: Fate, core: Any) -> bool:
    """Whether the pod is to blame.

    Not for a full pool, which is ours, nor for what it refused in good order. A line that was kept and
    ended as it was used says only that the pod closes idle ones, as servers do.
    """
    if fate in (Fate.OWN, Fate.REFUSED) or isinstance(error, core.PoolTimeout):
        return False
    return attempt.dialled or attempt.dialling or isinstance(error, core.TimeoutException)


def _is_untrusted(error: BaseException) -> bool:
    """Whether it came of a certificate that does not verify: that is what was caught when it was raised."""
    return isinstance(error.__context__, ssl.SSLCertVerificationError)
