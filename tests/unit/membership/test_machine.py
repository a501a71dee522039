"""Any history of answers, held against the rules.

The model knows no rule of its own for what to do: it writes down what was answered and what the set
said of itself, and looks up in that history whether each step was allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from peerdiscover import Answer, Endpoint, Identity, Outcome, PeerSet, Policy, ServiceName
from peerdiscover.membership import Membership
from tests.tools.nameservers import in_ci

PODS = 8
SEEN = st.lists(st.integers(0, PODS - 1), unique=True)  # in the order they come
SOME = SEEN.filter(bool)
TTLS = st.sampled_from([None, 0, 1, 5, 30, 300])
CHANCE_BELOW = 1e-6


@dataclass(frozen=True)
class Entry:
    """One answer, and what the set said before and after it."""

    at: int
    answer: Answer
    keys: frozenset[str]
    """Those whom the answer shows."""
    before: PeerSet
    after: PeerSet
    suspects: frozenset[str]
    """Those who are held after it."""


class History(RuleBasedStateMachine):
    """Answers in any order at whole seconds; each rule of the set is an invariant."""

    @initialize(
        hold=st.sampled_from([0, 5, 30]),
        on_empty=st.sampled_from(["hold", "keep", "accept"]),
        chance=st.sampled_from([0.0, 0.5, 1.0]),
    )
    def begin(self, hold: int, on_empty: str, chance: float) -> None:
        self.policy = Policy(hold=hold, on_empty=on_empty)  # type: ignore[arg-type]
        self.core = Membership(ServiceName.parse("web.prod:80"), self.policy, Identity(), lambda: chance)
        self.core.start(0)
        self.now = 0
        self.history: list[Entry] = []
        self.reported: frozenset[str] = frozenset()
        """Suspects that the application reported since the last answer: they are gone by that."""
        self.doubted = False
        """Whether the next question is to be for a second opinion."""
        self.before = self.core.peers

    # What happens

    @rule(seconds=st.integers(0, 40))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def time_passes_until_the_next_question(self) -> None:
        if math.isfinite(self.core.next_wakeup):
            self.now = max(self.now, math.ceil(self.core.next_wakeup))

    @rule(seen=SOME, ttl=TTLS, moved=st.booleans())
    def everybody(self, seen: list[int], ttl: float | None, moved: bool) -> None:
        self._answer(Answer.of(_endpoints(seen, moved), ttl=ttl))

    @rule(lacking=st.integers(0, PODS - 1), ttl=TTLS, by_name=st.booleans())
    def nearly_everybody(self, lacking: int, ttl: float | None, by_name: bool) -> None:
        answer = Answer.of(_endpoints([i for i in range(PODS) if i != lacking]), ttl=ttl)
        gone = frozenset({f"web-{lacking}"} if by_name else ())
        self._answer(answer.replace(gone=gone, gone_ttl=10 if by_name else None))

    @rule(seen=SOME, ordered=st.booleans(), gone=st.sets(st.integers(0, PODS - 1), max_size=1))
    def some(self, seen: list[int], ordered: bool, gone: set[int]) -> None:
        names = frozenset(f"web-{i}" for i in gone - set(seen))
        answer = Answer.of(_endpoints(seen), ttl=5)
        self._answer(answer.replace(outcome=Outcome.PARTIAL, ordered=ordered, gone=names))

    @rule(
        outcome=st.sampled_from([Outcome.EMPTY, Outcome.NOT_FOUND]),
        times=st.integers(1, 3),
        apart=st.integers(0, 40),
    )
    def nobody(self, outcome: Outcome, times: int, apart: int) -> None:
        for _ in range(times):
            self._answer(Answer(outcome=outcome, ttl=30))
            self.now += apart

    @rule(times=st.integers(1, 3))
    def no_answer(self, times: int) -> None:
        for _ in range(times):
            self._answer(Answer.failed("timed out"))

    @rule(seen=SEEN)
    def the_truth(self, seen: list[int]) -> None:
        self._answer(Answer.of(_endpoints(seen)).replace(authoritative=True))

    @rule()
    def somebody_wants_a_refresh(self) -> None:
        wanted = self.core.request(self.now)
        assert wanted > self.core.started
        assert self.core.next_wakeup <= self.now

    @rule(i=st.integers(0, PODS - 1))
    @precondition(lambda self: self.core.peers)
    def the_application_saw_one_fail(self, i: int) -> None:
        peer = self.core.peers[i % len(self.core.peers)]
        held = peer in self.core.status(self.now).suspects
        before = self.core.peers
        assert self.core.report_failure(peer, self.now) is held
        assert (peer.key in self.core.peers.by_key) is not held
        assert set(before) - set(self.core.peers) <= {peer}
        assert self.core.next_wakeup <= self.now + 1
        self._check_generation(before, self.core.peers)
        self.before = self.core.peers
        self.reported |= {peer.key} if held else set()

    def _answer(self, answer: Answer, wanted_meanwhile: bool = False) -> None:
        before = self.core.peers
        assert before is self.before  # only answers and reports change the set
        doubted = self.doubted
        assert self.core.begin().second_opinion is doubted, (
            "once, when a peer is newly held; every other time, while there are none"
        )
        assert self.core.next_wakeup == math.inf
        wanted = self.core.request(self.now) if wanted_meanwhile else None
        self.core.apply(answer, self.now)
        suspects = frozenset(peer.key for peer in self.core.status(self.now).suspects)
        keys = frozenset(endpoint.hostname or "" for endpoint in answer.endpoints)
        entry = Entry(self.now, answer, keys, before, self.core.peers, suspects)
        held_since = {key: self._held_since(key) for key in before.by_key}
        self.history.append(entry)
        self._check(entry, held_since)
        self._check_generation(before, entry.after)
        if wanted is not None:
            assert self.core.completed < wanted
            assert self.core.next_wakeup <= self.now
        else:
            self._check_wait(entry)
        newly_held = entry.suspects - self._suspects_before()
        no_peers = answer.is_empty and not answer.authoritative and not entry.after
        self.doubted = (bool(newly_held) or no_peers) and not doubted
        assert not self.doubted or no_peers or self.core.next_wakeup <= self.now, (
            "a second opinion is asked for at once"
        )
        self.before = entry.after
        self.reported = frozenset()

    @rule(seen=SEEN, failed=st.booleans())
    def a_refresh_is_wanted_during_a_lookup(self, seen: list[int], failed: bool) -> None:
        answer = Answer.failed("timed out") if failed else Answer.of(_endpoints(seen), ttl=30)
        self._answer(answer, wanted_meanwhile=True)

    # What must hold

    def _check(self, entry: Entry, held_since: dict[str, int | None]) -> None:
        answer, before, after = entry.answer, entry.before.by_key, entry.after.by_key
        if answer.outcome is Outcome.FAILED:
            assert entry.after is entry.before, "a failure changes nothing"
            assert entry.suspects == self._suspects_before(), "a failure neither holds nor clears"
            return
        assert entry.keys <= set(after), "an addition needs no evidence"
        assert not entry.keys & entry.suspects, "who is seen is cleared"
        assert set(after) <= set(before) | entry.keys, "nobody comes from nowhere"
        for key in set(before) - set(after):
            assert self._evidence_against(key, entry, held_since[key]), f"{key} went without evidence"
        for key in set(after) - entry.keys:
            self._check_who_stays(key, entry, held_since[key])

    def _check_who_stays(self, key: str, entry: Entry, held_since: int | None) -> None:
        answer = entry.answer
        assert not answer.authoritative, "the truth replaces the set"
        if answer.outcome is Outcome.PARTIAL and key not in answer.gone:
            assert (key in entry.suspects) == (held_since is not None), "partial absence holds nobody"
        else:
            assert key in entry.suspects, "who is lacking and stays is a suspect"
            assert self.policy.on_empty != "accept" or not answer.is_empty
        kept = self.policy.on_empty == "keep" and answer.is_empty
        if held_since is not None and not kept:
            assert entry.at - held_since < self.policy.hold, "after the hold any evidence settles"

    def _evidence_against(self, key: str, entry: Entry, held_since: int | None) -> bool:
        answer = entry.answer
        if key in entry.keys:
            return False
        after_hold = held_since is not None and entry.at - held_since >= self.policy.hold
        if answer.authoritative or (after_hold and not answer.is_empty):
            return True
        if key in answer.gone:
            return self._two_answers_agree(key, entry)
        if answer.is_empty:
            return self.policy.on_empty == "accept" or (self.policy.on_empty == "hold" and after_hold)
        if answer.outcome is Outcome.PARTIAL:
            return self._chance_of_absence(key) < CHANCE_BELOW * 1.001
        lacking = [k for k in entry.before.by_key if k not in entry.keys]
        few = len(entry.before) < 4 or len(lacking) <= len(entry.before) / 2
        return few or self._two_answers_agree(key, entry) or not self._most_are_lacking_anew(entry)

    def _since_last_seen(self, key: str) -> list[Entry]:
        """The evidence since the last answer that showed it, oldest first."""
        found: list[Entry] = []
        for entry in reversed(self.history):
            if key in entry.keys or key not in entry.before.by_key:
                break
            if entry.answer.is_evidence:
                found.append(entry)
        return found[::-1]

    def _held_since(self, key: str) -> int | None:
        """When it became a suspect, if it is one: the first of the answers in a row after which it was."""
        since = None
        for entry in reversed(self.history):
            if key not in entry.suspects:
                break
            since = entry.at
        return since

    def _suspects_before(self) -> frozenset[str]:
        before = self.history[-2].suspects if len(self.history) > 1 else frozenset()
        return before - self.reported

    def _two_answers_agree(self, key: str, entry: Entry) -> bool:
        """One at least a TTL earlier lacked it, too: a complete one, or a question for its own name."""
        return any(
            entry.at - earlier.at >= min(max(self._ttl_against(key, earlier) or 5, 1), self.policy.hold)
            for earlier in self._since_last_seen(key)[:-1]
            if earlier.answer.outcome is Outcome.RESOLVED or key in earlier.answer.gone
        )

    @staticmethod
    def _ttl_against(key: str, entry: Entry) -> float | None:
        return entry.answer.gone_ttl if key in entry.answer.gone else entry.answer.ttl

    def _most_are_lacking_anew(self, entry: Entry) -> bool:
        """Whether more than half of those lack that no complete answer had in doubt already."""
        in_doubt = {
            key
            for key in self._suspects_before()
            if any(
                e.answer.outcome is Outcome.RESOLVED and key not in e.answer.gone
                for e in self._since_last_seen(key)[:-1]
            )
        }
        trusted = [key for key in entry.before.by_key if key not in in_doubt]
        return sum(key not in entry.keys for key in trusted) > len(trusted) / 2

    def _chance_of_absence(self, key: str) -> float:
        """That a pod which is there was missing from each partial answer in a row, drawn independently."""
        chance = 1.0
        for entry in reversed(self._since_last_seen(key)):
            if entry.answer.outcome is not Outcome.PARTIAL:
                break
            union = len(entry.keys | set(entry.before.by_key))
            if not entry.answer.ordered:
                chance *= 1 - len(entry.keys) / union
        return chance

    def _check_generation(self, before: PeerSet, after: PeerSet) -> None:
        assert after.generation - before.generation == (before != after), (
            "a generation rises with each change"
        )

    def _check_wait(self, entry: Entry) -> None:
        policy, wait = self.policy, self.core.next_wakeup - self.now
        answer = entry.answer
        assert wait >= 0
        slack = 1e-9
        if answer.outcome is Outcome.FAILED:
            row = 0
            for earlier in reversed(self.history):
                row += earlier.answer.outcome is Outcome.FAILED
                if earlier.answer.is_evidence:
                    break
            ceiling = policy.retry_max if entry.after else min(policy.retry_max, 5)
            most = min(policy.retry_initial * 2 ** (row - 1), ceiling)
            assert most * 0.05 - slack <= wait <= most + slack, "a failure waits with full jitter"
        elif answer.authoritative:
            assert wait == math.inf, "the source of truth tells by itself"
        elif entry.suspects - self._suspects_before():
            assert wait <= policy.max_refresh * (1 + policy.jitter), "somebody new is held"
        elif not entry.after:
            assert wait <= policy.retry_initial, "an empty set is asked every second, never later"
            assert wait >= policy.retry_initial * (1 - policy.jitter) - slack
        else:
            assert wait >= min(policy.min_refresh, policy.retry_initial) - slack, (
                "never sooner than the floor"
            )
            assert wait <= policy.max_refresh * (1 + policy.jitter) + slack, "never later than the ceiling"

    @invariant()
    def the_set_is_whole(self) -> None:
        if not self.history:
            return
        status, peers = self.core.status(self.now), self.core.peers
        assert status.generation == peers.generation == status.changes
        assert set(status.suspects) <= set(peers)
        last = self.history[-1]
        late = self.now > self.core.next_wakeup + self.policy.timeout
        assert status.stale == (last.answer.outcome is Outcome.FAILED or bool(status.suspects) or late)
        assert [p.key for p in peers] == sorted(peers.by_key)
        assert status.lookups == len(self.history)
        assert status.failures == sum(e.answer.outcome is Outcome.FAILED for e in self.history)
        confirmed = [e.at for e in self.history if e.answer.is_evidence and (e.keys or not e.after)]
        assert status.age == (self.now - confirmed[-1] if confirmed else math.inf)
        assert self.core.explain(self.now)


def _endpoints(seen: list[int], moved: bool = False) -> list[Endpoint]:
    return [Endpoint((f"10.0.{int(moved)}.{i}",), 80, f"web-{i}") for i in seen]


TestHistory = History.TestCase
# A few seconds; in CI, which waits for nobody, five times as many.
TestHistory.settings = settings(max_examples=1000 if in_ci() else 200, stateful_step_count=40, deadline=None)
