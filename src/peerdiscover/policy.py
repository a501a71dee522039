"""When a discovery asks, and what it believes: one frozen, validated set of numbers. Times are seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

from ._text import quoted
from .errors import ConfigurationError

__all__ = ["NO_TTL", "OnEmpty", "Policy"]

NO_TTL = 5.0
"""Seconds that count if an answer has no TTL, or 0, which is no advice (CoreDNS's default TTL)."""

OnEmpty = Literal["hold", "keep", "accept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When to ask, and what an answer may do to the set.

    A value that cannot be, or a contradiction, raises `ConfigurationError`, which is a `ValueError`.
    """

    min_refresh: float = 1.0
    """Least time between two lookups, whatever the TTL."""
    max_refresh: float = 30.0
    """Most time between two lookups, jitter aside."""
    jitter: float = 0.2
    """Share of the wait that is added at random, so that a thousand processes drift apart."""
    timeout: float = 5.0
    """For one whole lookup, all its queries and servers together."""
    hold: float = 30.0
    """How long peers stay that an answer without any, or with few of them, would remove."""
    on_empty: OnEmpty = "hold"
    """What an answer without peers does to a set: "hold" it, "keep" it without an end, "accept" at once."""
    max_stale: float | None = None
    """Empty the set, without evidence, if lookups fail and none confirmed it for so long; None: never."""
    retry_initial: float = 1.0
    """First wait after a failure or a doubtful answer; it doubles from there."""
    retry_max: float = 30.0
    """Most time between two lookups after failures."""
    mass_removal: float = 0.5
    """Share of four or more known peers: if a complete answer lacks more, a second one has to agree."""
    ready_timeout: float = 60.0
    """How long entering a discovery waits for `min_peers`."""
    min_peers: int = 1
    """How many peers, this pod included, entering waits for; 0: the first evidence is enough."""
    eject_after: int = 1
    """After so many reported failures in a row a peer is ejected: pickers leave it out for a while."""
    eject_initial: float = 1.0
    """How long the first ejection lasts; it doubles from there."""
    eject_max: float = 30.0
    """How long an ejection lasts at most."""
    max_ejected: float = 0.5
    """Share of the set that may be ejected at once, of two or more at least one; 0: none ever is."""
    slow_start: float = 0.0
    """How long the share of picks of a peer that joined, or is back, takes to rise to the full one."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "on_empty":
                choices = get_args(OnEmpty)
                self._require(value in choices, "on_empty", f"use one of {', '.join(map(repr, choices))}")
            elif field.name != "max_stale" or value is not None:
                self._require(_is_number(value), field.name, "expected a finite number")
        for name in ("min_refresh", "timeout", "retry_initial", "eject_initial"):
            self._require(getattr(self, name) > 0, name, "must be above 0")
        for name in ("hold", "ready_timeout", "min_peers", "slow_start"):
            self._require(getattr(self, name) >= 0, name, "must not be negative")
        for name in ("jitter", "mass_removal", "max_ejected"):
            self._require(0 <= getattr(self, name) <= 1, name, "must lie between 0 and 1")
        self._require(self.max_stale is None or self.max_stale > 0, "max_stale", "must be above 0, or None")
        for name in ("min_peers", "eject_after"):
            self._require(isinstance(getattr(self, name), int), name, "must be a whole number")
        self._require(self.eject_after >= 1, "eject_after", "must be at least 1")
        for low, high in (
            ("min_refresh", "max_refresh"),
            ("retry_initial", "retry_max"),
            ("eject_initial", "eject_max"),
        ):
            ceiling = getattr(self, high)
            self._require(getattr(self, low) <= ceiling, low, f"must not be above {high}={ceiling!r}")

    def _require(self, ok: bool, name: str, what: str) -> None:
        if not ok:
            raise ConfigurationError(f"Policy({name}={quoted(getattr(self, name))}): {what}")


def _is_number(value: object) -> bool:
    """Whether it is a finite number that time can be counted in: `float` holds no greater integers."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
