"""A signal handler that raises, at any instruction: for programs that `run_script` runs."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable


class Boom(Exception):
    """What the handler raises."""


def _boom(*_: object) -> None:
    raise Boom


def interrupt(use: Callable[[], object], is_held: Callable[[], bool]) -> int:
    """Interrupt `use`, which is called again and again, and return how often: 2,500 times, or for 8 s.

    An `AssertionError` once the lock is held after an interrupt.
    """
    signal.signal(signal.SIGALRM, _boom)
    deadline, done = time.monotonic() + 8, 0
    while done < 2_500 and time.monotonic() < deadline:
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + random.random() * 8e-4)
            while True:
                use()
        except Boom:
            done += 1
        assert not is_held(), f"the lock is held after {done} interrupts"
    return done
