"""How long to wait between attempts at the API server. It is given the time and the dice."""

from __future__ import annotations

import math
from collections.abc import Callable

FIRST_WAIT, LONGEST_WAIT = 0.8, 30.0
LONGEST_RETRY_AFTER = 60.0


class Backoff:
    """Doubling waits with full jitter. `random` returns a number from 0 to 1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self.due: float = -math.inf
        """When the next attempt may begin."""
        self.tries: int = 0
        """How many attempts in a row have failed."""

    def reset(self) -> None:
        """Something worked: the next failure is the first one again."""
        self.tries = 0

    def failed(self, now: float, *, after: float = 0.0, at_once: bool = False) -> None:
        """An attempt failed. `after`: what the server asked for. `at_once`: the first one has no wait."""
        longest = min(FIRST_WAIT * 2.0 ** min(self.tries, 16), LONGEST_WAIT)
        wait = max(longest * (0.05 + 0.95 * self._random()), min(after, LONGEST_RETRY_AFTER))
        self.due = now if at_once and not self.tries else now + wait
        self.tries += 1
