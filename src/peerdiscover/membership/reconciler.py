"""What an answer does to the set.

Told the time and an answer, a `Reconciler` says who is in the set now. It never asks and never waits.

answer                     | the set
---------------------------|-----------------------------------------------------------------------
authoritative              | replaced at once, an empty one too
resolved                   | replaced. Where more than `mass_removal` of four or more known peers are
                           | missing at once, those are suspects: they go when a second such answer,
                           | one TTL later, agrees. So is whoever went and came back twice within
                           | `hold` and is missing again: two servers that disagree take turns. So is
                           | whoever the first answer lacks after an authoritative source went
                           | silent: a cache may be older than what that one said. None of this
                           | holds a peer at whose address and port somebody else is now
partial                    | added to. A peer goes when it was missing so often that chance is below
                           | one in a million; where the answer is always cut at the same place,
                           | absence says nothing
its own name is gone       | a suspect: it goes when a second such answer, one TTL later, agrees, or
                           | a complete one does not have it either
empty, not found           | everybody is a suspect (`on_empty`: "hold", or "keep" for ever); "accept"
                           | empties at once
failed                     | untouched. `max_stale` is the one exception, and says so

For every suspect: whoever is seen again is cleared; whoever was unseen for `hold` goes with the next
answer that is no failure ("keep": unless that says "nobody" again); whoever the application reports
as failed goes at once, since that is the second evidence. A failure neither ends nor restarts a hold.

"One TTL" is min(max(TTL, `min_refresh`), `hold`). An answer whose TTL has run down since the first one
comes out of the same cache and is no second answer; caches count whole seconds.

A family that could not be asked speaks against nobody: its peers stay, and are no suspects. Where only
that family has peers, or could have the first, "nobody" from the other one says nothing (`is_mute`),
and counts as failed. So does a virtual address where an authoritative source has told the pods behind it
(`hides_pods`). And what that one told to be one pod of both families stays one: DNS cannot say it of pods
without hostnames.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from peerdiscover.answers import Answer, Endpoint, family_of
from peerdiscover.errors import Outcome
from peerdiscover.peers import Identity, Peer, PeerSet, View
from peerdiscover.policy import NO_TTL, Policy

from .evidence import AbsenceStats, Flap, Suspicion
from .members import peers_of, same_metadata

__all__ = ["Reconciler"]

_LOG_CHANCE = math.log(1e-6)
_FLAPPING = 2
"""How often a peer that flaps came back."""


class Reconciler:
    """The set, the suspects, and the rules above."""

    def __init__(self, service: str, policy: Policy, identity: Identity, kind: str = "unknown") -> None:
        self._policy = policy
        self._identity = identity
        self.peers: PeerSet = PeerSet(service, kind=kind)
        self.suspects: dict[str, Suspicion] = {}
        self.doubts: dict[str, AbsenceStats] = {}
        """What partial answers lacked, those unseen for longest first."""
        self.confirmed_at: float | None = None
        """When an answer last confirmed the set."""
        self.recently_removed: deque[tuple[float, Peer, str]] = deque(maxlen=20)
        """Who went lately, when and why."""
        self.zone: str | None = identity.zone
        """The own zone: as told, else that of the peer that is oneself, the last time that one was seen."""
        self._before = 0
        self._last_partial: tuple[str, ...] = ()
        self._flaps: dict[str, Flap] = {}
        self._told_by_others = False
        self._from_authority = False
        """Who is in the set, an authoritative source said."""
        self._paired: dict[str, tuple[str, ...]] = {}
        """Pods without hostnames of which it told both families: their addresses."""
        self._unnamed_since: dict[str, float] = {}

    @property
    def view(self) -> View:
        """What pickers choose from."""
        before = self._before if self.suspects else 0
        return View(self.peers, frozenset(self.suspects), before, zone=self.zone)

    def settles_at(self, now: float) -> float:
        """The earliest time after `now` from which on an answer may settle a suspect; else infinite.

        Who could have been settled by now, and was not, is no reason to hurry: the next answer may be
        like the last one ("keep", or a family that goes on failing).
        """
        times = (
            time for s in self.suspects.values() for time in (s.since + self._policy.hold, s.confirmable_at)
        )
        return min((time for time in times if time is not None and time > now), default=math.inf)

    def apply(self, answer: Answer, now: float) -> bool:
        """Take an answer in. Returns whether somebody became a suspect by it: a second opinion is wanted."""
        if answer.outcome is Outcome.FAILED:
            self.expire(now)
            return False
        seen = peers_of([*answer.endpoints, *self._admissible_unnamed(answer, now)])
        self._merge_dual_stack(seen, answer)
        known = self.peers.by_key
        held_before = set(self.suspects)
        tells_zones = any(peer.zone for peer in seen.values())
        exempt = self._carry_failed_families(seen, answer) if answer.failed_families else set[str]()
        if not tells_zones:
            self._carry_topology(seen)
        members = dict(seen) | {key: known[key] for key in exempt}
        self._note_flaps(seen, now)
        for key in seen:
            self.suspects.pop(key, None)
        missing = [key for key in known if key not in members]
        staying = self._staying(answer, seen, missing, now)
        for key in missing:
            if key in staying:
                members[key] = known[key]
            else:
                self.suspects.pop(key, None)
                self.doubts.pop(key, None)
        if answer.outcome is not Outcome.PARTIAL:
            self.doubts.clear()
        if self.suspects and not held_before:
            self._before = len(known)
        if seen or not members:
            self.confirmed_at = now
        self._publish(members.values(), answer.kind if seen and answer.kind else self.peers.kind)
        return bool(set(self.suspects) - held_before)

    def is_inconclusive(self, answer: Answer) -> bool:
        """Whether it is "nobody" from one family, while every peer may be of the other, which failed.

        "Not found" is said of the name, whatever the family (RFC 8020): it stands where nobody is known.
        """
        failed = answer.failed_families
        if not failed or not answer.is_empty or answer.authoritative:
            return False
        if not self.peers:
            return answer.outcome is Outcome.EMPTY
        return all(any(family_of(a) in failed for a in peer.addresses) for peer in self.peers)

    def is_vip_only(self, answer: Answer) -> bool:
        """Whether it is the virtual address of a Service whose pods are known: it says nothing of them."""
        return self._from_authority and bool(self.peers and answer.endpoints) and answer.kind == "cluster-ip"

    def source_changed(self) -> None:
        """What an authoritative source said so far, another one will say from now on."""
        self._told_by_others = True

    def report_failure(self, peer: Peer, now: float) -> bool:
        """The application saw it fail. Returns whether it went, which only a suspect does."""
        if peer.key not in self.suspects or self.peers.get(peer.key) != peer:
            return False
        del self.suspects[peer.key]
        self.doubts.pop(peer.key, None)
        self._remove(peer.key, "a suspect that failed when the application called it", now)
        self._publish([p for p in self.peers if p.key != peer.key], self.peers.kind)
        return True

    def expires_at(self) -> float:
        """When `max_stale` will have gone by since the set was confirmed; infinite where it never will."""
        limit = self._policy.max_stale
        return (
            math.inf
            if limit is None or self.confirmed_at is None or not self.peers
            else self.confirmed_at + limit
        )

    def expire(self, now: float) -> None:
        """The last answer failed, and that still holds: the set is emptied once `max_stale` has gone by."""
        if now < self.expires_at():
            return
        assert self.confirmed_at is not None
        for peer in self.peers:
            self._remove(peer.key, f"max_stale: no answer for {now - self.confirmed_at:.1f} s", now)
        self.suspects.clear()
        self.doubts.clear()
        self._publish((), self.peers.kind)

    # Who stays though the answer lacks them

    def _staying(self, answer: Answer, seen: dict[str, Peer], missing: list[str], now: float) -> set[str]:
        if answer.authoritative:
            stays = set[str]()
            why = "the source of truth says so"
        elif answer.outcome is Outcome.RESOLVED:
            stays, why = self._stay_resolved(answer, seen, missing, now), "a complete answer lacked it"
        elif answer.outcome is Outcome.PARTIAL:
            stays, why = self._stay_partial(answer, seen, missing, now), "missing from partial answers"
        else:
            stays, why = self._stay_nobody(missing, now), f"the answer was: {answer.outcome}"
        for key in missing:
            if key not in stays:
                held = self.suspects.get(key)
                why = "its own name is not there" if self._is_told_gone(key, answer) else why
                self._remove(key, why + (f", held for {now - held.since:.1f} s" if held else ""), now)
        return stays

    def _stay_resolved(
        self, answer: Answer, seen: dict[str, Peer], missing: list[str], now: float
    ) -> set[str]:
        policy = self._policy
        taken = {(address, peer.port) for peer in seen.values() for address in peer.addresses}
        # Those already held by this rule wait for their own second answer; the others are judged anew,
        # against the peers that are not in doubt.
        in_doubt = {key for key, s in self.suspects.items() if s.confirmable_at is not None and not s.by_name}
        fresh = [key for key in missing if key not in in_doubt]
        trusted = len(self.peers) - len(in_doubt)
        mass = len(self.peers) >= 4 and len(fresh) > policy.mass_removal * trusted
        mass, self._told_by_others = mass or self._told_by_others, False
        flapping = {key for key, flap in self._flaps.items() if flap.returns >= _FLAPPING}
        stays = set[str]()
        for key in missing:
            known, held = self.peers.by_key[key], self.suspects.get(key)
            if (known.address, known.port) in taken:
                continue
            if held is not None:
                held.answers += 1
                if now - held.since >= policy.hold:
                    continue
            in_turn = mass or key in in_doubt or key in flapping or self._is_told_gone(key, answer)
            if in_turn and not self._is_confirmed(key, answer, now):
                stays.add(key)
        return stays

    def _is_told_gone(self, key: str, answer: Answer) -> bool:
        """A question for its own name says so; others speak of the pod all the same, or say nothing."""
        return self.peers.by_key[key].hostname in answer.gone

    def _is_confirmed(self, key: str, answer: Answer, now: float) -> bool:
        """Whether an answer one TTL ago said the same; the first one makes a suspect."""
        told_gone = self._is_told_gone(key, answer)
        ttl = answer.gone_ttl if told_gone else answer.ttl
        held = self.suspects.get(key)
        if held is None:
            held = self.suspects[key] = Suspicion(now, by_name=told_gone)
        held.by_name = held.by_name and told_gone
        if held.confirmable_at is None:
            held.confirmable_at = now + self._one_ttl(ttl)
        elif now >= held.confirmable_at:
            return not held.is_lacked_by_the_same(ttl or 0.0, now)
        held.lacked_by(ttl or 0.0, now)
        return False

    def _note_flaps(self, seen: dict[str, Peer], now: float) -> None:
        """Who is back counts as having come back, if it went less than `hold` ago."""
        hold = self._policy.hold
        self._flaps = {key: flap for key, flap in self._flaps.items() if now - flap.last <= hold}
        for key in self._flaps.keys() & seen.keys():
            is_back = key not in self.peers.by_key
            self._flaps[key].returns += is_back
            if is_back or key in self.suspects:
                self._flaps[key].last = now

    def _stay_partial(
        self, answer: Answer, seen: dict[str, Peer], missing: list[str], now: float
    ) -> set[str]:
        order = tuple(seen)
        fixed = answer.ordered or self._same_order(order)
        self._last_partial = order
        for key in seen:
            self.doubts.pop(key, None)
        share = len(seen) / (len(seen) + len(missing)) if missing else 1.0
        stays = set[str]()
        for key in missing:
            held = self.suspects.get(key)
            if held is not None:
                held.answers += 1
                if now - held.since >= self._policy.hold:
                    continue
            if self._is_told_gone(key, answer):
                if not self._is_confirmed(key, answer, now):
                    stays.add(key)
                continue
            doubt = self.doubts.setdefault(key, AbsenceStats())
            doubt.answers += 1
            if not fixed:
                doubt.log_chance += math.log1p(-share)
                if doubt.log_chance < _LOG_CHANCE:
                    continue
            stays.add(key)
        return stays

    def _same_order(self, order: tuple[str, ...]) -> bool:
        """Whether the peers that this and the last partial answer share came in the same order.

        Then the answers are not shuffled, or are one answer out of a cache: no independent draws.
        """
        both = set(order).intersection(self._last_partial)
        if len(both) < 3:
            return False
        return [k for k in order if k in both] == [k for k in self._last_partial if k in both]

    def _stay_nobody(self, missing: list[str], now: float) -> set[str]:
        policy = self._policy
        if policy.on_empty == "accept":
            return set()
        stays = set[str]()
        for key in missing:
            held = self.suspects.get(key)
            if held is None:
                self.suspects[key] = Suspicion(now)
            else:
                held.answers += 1
                if policy.on_empty == "hold" and now - held.since >= policy.hold:
                    continue
            stays.add(key)
        return stays

    def _one_ttl(self, ttl: float | None) -> float:
        return min(max(ttl or NO_TTL, self._policy.min_refresh), self._policy.hold)

    # Reading an answer as peers

    def _admissible_unnamed(self, answer: Answer, now: float) -> Iterable[Endpoint]:
        """Of the endpoints whose hostname could not be asked: those that may come in without one.

        In a set of hostnames an address alone would make a second peer of a pod that is known, or
        will be: it is left out until its name can be asked again, or until `hold` has passed.
        """
        named = bool(answer.endpoints) and any(peer.hostname is not None for peer in self.peers)
        waiting = {endpoint.addresses[0] for endpoint in answer.unnamed}
        self._unnamed_since = {address: self._unnamed_since.get(address, now) for address in waiting if named}
        return [
            endpoint
            for endpoint in answer.unnamed
            if not named or now - self._unnamed_since[endpoint.addresses[0]] >= self._policy.hold
        ]

    def _carry_failed_families(self, seen: dict[str, Peer], answer: Answer) -> set[str]:
        """Leave standing what only a family that could not be asked can speak of.

        Addresses of that family are added to `seen`. Returns the keys about which the answer says
        nothing: they stay as they are, suspects too.
        """
        exempt = set[str]()
        for key, peer in self.peers.by_key.items():
            kept = tuple(a for a in peer.addresses if family_of(a) in answer.failed_families)
            if not kept:
                continue
            shown = seen.get(key)
            if shown is not None:
                both = dict.fromkeys(kept + shown.addresses)
                preferred = family_of(peer.address)
                addresses = tuple(sorted(both, key=lambda a: family_of(a) != preferred))
                seen[key] = replace(shown, address=addresses[0], addresses=addresses)
            elif key in self.suspects or answer.is_empty:
                exempt.add(key)
            else:
                seen[key] = replace(peer, address=kept[0], addresses=kept)
        return exempt

    def _merge_dual_stack(self, seen: dict[str, Peer], answer: Answer) -> None:
        """Note which addresses are one pod's, or show what is seen by one of them with all of them."""
        self._from_authority = answer.authoritative or (self._from_authority and not seen)
        if answer.authoritative:
            self._paired = {
                key: peer.addresses
                for key, peer in seen.items()
                if peer.hostname is None and len(peer.addresses) > 1
            }
        for key in self._paired.keys() & seen.keys():
            if set(seen[key].addresses) < set(self._paired[key]):
                seen[key] = replace(seen[key], addresses=self._paired[key])

    def _carry_topology(self, seen: dict[str, Peer]) -> None:
        """An answer that tells nobody's zone takes none away: its source does not tell, or could not now.

        A pod does not move: who is seen again at the same addresses is where it was.
        """
        for old in self.peers:
            if (old.zone or old.node) and (new := seen.get(old.key)) is not None and new == old:
                seen[old.key] = replace(new, zone=old.zone, node=new.node or old.node)

    # Writing the set

    def _publish(self, members: Iterable[Peer], kind: str) -> None:
        old = self.peers
        everybody = list(members)
        me = self._identity.find(everybody)
        if self._identity.zone is None:
            self.zone = next((p.zone for p in everybody if p.key == me and p.zone), self.zone)
        everybody = [p if p.is_self == (p.key == me) else replace(p, is_self=p.key == me) for p in everybody]
        new = PeerSet(old.service, everybody, generation=old.generation, kind=kind)
        if new != old:
            self.peers = PeerSet(old.service, everybody, generation=old.generation + 1, kind=kind)
        elif kind != old.kind or any(
            a is not b and not same_metadata(a, b) for a, b in zip(old, new, strict=True)
        ):
            self.peers = new  # the same pods, told more about

    def _remove(self, key: str, why: str, now: float) -> None:
        self._flaps.setdefault(key, Flap()).last = now
        self.recently_removed.append((now, self.peers.by_key[key], why))
