"""When to ask again.

A `Schedule` is given the time and the result of a lookup, and says when the next one is due.

after                          | the next lookup
-------------------------------|-------------------------------------------------------------------
peers were seen                | after the TTL, held between `min_refresh` and `max_refresh`, plus up to
                               | `jitter` of it: earlier would only ask the cache again
a peer became a suspect        | at once, for a second opinion; then when a suspect can be settled,
                               | but no sooner than after `min_refresh`
no peers, and the set is held  | `retry_initial`, doubling up to `max_refresh`
no peers, and the set is empty | `retry_initial`, up to `jitter` of it sooner and never later. Every other one
                               | is a second opinion: the server that is asked first may be wrong
a failure                      | `retry_initial`, doubling up to `retry_max`, and while no peers are known
                               | to 5 s at most: callers wait. Of that 5 to 100 % by chance
a watch started                | none, while it is up

A TTL of 0, or none, is no advice and counts as 5 s. An infinite one means never. A request (`refresh`)
asks at once; a failure that the application reports does, at most once a second. A request that comes
while a lookup is in flight is kept for afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from peerdiscover.policy import NO_TTL, Policy

_REPORTS_APART = 1.0

_OVERDUE = 1.0
"""Seconds over `timeout` that a lookup may take: a runtime that asks a source leaves it about as much."""

_EMPTY_RETRY_MAX = 5.0
"""Most seconds between failures while no peers are known: callers that wait for the first ones must not run
out of time just after the servers are back. With a set there is something to go on with, and no hurry."""


class Schedule:
    """When the next lookup is due, on the caller's clock."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self.due: float = math.inf
        self.in_flight: bool = False
        self._since = math.inf
        self._requested = math.inf
        self._second_opinion = False
        self._failures = 0
        self._held = 0
        self._reported_at = -math.inf

    def start(self, now: float) -> None:
        """Begin, or begin again in the child of a fork: a lookup of the parent is not in flight there."""
        self.in_flight = False
        self._requested = math.inf
        self.due = now

    def stop(self) -> None:
        """No lookup is due any more."""
        self.in_flight = False
        self._requested = self.due = math.inf

    def begin(self) -> bool:
        """A lookup starts. Returns whether it asks for a second opinion."""
        self.in_flight, self._since, self.due = True, self.due, math.inf
        second, self._second_opinion = self._second_opinion, False
        return second

    @property
    def overdue_at(self) -> float:
        """When a lookup in flight will have taken too long, or one that is due will start too late."""
        timeout = self._policy.timeout
        return self._since + timeout + _OVERDUE if self.in_flight else self.due + timeout

    def overdue(self, now: float) -> float | None:
        """For how many seconds a lookup has been in flight, or due, if that is too long."""
        seconds = now - (self._since if self.in_flight else self.due)
        return seconds if now > self.overdue_at else None

    def report(self, now: float) -> None:
        # What an earlier report planned may have been made needless by another lookup before its time.
        at = max(now, min(self._reported_at, now) + _REPORTS_APART)
        if min(self.due, self._requested) > at:
            self._reported_at = at
            self.request(at)

    def request(self, at: float) -> None:
        """Make a lookup that starts from now on, at this time or sooner."""
        if self.in_flight:
            self._requested = min(self._requested, at)
        else:
            self.due = min(self.due, at)

    def on_failure(self, now: float, *, has_peers: bool) -> None:
        policy = self._policy
        ceiling = policy.retry_max
        if not has_peers:
            ceiling = min(ceiling, max(_EMPTY_RETRY_MAX, policy.retry_initial))
        wait = _doubled(policy.retry_initial, self._failures, ceiling)
        self._failures += 1
        self._complete(now + wait * (0.05 + 0.95 * self._random()))

    def on_peers(self, now: float, ttl: float | None) -> None:
        self._failures = self._held = 0
        self._complete(now + self._ttl_wait(ttl))

    def on_empty(self, now: float, *, held: bool, by_second_opinion: bool = False) -> None:
        """No peers were seen; `held`: the set has some all the same."""
        self._failures = 0
        policy = self._policy
        if held:
            wait = _doubled(policy.retry_initial, self._held, policy.max_refresh)
            self._held += 1
            wait *= 1 + policy.jitter * self._random()
        else:
            self._second_opinion = not by_second_opinion
            wait = policy.retry_initial * (1 - policy.jitter * self._random())
        self._complete(now + wait)

    def doubt(self, now: float, *, by_second_opinion: bool, settles_at: float) -> None:
        """A peer became a suspect: ask at once, and then when an answer can settle it.

        Call it after `on_peers` or `on_empty`.
        """
        if not by_second_opinion:
            self._second_opinion = True
            self._held = 0
            self.due = now
        else:
            self.settle(now, settles_at)

    def settle(self, now: float, settles_at: float) -> None:
        """Ask no later than when an answer can settle a suspect."""
        self.due = min(self.due, max(settles_at, now + self._policy.min_refresh))

    def _ttl_wait(self, ttl: float | None) -> float:
        if ttl == math.inf:
            return math.inf
        policy = self._policy
        wait = min(max(ttl or NO_TTL, policy.min_refresh), policy.max_refresh)
        return wait * (1 + policy.jitter * self._random())

    def _complete(self, due: float) -> None:
        self.in_flight = False
        self.due = min(due, self._requested)
        self._requested = math.inf


def _doubled(initial: float, times: int, ceiling: float) -> float:
    return min(initial * 2.0 ** min(times, 60), ceiling)
