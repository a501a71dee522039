"""Health: what the application met with decides who is picked. It never decides who is in the set.

Told the time and what became of a call, a `Health` says who is left out by pickers, and until when.

what happened                     | what follows for that peer, at that address
----------------------------------|---------------------------------------------------------------
`eject_after` failures in a row   | ejected: pickers leave it out for `eject_initial`, doubling with each
                                  | further ejection up to `eject_max`, plus up to 20 % by chance
… but too many are ejected        | not ejected: no more than `max_ejected` of the set ever are
the time of an ejection is over   | on trial for as long again: each picker gives it one call, at once
a success                         | everything is forgiven; an ejected one is back, slowly
the trial passed without failure  | the same: many programs report failures only
a failure on trial                | ejected again, for twice as long
it joined, or is back             | `slow_start`: its share of picks rises in eighths until it is whole
it left, or has another address   | forgotten: it starts afresh

There are no active checks: the kubelet makes those, and a pod that fails them leaves the set.
Ordinals, hashes and broadcast know nothing of health: identity does not flicker.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from peerdiscover.peers import Peer, PeerSet, View
from peerdiscover.policy import Policy

__all__ = ["FailureRecord", "Health"]

_CHANCE = 0.2
_STEPS = 8
"""In so many steps a slow start reaches the whole share."""


@dataclass(slots=True, eq=False)
class FailureRecord:
    """What is held against one peer."""

    failures: int = 0
    """In a row."""
    ejections: int = 0
    """In a row."""
    until: float = math.inf
    """When the ejection ends, or the trial; infinite while there is neither."""
    length: float = 0.0
    """Of the last ejection, in seconds."""
    half_open: bool = False
    why: str = ""
    """The last failure."""

    @property
    def ejected(self) -> bool:
        """Whether pickers leave it out."""
        return self.until < math.inf and not self.half_open


class Health:
    """What is known of the peers' health, and the rules above."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self.failure_records: dict[Peer, FailureRecord] = {}
        """Those who failed since they last succeeded."""
        self._starting: dict[Peer, float] = {}
        """Since when somebody starts slowly."""
        self._weights: dict[str, float] = {}

    def failed(self, peer: Peer, peers: PeerSet, now: float, why: str = "") -> None:
        """A call to `peer` failed. Nothing follows for who is not, or no longer, in the set."""
        if peers.get(peer.key) != peer:
            return
        ailment = self.failure_records.setdefault(peer, FailureRecord())
        ailment.failures += 1
        ailment.why = why
        if ailment.ejected or (not ailment.half_open and ailment.failures < self._policy.eject_after):
            return
        ailment.half_open = False
        if 1 + sum(other.ejected for other in self.failure_records.values()) > self._most(len(peers)):
            ailment.until = math.inf
            return
        ailment.length = min(
            self._policy.eject_initial * 2.0 ** min(ailment.ejections, 60), self._policy.eject_max
        )
        ailment.ejections += 1
        ailment.until = now + ailment.length * (1 + _CHANCE * self._random())
        self._starting.pop(peer, None)

    def succeeded(self, peer: Peer, now: float) -> bool:
        """A call to `peer` succeeded. Returns whether something was held against it."""
        ailment = self.failure_records.pop(peer, None)
        if ailment is not None and ailment.ejections:
            self._start(peer, now)
        return ailment is not None

    def follow(self, before: PeerSet, peers: PeerSet, now: float) -> None:
        """The set changed: whoever left is forgotten, whoever joined starts slowly."""
        there = set(peers)
        for known in (self.failure_records, self._starting):
            for peer in [peer for peer in known if peer not in there]:
                del known[peer]
        if before.generation:
            for peer in there.difference(before):
                self._start(peer, now)

    def tick(self, now: float) -> bool:
        """Time has passed. Returns whether that changed who is picked, or how often."""
        changed = False
        for peer, ailment in list(self.failure_records.items()):
            if now < ailment.until:
                continue
            changed = True
            if ailment.half_open:
                self.succeeded(peer, now)
            else:
                ailment.half_open, ailment.until = True, now + ailment.length
        weights = {peer.key: self._weight(since, now) for peer, since in self._starting.items()}
        self._starting = {peer: since for peer, since in self._starting.items() if weights[peer.key] < 1}
        weights = {key: weight for key, weight in weights.items() if weight < 1}
        changed, self._weights = changed or weights != self._weights, weights
        return changed

    @property
    def wake(self) -> float:
        """When `tick` is due; infinite where nothing changes by itself."""
        due = [ailment.until for ailment in self.failure_records.values()]
        step = self._policy.slow_start / _STEPS
        due += [
            since + step * round(self._weights[peer.key] * _STEPS) for peer, since in self._starting.items()
        ]
        return min(due, default=math.inf)

    def annotate(self, view: View) -> View:
        """The same view, with what pickers are to know of health."""
        if not self.failure_records and not self._weights:
            return view
        return replace(
            view,
            ejected=frozenset(peer.key for peer, record in self.failure_records.items() if record.ejected),
            half_open=frozenset(
                peer.key for peer, record in self.failure_records.items() if record.half_open
            ),
            weights=self._weights,
        )

    def _most(self, size: int) -> int:
        """How many may be ejected at once: of two or more, one always may."""
        return max(int(size * self._policy.max_ejected), 1 if size > 1 and self._policy.max_ejected else 0)

    def _start(self, peer: Peer, now: float) -> None:
        if self._policy.slow_start:
            self._starting[peer] = now
            self._weights = {**self._weights, peer.key: self._weight(now, now)}

    def _weight(self, since: float, now: float) -> float:
        """In eighths, from one on."""
        gone = (now - since) / self._policy.slow_start
        return min(math.floor(gone * _STEPS + 1e-9) + 1, _STEPS) / _STEPS
