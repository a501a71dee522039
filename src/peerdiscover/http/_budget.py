"""The retry budget: how many requests of a transport may be sent again.

Invariants (it is given the time, and does no I/O):

* Of the requests of about the last ten seconds a share may be sent again, and ten besides. So a service
  that is failing receives 1.2 times its load, and not a multiple of it.
* Older requests fade exponentially; there is no window to step over.
"""

from __future__ import annotations

import math

_WINDOW = 10.0  # seconds in which a request fades to 1/e
_MIN_RETRIES = 10.0  # few requests have a small share, and need a retry too
_DECAY_STEP = 0.01  # seconds; decaying more often than that changes nothing


class RetryBudget:
    """Counts requests and retries, and says whether there may be one more retry."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._requests = 0.0
        self._retries = 0.0
        self._decayed_at = 0.0

    def add_request(self, now: float) -> None:
        """Count a new request."""
        if now > self._decayed_at + _DECAY_STEP:
            self._decay(now)
        self._requests += 1

    def try_spend(self, now: float) -> bool:
        """Return whether one request may be sent again, and count it if so."""
        self._decay(now)
        allowed = self._share * self._requests + (_MIN_RETRIES if self._share else 0)
        if self._retries + 1 > allowed + 1e-6:
            return False
        self._retries += 1
        return True

    def _decay(self, now: float) -> None:
        kept = math.exp(min(self._decayed_at - now, 0.0) / _WINDOW)
        self._requests *= kept
        self._retries *= kept
        self._decayed_at = max(now, self._decayed_at)
