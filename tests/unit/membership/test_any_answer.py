"""Whatever a source answers: nothing raises, the set is whole, and a next question is due."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from peerdiscover import Answer, Endpoint, Identity, Outcome, Policy, ServiceName
from peerdiscover.answers import family_of
from peerdiscover.membership import Membership

ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"]
HOSTNAMES = st.sampled_from([None, "web", "web-0", "web-1", "web-2"])

ENDPOINTS = st.builds(
    Endpoint,
    st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2, unique=True).map(tuple),
    st.sampled_from([80, 81]),
    HOSTNAMES,
    zone=st.sampled_from([None, "a"]),
)
UNNAMED = st.builds(Endpoint, st.sampled_from(ADDRESSES).map(lambda a: (a,)), st.just(80))
ANSWERS = st.builds(
    Answer,
    outcome=st.sampled_from(Outcome),
    endpoints=st.lists(ENDPOINTS, max_size=6),
    ttl=st.sampled_from([None, 0, 5, 300]),
    authoritative=st.booleans(),
    failed_families=st.frozensets(st.sampled_from([4, 6])),
    unnamed=st.lists(UNNAMED, max_size=3),
    gone=st.frozensets(st.sampled_from(["web", "web-0", "web-1"]), max_size=2),
    gone_ttl=st.sampled_from([None, 0, 5]),
    ordered=st.booleans(),
).map(
    # A source that says nobody, or nothing, shows nobody.
    lambda a: a if a.outcome in (Outcome.RESOLVED, Outcome.PARTIAL) else a.replace(endpoints=(), unnamed=())
)
POLICIES = st.builds(
    Policy,
    hold=st.sampled_from([0, 10]),
    on_empty=st.sampled_from(["hold", "keep", "accept"]),
    max_stale=st.sampled_from([None, 20]),
)
STEPS = st.lists(st.tuples(ANSWERS, st.integers(0, 15), st.integers(0, 9)), max_size=15)


@settings(deadline=None)
@given(POLICIES, STEPS)
def test_any_answer(policy: Policy, steps: list[tuple[Answer, int, int]]) -> None:
    me = Identity("web-0", ("10.0.0.1",))
    core = Membership(ServiceName.parse("web.prod:80"), policy, me, lambda: 0.5)
    core.start(0)
    now = 0
    for answer, seconds, fails in steps:
        now += seconds
        before = core.peers
        ask = core.begin()
        assert {p.hostname for p in before if p.hostname} == set(ask.known)
        core.apply(answer, now)
        _check(core, now)
        if not answer.is_evidence and policy.max_stale is None:
            assert core.peers is before
        assert answer.authoritative or not math.isinf(core.next_wakeup)
        shown = {a for e in answer.endpoints for a in e.addresses}
        assert shown <= {a for p in core.peers for a in p.addresses} or _two_say_so(answer)
        for peer in before:
            untold = answer.failed_families >= set(map(family_of, peer.addresses))
            if untold and answer.is_evidence and policy.max_stale is None:
                assert peer.key in core.peers.by_key, "nothing speaks against a family that failed"
        if fails < len(core.peers):
            core.report_failure(core.peers[fails], now)
            _check(core, now)


def _check(core: Membership, now: float) -> None:
    status = core.status(now)
    assert set(status.suspects) <= set(core.peers)
    assert core.view.suspects == {peer.key for peer in status.suspects}
    assert (core.view.before > 0) == bool(status.suspects)
    assert status.generation == status.changes
    assert core.explain(now)


def _two_say_so(answer: Answer) -> bool:
    """Two endpoints with one key: one of them is left out."""
    keys = [(e.hostname, e.addresses[0], e.port) for e in dict.fromkeys(answer.endpoints)]
    return len(set(keys)) < len(keys)
