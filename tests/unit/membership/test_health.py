"""Health: who is left out by pickers and until when, told failures, successes and the time."""

from __future__ import annotations

import math

import pytest

from peerdiscover import Peer, PeerSet, Policy
from peerdiscover.membership.health import Health
from peerdiscover.peers import View
from tests.unit.tables import peer, peers

INF = math.inf
TEN = peers(*range(10))


class Patient:
    """Health on a clock of whole numbers, with a set of ten."""

    def __init__(self, policy: Policy | None = None, *, chance: float = 0.0, of: PeerSet = TEN) -> None:
        self.health = Health(policy or Policy(), lambda: chance)
        self.peers = of

    def fails(self, *numbers: int, at: float = 0.0) -> None:
        for i in numbers:
            self.health.failed(peer(i), self.peers, at, "OSError")

    def at(self, now: float) -> Patient:
        """Time passes, as a discovery lets it pass: each moment at which something is due comes."""
        while self.health.next_tick <= now:
            before = self.health.next_tick
            self.health.tick(before)
            assert self.health.next_tick > before
        self.health.tick(now)
        return self

    @property
    def view(self) -> View:
        return self.health.annotate(View(self.peers))

    @property
    def ejected(self) -> list[str]:
        return sorted(self.view.ejected)

    @property
    def on_trial(self) -> list[str]:
        return sorted(self.view.half_open)


def test_a_healthy_set_is_shown_as_it_is() -> None:
    view = View(TEN)
    assert Health(Policy(), lambda: 0.0).annotate(view) is view


def test_a_failure_ejects_for_a_second() -> None:
    web = Patient()
    web.fails(3)
    assert web.ejected == ["web-3"]
    assert web.health.next_tick == 1
    assert web.at(0.9).ejected == ["web-3"]
    assert web.at(1).ejected == []
    assert web.on_trial == ["web-3"]


def test_a_failure_on_trial_ejects_for_twice_as_long_up_to_a_ceiling() -> None:
    web = Patient()
    now = 0.0
    lengths = []
    for _ in range(8):
        web.fails(3, at=now)
        lengths.append(web.health.next_tick - now)
        now = web.health.next_tick
        web.at(now)
        assert web.on_trial == ["web-3"]
    assert lengths == [1, 2, 4, 8, 16, 30, 30, 30]


def test_chance_makes_it_longer() -> None:
    web = Patient(chance=1)
    web.fails(3)
    assert web.health.next_tick == pytest.approx(1.2)


def test_failures_while_ejected_change_nothing() -> None:
    """Calls that were under way fail, too: that is the same news."""
    web = Patient()
    web.fails(3, 3, 3)
    web.fails(3, at=0.5)
    assert web.health.next_tick == 1
    web.at(1)
    web.fails(3, at=1)
    assert web.health.next_tick == 3


def test_a_success_forgives_everything() -> None:
    web = Patient()
    web.fails(3)
    web.at(1).fails(3, at=1)
    assert web.health.succeeded(peer(3), 1.5)
    assert (web.ejected, web.on_trial, web.health.next_tick) == ([], [], INF)
    web.fails(3, at=2)
    assert web.health.next_tick == 3
    assert not web.health.succeeded(peer(4), 2)


def test_a_trial_that_passes_without_failure_is_a_success() -> None:
    web = Patient()
    web.fails(3)
    assert web.at(1.9).on_trial == ["web-3"]
    assert web.at(2).on_trial == []
    assert web.health.failure_records == {}


def test_so_many_failures_in_a_row() -> None:
    web = Patient(Policy(eject_after=3))
    web.fails(3, 3)
    assert web.ejected == []
    web.health.succeeded(peer(3), 0)
    web.fails(3, 3)
    assert web.ejected == []
    web.fails(3)
    assert web.ejected == ["web-3"]


@pytest.mark.parametrize(
    ("size", "share", "most"),
    [(10, 0.5, 5), (10, 0.3, 3), (3, 0.5, 1), (2, 0.5, 1), (2, 0.1, 1), (1, 1, 1), (10, 0, 0), (1, 0.5, 0)],
)
def test_no_more_than_a_share_is_ejected(size: int, share: float, most: int) -> None:
    web = Patient(Policy(max_ejected=share), of=peers(*range(size)))
    web.fails(*range(size))
    assert len(web.ejected) == most


def test_who_could_not_be_ejected_is_when_there_is_room() -> None:
    web = Patient(of=peers(0, 1, 2))
    web.fails(0)
    web.fails(1, at=0.5)
    assert web.ejected == ["web-0"]
    web.at(1).fails(1, at=1)
    assert web.ejected == ["web-1"]


@pytest.mark.parametrize(("share", "ejected"), [(0.1, ["web-0", "web-1"]), (0, [])])
def test_while_there_are_backups_all_may_be_ejected_unless_none_ever_is(
    share: float, ejected: list[str]
) -> None:
    backup = Peer("web-9", "10.0.0.9", 80, hostname="web-9", priority=1)
    web = Patient(Policy(max_ejected=share), of=PeerSet("web", [peer(0), peer(1), backup], generation=1))
    web.fails(0, 1)
    assert web.ejected == ejected


def test_who_left_or_moved_starts_afresh() -> None:
    web = Patient()
    web.fails(3, 4)
    moved = Peer("web-3", "10.9.9.9", 80, hostname="web-3")
    after = PeerSet("web", [moved, *(p for p in TEN if p.ordinal not in (3, 4))], generation=2)
    web.health.follow(TEN, after, 1)
    assert web.health.failure_records == {}
    web.peers = after
    web.fails(3, 4, at=1)  # late news of those who are not there any more
    assert web.health.failure_records == {}
    assert web.ejected == []


def test_slow_start_rises_in_eighths() -> None:
    web = Patient(Policy(slow_start=8))
    web.peers = peers(*range(11), generation=2)
    web.health.follow(TEN, web.peers, 100)
    seen = []
    for second in range(100, 110):
        web.at(second)
        seen.append(web.view.weights.get("web-10", 1.0))
    assert seen == [1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1, 1, 1]
    assert web.health.next_tick == INF


def test_the_first_set_needs_no_slow_start() -> None:
    web = Patient(Policy(slow_start=8))
    web.health.follow(PeerSet("web"), TEN, 0)
    assert web.view.weights == {}


def test_who_is_back_starts_slowly() -> None:
    web = Patient(Policy(slow_start=8))
    web.fails(3)
    web.health.succeeded(peer(3), 1)
    assert web.view.weights == {"web-3": 1 / 8}
    web.fails(3, at=2)  # and an ejection ends it
    web.at(2)
    assert web.view.weights == {}


def test_a_single_failure_that_did_not_eject_is_no_reason_for_a_slow_start() -> None:
    web = Patient(Policy(slow_start=8, eject_after=2))
    web.fails(3)
    web.health.succeeded(peer(3), 1)
    assert web.view.weights == {}
