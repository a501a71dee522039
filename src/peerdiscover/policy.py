"""How patient a discovery is: one frozen, validated set of numbers. All times are seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

from .errors import ConfigurationError

__all__ = ["NO_TTL", "OnEmpty", "Policy"]

NO_TTL = 5.0
"""Seconds that count where an answer gives no TTL, or 0, which is no advice (CoreDNS's default TTL)."""

OnEmpty = Literal["hold", "keep", "accept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When to ask, and what an answer may do to the set.

    A contradiction raises `ConfigurationError`, which is a `ValueError`.
    """

    min_refresh: float = 1.0
    """Floor under the time between two questions, whatever the TTL."""
    max_refresh: float = 30.0
    """Ceiling over the time between two questions, jitter aside."""
    jitter: float = 0.2
    """Share of the wait that is added at random, so that a thousand processes drift apart."""
    timeout: float = 5.0
    """For one whole lookup, all its questions and servers together."""
    hold: float = 30.0
    """How long an answer that would remove everybody, or most, is not believed without a second one."""
    on_empty: OnEmpty = "hold"
    """What "nobody" does to a set that has somebody: hold it, keep it for ever, accept at once."""
    max_stale: float | None = None
    """Empty the set when an answer fails, and none confirmed it for so long. It removes without evidence."""
    retry_initial: float = 1.0
    """First wait after a failure or a doubtful answer; it doubles from there."""
    retry_max: float = 30.0
    """Ceiling of the doubling after failures."""
    mass_removal: float = 0.5
    """A complete answer that lacks more than this share of four or more known peers wants a second one."""
    ready_timeout: float = 60.0
    """How long entering a discovery waits for `min_peers`."""
    min_peers: int = 1
    """How many peers, oneself included, entering waits for; 0: the first evidence is enough."""
    eject_after: int = 1
    """So many reported failures in a row eject a peer: pickers leave it out for a while."""
    eject_initial: float = 1.0
    """How long the first ejection lasts; it doubles from there."""
    eject_max: float = 30.0
    """Ceiling of that doubling."""
    max_ejected: float = 0.5
    """Share of the set that may be ejected at once, of two or more at least one; 0: nobody ever is."""
    slow_start: float = 0.0
    """For so long the share of a peer that joined, or is back, rises to the whole; 0: it is whole at once."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "on_empty":
                if value not in get_args(OnEmpty):
                    raise ConfigurationError(
                        f"Policy(on_empty={value!r}): use one of {', '.join(map(repr, get_args(OnEmpty)))}"
                    )
            elif field.name == "max_stale" and value is None:
                continue
            elif isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigurationError(f"Policy({field.name}={value!r}): a number is wanted")
            elif not math.isfinite(value):
                raise ConfigurationError(f"Policy({field.name}={value!r}): a finite number is wanted")
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
            self._require(
                getattr(self, low) <= getattr(self, high), low, f"lies above {high}={getattr(self, high)!r}"
            )

    def _require(self, ok: bool, name: str, what: str) -> None:
        if not ok:
            raise ConfigurationError(f"Policy({name}={getattr(self, name)!r}): {what}")
