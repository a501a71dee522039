"""Health: how calls to a peer went decides whether it is picked. It never decides which peers are in the set.

A `Health` is given the time and the result of a call, and says which peers pickers leave out, and until when.

what happened                       | what follows for that peer, at that address
------------------------------------|-------------------------------------------------------------
`eject_after` failures in a row     | ejected: pickers leave it out for `eject_initial`, doubling with
                                    | each further ejection up to `eject_max`, plus up to 20 % by chance
… but too many are ejected          | not ejected: never more than `max_ejected` of the set are, unless
                                    | peers of a later SRV priority (backups) are there instead
the time of an ejection has passed  | half-open for as long again: each picker gives it one call, a probe
a success                           | the failures are forgotten; an ejected peer is back, slowly
no failure while it is half-open    | the same: many programs report failures only
a failure while it is half-open     | ejected again, for twice as long
it joined, or is back               | `slow_start`: its share of picks rises in eighths until it is full
it left, or has another address     | forgotten: it starts afresh

There are no active checks: the kubelet makes those, and a pod that fails them leaves the set.
Ordinals, hashes and broadcast ignore health: identity does not flicker.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from peerdiscover.peers import Peer, PeerSet, View
from peerdiscover.policy import Policy

_CHANCE = 0.2
_STEPS = 8
"""The number of steps in which a slow start reaches the full share."""


@dataclass(slots=True, eq=False)
class FailureRecord:
    """The failures of one peer."""

    failures: int = 0
    """In a row."""
    ejections: int = 0
    """In a row."""
    until: float = math.inf
    """When the peer stops being ejected, or half-open; infinite if it is neither."""
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
    """The peers' health, and the rules above."""

    def __init__(self, policy: Policy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self.failure_records: dict[Peer, FailureRecord] = {}
        """Of peers that failed since they last succeeded."""
        self._starting: dict[Peer, float] = {}
        """Peers that start slowly, and since when."""
        self._weights: dict[str, float] = {}

    def failed(self, peer: Peer, peers: PeerSet, now: float, why: str = "") -> None:
        """A call to `peer` failed. Nothing follows for a peer that is not in the set any more."""
        if peers.get(peer.key) != peer:
            return
        record = self.failure_records.setdefault(peer, FailureRecord())
        record.failures += 1
        record.why = why
        if record.ejected or (not record.half_open and record.failures < self._policy.eject_after):
            return
        record.half_open = False
        if self._is_needed(peer, peers):
            record.until = math.inf
            return
        doubled = self._policy.eject_initial * 2.0 ** min(record.ejections, 60)
        record.length = min(doubled, self._policy.eject_max)
        record.ejections += 1
        record.until = now + record.length * (1 + _CHANCE * self._random())
        self._starting.pop(peer, None)

    def succeeded(self, peer: Peer, now: float) -> bool:
        """A call to `peer` succeeded. Returns whether failures of it were remembered."""
        record = self.failure_records.pop(peer, None)
        if record is not None and record.ejections:
            self._start(peer, now)
        return record is not None

    def follow(self, before: PeerSet, peers: PeerSet, now: float) -> None:
        """The set changed: peers that left are forgotten, peers that joined start slowly."""
        there = set(peers)
        for known in (self.failure_records, self._starting):
            for peer in [peer for peer in known if peer not in there]:
                del known[peer]
        if before.generation:
            for peer in there.difference(before):
                self._start(peer, now)

    def tick(self, now: float) -> bool:
        """Time has passed. Returns whether that changed which peers are picked, or how often."""
        changed = False
        for peer, record in list(self.failure_records.items()):
            if now < record.until:
                continue
            changed = True
            if record.half_open:
                self.succeeded(peer, now)
            else:
                record.half_open, record.until = True, now + record.length
        weights = {peer.key: self._weight(since, now) for peer, since in self._starting.items()}
        self._starting = {peer: since for peer, since in self._starting.items() if weights[peer.key] < 1}
        weights = {key: weight for key, weight in weights.items() if weight < 1}
        changed, self._weights = changed or weights != self._weights, weights
        return changed

    @property
    def next_tick(self) -> float:
        """When `tick` is due; infinite if nothing changes by itself."""
        due = [record.until for record in self.failure_records.values()]
        step = self._policy.slow_start / _STEPS
        due += [
            since + step * round(self._weights[peer.key] * _STEPS) for peer, since in self._starting.items()
        ]
        return min(due, default=math.inf)

    def annotate(self, view: View) -> View:
        """The same view, with what pickers need to know about health."""
        if not self.failure_records and not self._weights:
            return view
        records = self.failure_records.items()
        return replace(
            view,
            ejected=frozenset(peer.key for peer, record in records if record.ejected),
            half_open=frozenset(peer.key for peer, record in records if record.half_open),
            weights=self._weights,
        )

    def _is_needed(self, peer: Peer, peers: PeerSet) -> bool:
        """Whether its ejection would leave too few; not if there are backups (RFC 2782) to take its load."""
        records = self.failure_records
        backups = [other for other in peers if other.priority > peer.priority]
        if not all(other in records and records[other].ejected for other in backups):
            return self._policy.max_ejected == 0
        # Of two or more peers, one may always be ejected.
        most = max(
            int(len(peers) * self._policy.max_ejected), len(peers) > 1 and self._policy.max_ejected > 0
        )
        return sum(record.ejected for record in records.values()) >= most

    def _start(self, peer: Peer, now: float) -> None:
        if self._policy.slow_start:
            self._starting[peer] = now
            self._weights = {**self._weights, peer.key: self._weight(now, now)}

    def _weight(self, since: float, now: float) -> float:
        """In eighths, from one on."""
        gone = (now - since) / self._policy.slow_start
        return min(math.floor(gone * _STEPS + 1e-9) + 1, _STEPS) / _STEPS
