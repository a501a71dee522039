"""What an answer does to the set.

A `Reconciler` is given the time and an answer, and says which peers are in the set. It never asks and
never waits.

answer                     | the set
---------------------------|-----------------------------------------------------------------------
authoritative              | replaced at once, by an empty one too
resolved                   | replaced. Three kinds of missing peers become suspects first, and are
                           | removed when a second such answer, one TTL later, agrees:
                           | - more than `mass_removal` of four or more known peers, at once;
                           | - peers that were removed and came back twice within `hold`: two servers
                           |   that disagree take turns;
                           | - those missing from the first answer after an authoritative source
                           |   failed: a cache may be older than what that source said.
                           | A peer is not held if another one is at its address and port now
partial                    | added to. A peer is removed when it was missing so often that chance is
                           | below one in a million. If the answer is always cut at the same place,
                           | absence says nothing
listed without an address  | the peers in `unresolved` stay as they are; the rest of the answer counts as
                           | what it is
its own name is gone       | a suspect: it is removed when a second such answer, one TTL later, agrees,
                           | or a complete one does not have it either
empty, not found           | all peers become suspects (`on_empty`: "hold", or "keep" without an end);
                           | "accept" empties the set at once
failed                     | untouched. `max_stale` is the one exception, and says so

A suspect that is seen again is cleared. One that was unseen for `hold` is removed by the next answer that
is no failure ("keep": unless that answer has no peers again). One that the application reports as failed
is removed at once, since that is the second evidence. A failure neither ends nor restarts a hold.

"One TTL" is min(max(TTL, `min_refresh`), `hold`). An answer whose TTL has run down since the first one
comes from the same cache and is no second answer; caches count whole seconds.

Two answers count as failed, since they say nothing about the peers (`normalise`): an empty one of one
family, if the other family could not be asked and every known peer may be of that one; and a virtual
address, if an authoritative source has reported the pods behind it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from peerdiscover.answers import Answer
from peerdiscover.errors import Outcome
from peerdiscover.identity import Identity
from peerdiscover.peers import Peer, PeerSet, View
from peerdiscover.policy import NO_TTL, Policy

from .evidence import AbsenceStats, Flaps, Suspicion, is_same_order
from .members import MemberReader, inconclusive_reason, is_inconclusive, same_metadata

_LOG_CHANCE = math.log(1e-6)


class Reconciler:
    """The set, the suspects, and the rules above."""

    def __init__(self, service: str, policy: Policy, identity: Identity, kind: str = "unknown") -> None:
        self._policy = policy
        self._identity = identity
        self.peers: PeerSet = PeerSet(service, kind=kind)
        self.suspects: dict[str, Suspicion] = {}
        self.doubts: dict[str, AbsenceStats] = {}
        """Peers that partial answers lacked; those unseen for longest first."""
        self.confirmed_at: float | None = None
        """When an answer last confirmed the set."""
        self.recently_removed: deque[tuple[float, Peer, str]] = deque(maxlen=20)
        """Peers that were removed lately, when and why."""
        self.zone: str | None = identity.zone
        """This pod's zone: as configured, else that of its own peer when it was last seen."""
        self._members = MemberReader(policy.hold)
        self._before = 0
        self._last_partial: tuple[str, ...] = ()
        self._flaps = Flaps(policy.hold)
        self._has_new_source = False

    @property
    def view(self) -> View:
        before = self._before if self.suspects else 0
        return View(self.peers, frozenset(self.suspects), before, zone=self.zone)

    def known_hostnames(self) -> dict[str, tuple[str, ...]]:
        """Hostnames in the set and their addresses, those unseen for longest first."""
        unseen = [self.peers.by_key[key] for key in (*self.suspects, *self.doubts)]
        known: dict[str, tuple[str, ...]] = {}
        for peer in (*unseen, *self.peers):
            if peer.hostname is not None:
                have = known.get(peer.hostname, ())
                known[peer.hostname] = have + tuple(a for a in peer.addresses if a not in have)
        return known

    def settles_at(self, now: float) -> float:
        """The earliest time after `now` from which on an answer may settle a suspect; else infinite.

        A suspect that could have been settled by now, and was not, is no reason to hurry: the next
        answer may be like the last one ("keep", or a family that goes on failing).
        """
        ends = [s.since + self._policy.hold for s in self.suspects.values()]
        seconds = [s.confirmable_at for s in self.suspects.values() if s.confirmable_at is not None]
        return min((time for time in ends + seconds if time > now), default=math.inf)

    def normalise(self, answer: Answer) -> Answer:
        """The answer as it counts: see the end of the rules above."""
        if answer.outcome is Outcome.RESOLVED and not (answer.endpoints or answer.unnamed):
            answer = answer.replace(outcome=Outcome.EMPTY)
        if is_inconclusive(answer, self.peers):
            return answer.replace(outcome=Outcome.FAILED, error=answer.error or inconclusive_reason(answer))
        if self.peers and self._members.is_vip_only(answer):
            why = "a virtual address, which says nothing about the pods that the watch reported"
            return answer.replace(outcome=Outcome.FAILED, error=why, warnings=())
        return answer

    def apply(self, answer: Answer, now: float) -> bool:
        """Apply an answer. Returns whether a peer became a suspect by it, so that a second opinion helps."""
        if answer.outcome is Outcome.FAILED:
            self.expire(now)
            return False
        known = self.peers.by_key
        held_before = set(self.suspects)
        seen, exempt = self._members.read(answer, self.peers, self.suspects, now)
        members = dict(seen) | {key: known[key] for key in exempt}
        self._flaps.on_answer(seen, known, self.suspects, now)
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

    def source_changed(self) -> None:
        """What an authoritative source said so far, another one will say from now on."""
        self._has_new_source = True

    def report_failure(self, peer: Peer, now: float) -> bool:
        """The application saw it fail. Returns whether it was removed, which only a suspect is."""
        if peer.key not in self.suspects or self.peers.get(peer.key) != peer:
            return False
        del self.suspects[peer.key]
        self.doubts.pop(peer.key, None)
        self._remove(peer.key, "a suspect that failed when the application called it", now)
        self._publish([p for p in self.peers if p.key != peer.key], self.peers.kind)
        return True

    def expires_at(self) -> float:
        """When `max_stale` will have passed since the set was confirmed; infinite if it never will."""
        limit, since = self._policy.max_stale, self.confirmed_at
        return math.inf if limit is None or since is None or not self.peers else since + limit

    def expire(self, now: float) -> None:
        """The last answer failed, and that still holds: the set is emptied once `max_stale` has passed."""
        if now < self.expires_at():
            return
        assert self.confirmed_at is not None
        for peer in self.peers:
            self._remove(peer.key, f"max_stale: no answer for {now - self.confirmed_at:.1f} s", now)
        self.suspects.clear()
        self.doubts.clear()
        self._publish((), self.peers.kind)

    # Which peers stay though the answer lacks them

    def _staying(self, answer: Answer, seen: dict[str, Peer], missing: list[str], now: float) -> set[str]:
        if answer.authoritative:
            stays, why = set[str](), "an authoritative answer lacked it"
        elif answer.outcome is Outcome.RESOLVED:
            stays, why = self._stay_resolved(answer, seen, missing, now), "a complete answer lacked it"
        elif answer.outcome is Outcome.PARTIAL:
            stays, why = self._stay_partial(answer, seen, missing, now), "missing from partial answers"
        else:
            stays, why = self._stay_empty(missing, now), f"the answer was: {answer.outcome}"
        for key in missing:
            if key not in stays:
                held = self.suspects.get(key)
                reason = "its own name is gone" if self._name_is_gone(key, answer) else why
                self._remove(key, reason + (f", held for {now - held.since:.1f} s" if held else ""), now)
        return stays

    def _stay_resolved(
        self, answer: Answer, seen: dict[str, Peer], missing: list[str], now: float
    ) -> set[str]:
        policy = self._policy
        taken = {(address, peer.port) for peer in seen.values() for address in peer.addresses}
        # Those already held by this rule wait for their own second answer; the others are judged anew,
        # against the peers that are not in doubt.
        in_doubt = {key for key, s in self.suspects.items() if s.confirmable_at is not None and not s.by_name}
        newly_missing = [key for key in missing if key not in in_doubt]
        trusted = len(self.peers) - len(in_doubt)
        mass = len(self.peers) >= 4 and len(newly_missing) > policy.mass_removal * trusted
        mass, self._has_new_source = mass or self._has_new_source, False
        stays = set[str]()
        for key in missing:
            known = self.peers.by_key[key]
            if (known.address, known.port) in taken or self._has_outstayed(key, now):
                continue
            suspicious = mass or key in in_doubt or self._flaps.is_flapping(key)
            if (suspicious or self._name_is_gone(key, answer)) and not self._is_confirmed(key, answer, now):
                stays.add(key)
        return stays

    def _has_outstayed(self, key: str, now: float) -> bool:
        """Counts one more answer that lacks a suspect. Returns whether it has been held for `hold`."""
        held = self.suspects.get(key)
        if held is None:
            return False
        held.answers += 1
        return now - held.since >= self._policy.hold

    def _name_is_gone(self, key: str, answer: Answer) -> bool:
        """A lookup of its own name says so, even if other records still list the pod."""
        return self.peers.by_key[key].hostname in answer.gone

    def _is_confirmed(self, key: str, answer: Answer, now: float) -> bool:
        """Whether an answer one TTL ago said the same; the first one makes a suspect."""
        by_name = self._name_is_gone(key, answer)
        ttl = answer.gone_ttl if by_name else answer.ttl
        held = self.suspects.get(key)
        if held is None:
            held = self.suspects[key] = Suspicion(now, by_name=by_name)
        held.by_name = held.by_name and by_name
        if held.confirmable_at is None:
            one_ttl = min(max(ttl or NO_TTL, self._policy.min_refresh), self._policy.hold)
            held.confirmable_at = now + one_ttl
        elif now >= held.confirmable_at:
            return not held.is_lacked_by_the_same(ttl or 0.0, now)
        held.lacked_by(ttl or 0.0, now)
        return False

    def _stay_partial(
        self, answer: Answer, seen: dict[str, Peer], missing: list[str], now: float
    ) -> set[str]:
        order = tuple(seen)
        fixed = answer.ordered or is_same_order(order, self._last_partial)
        self._last_partial = order
        for key in seen:
            self.doubts.pop(key, None)
        share = len(seen) / (len(seen) + len(missing)) if missing else 1.0
        stays = set[str]()
        for key in missing:
            if self._has_outstayed(key, now):
                continue
            if self._name_is_gone(key, answer):
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

    def _stay_empty(self, missing: list[str], now: float) -> set[str]:
        on_empty = self._policy.on_empty
        stays = set[str]()
        for key in missing if on_empty != "accept" else ():
            outstayed = self._has_outstayed(key, now)
            self.suspects.setdefault(key, Suspicion(now))
            if not outstayed or on_empty == "keep":
                stays.add(key)
        return stays

    def _publish(self, members: Iterable[Peer], kind: str) -> None:
        old = self.peers
        peers = list(members)
        me = self._identity.find(peers)
        if self._identity.zone is None:
            self.zone = next((p.zone for p in peers if p.key == me and p.zone), self.zone)
        peers = [p if p.is_self == (p.key == me) else replace(p, is_self=p.key == me) for p in peers]
        new = PeerSet(old.service, peers, generation=old.generation, kind=kind)
        if new != old:
            self.peers = PeerSet(old.service, peers, generation=old.generation + 1, kind=kind)
        elif kind != old.kind or any(
            a is not b and not same_metadata(a, b) for a, b in zip(old, new, strict=True)
        ):
            self.peers = new  # the same pods, of which more is known

    def _remove(self, key: str, why: str, now: float) -> None:
        self._flaps.on_removal(key, now)
        self.recently_removed.append((now, self.peers.by_key[key], why))
