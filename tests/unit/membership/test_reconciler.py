"""What an answer does to the set: each row of the table, with exact times."""

from __future__ import annotations

import pytest

from peerdiscover import Answer, Endpoint, Outcome, Policy
from peerdiscover.membership.evidence import is_same_order
from tests.unit.tables import EMPTY, FAILED, NOT_FOUND, Told, endpoint, partial, pods, texts

TEN = range(10)
NOBODY = pytest.mark.parametrize("nobody", [EMPTY, NOT_FOUND], ids=["empty", "not found"])


# resolved, complete


def test_a_complete_answer_replaces_the_set() -> None:
    told = Told().hears(pods(0, 1, 2)).hears(pods(1, 2, 3), at=5)
    assert told.numbers == [1, 2, 3]
    assert told.suspects == []
    assert told.generation == 2


def test_addition_needs_no_evidence() -> None:
    told = Told().hears(pods(0)).hears(pods(*range(50)), at=1)
    assert told.numbers == list(range(50))


def test_a_move_is_no_removal() -> None:
    told = Told().hears(pods(0, 1))
    told.hears(Answer.of([endpoint(0), endpoint(1, "10.0.0.99")], ttl=5), at=5)
    assert told.peer(1).address == "10.0.0.99"
    assert told.generation == 2
    assert told.suspects == []


def test_every_address_replaced_is_no_mass_removal() -> None:
    """Who a peer is stands in its name: new addresses for all names remove nobody."""
    told = Told().hears(pods(*TEN))
    told.hears(Answer.of([endpoint(i, f"10.0.0.{9 - i}") for i in TEN], ttl=5), at=5)
    assert told.suspects == []
    assert [peer.address for peer in told.core.peers] == [f"10.0.0.{9 - i}" for i in TEN]


@pytest.mark.parametrize(
    ("known", "left", "held"),
    [
        (10, 5, False),  # half is not more than half
        (10, 4, True),
        (4, 2, False),
        (4, 1, True),
        (5, 2, True),
        (3, 1, False),  # fewer than four are believed at once
        (2, 1, False),
    ],
)
def test_more_than_half_of_four_or_more(known: int, left: int, held: bool) -> None:
    told = Told().hears(pods(*range(known))).hears(pods(*range(left)), at=5)
    assert told.numbers == list(range(known if held else left))
    assert told.suspects == (list(range(left, known)) if held else [])


@pytest.mark.parametrize(
    ("share", "left", "held"), [(1.0, 1, False), (0.0, 9, True), (0.25, 7, True), (0.25, 8, False)]
)
def test_the_share_is_the_policys(share: float, left: int, held: bool) -> None:
    told = Told(Policy(mass_removal=share)).hears(pods(*TEN)).hears(pods(*range(left)), at=5)
    assert bool(told.suspects) is held


def test_all_of_four_replaced_by_others_are_held_and_the_others_are_in() -> None:
    told = Told().hears(pods(0, 1, 2, 3)).hears(pods(10, 11, 12, 13), at=5)
    assert told.numbers == [0, 1, 2, 3, 10, 11, 12, 13]
    assert told.suspects == [0, 1, 2, 3]


def test_mass_removal_step_by_step() -> None:
    told = Told().hears(pods(*TEN)).hears(pods(0, 1, 2, 3), at=10)
    assert told.numbers == list(TEN)
    assert told.suspects == [4, 5, 6, 7, 8, 9]
    assert told.wait == 0  # a second opinion, at once …
    told.hears(pods(0, 1, 2, 3))
    assert told.asked_twice
    assert told.numbers == list(TEN)  # … may come from the same cache
    assert told.wait == 5  # so the one that counts is one TTL away
    told.hears(pods(0, 1, 2, 3), at=14.999)
    assert not told.asked_twice
    assert told.numbers == list(TEN)
    told.hears(pods(0, 1, 2, 3), at=15)
    assert told.numbers == [0, 1, 2, 3]
    assert told.suspects == []
    assert told.wait == 5
    assert told.generation == 2


def test_a_second_opinion_that_disagrees_clears_everybody() -> None:
    told = Told().hears(pods(*TEN)).hears(pods(0), at=10).hears(pods(*TEN))
    assert told.asked_twice
    assert told.suspects == []
    assert told.generation == 1
    assert told.wait == 5


@pytest.mark.parametrize(
    ("ttl", "apart"),
    [(None, 5), (0, 5), (0.2, 1), (1, 1), (7, 7), (30, 30), (300, 30)],  # max(TTL, floor), at most the hold
)
def test_one_ttl_apart(ttl: float | None, apart: float) -> None:
    told = Told().hears(pods(*TEN)).hears(pods(0, ttl=ttl), at=100).hears(pods(0, ttl=ttl))
    assert f"if a complete answer in {apart:.1f} s or later agrees" in told.core.explain(100)
    told.hears(pods(0, ttl=ttl), at=100 + apart - 0.001)
    assert told.numbers == list(TEN)
    told.hears(pods(0, ttl=ttl), at=100 + apart)
    assert told.numbers == [0]


def test_a_short_ttl_from_another_cache_does_not_shorten_that_of_the_first_answer() -> None:
    told = Told(Policy(hold=60)).hears(pods(*TEN)).hears(pods(0, ttl=30), at=0).hears(pods(0, ttl=0.4), at=10)
    assert told.hears(pods(0, ttl=0.4), at=30.5).numbers == list(TEN)  # it may be the first one
    assert told.hears(pods(0, ttl=0.4), at=32).numbers == [0]


def test_the_hold_bounds_one_ttl() -> None:
    told = Told(Policy(hold=3)).hears(pods(*TEN)).hears(pods(0, ttl=30), at=0).hears(pods(0, ttl=30))
    assert told.wait == 3
    assert told.hears(pods(0, ttl=30), at=3).numbers == [0]


def test_somebody_seen_again_is_cleared_and_the_rest_goes() -> None:
    told = Told().hears(pods(*TEN)).hears(pods(0, 1), at=10).hears(pods(0, 1, 2, 3))
    assert told.suspects == [4, 5, 6, 7, 8, 9]
    assert told.hears(pods(0, 1, 2), at=15).numbers == [0, 1, 2]


def test_a_suspect_that_was_cleared_begins_anew() -> None:
    told = Told().hears(pods(*TEN)).hears(pods(0), at=10).hears(pods(*TEN))
    told.hears(pods(0), at=16)
    assert told.suspects == list(range(1, 10))  # its second answer is one TTL from this one
    assert told.wait == 0


def test_two_caches_that_disagree_make_no_storm_of_changes() -> None:
    told = Told()
    for second in range(0, 300, 5):
        told.hears(pods(*TEN) if second % 10 == 0 else pods(0, 1, 2), at=second)
        assert told.numbers == list(TEN)
    assert told.generation == 1


def test_a_ttl_that_runs_down_is_the_same_answer_out_of_a_cache() -> None:
    """A cache counts whole seconds: it gives an answer, at TTL 0, up to a second past its TTL."""
    told = Told().hears(pods(*TEN)).hears(pods(0, ttl=3), at=10).hears(pods(0, ttl=3))
    assert told.hears(pods(0, ttl=0), at=13).numbers == list(TEN)
    assert told.hears(pods(0, ttl=0), at=13.9).numbers == list(TEN)
    assert told.hears(pods(0, ttl=3), at=14).numbers == [0]  # asked anew: a second answer


def test_a_cache_that_tells_its_ttl_late_is_found_out_too() -> None:
    """dnsmasq passes the first answer on with the TTL of its server, then counts down its own."""
    told = Told().hears(pods(*TEN)).hears(pods(0, ttl=1), at=10).hears(pods(0, ttl=4))
    assert told.hears(pods(0, ttl=3), at=11).numbers == list(TEN)
    assert told.hears(pods(*TEN), at=14).generation == 1


def test_two_servers_that_know_nobody_in_common_settle_on_everybody() -> None:
    told = Told()
    for second in range(0, 300, 5):
        told.hears(pods(0, 1, 2) if second % 10 == 0 else pods(3, 4, 5), at=second)
        if second > 40:
            assert told.numbers == [0, 1, 2, 3, 4, 5]
    assert told.generation <= 6


def test_who_comes_and_goes_is_held_and_goes_when_a_second_answer_agrees() -> None:
    told = Told()
    for second in range(0, 25, 5):  # there, gone, back, gone, back …
        told.hears(pods(0, 1, 2) if second % 10 == 0 else pods(0, 1), at=second)
    assert told.hears(pods(0, 1), at=25).suspects == [2]
    assert told.hears(pods(0, 1), at=30).numbers == [0, 1]


def test_who_went_longer_than_the_hold_ago_comes_as_anybody_does() -> None:
    told = Told()
    for second in range(0, 400, 40):
        told.hears(pods(0, 1, 2) if second % 80 == 0 else pods(0, 1), at=second)
        assert told.numbers == ([0, 1, 2] if second % 80 == 0 else [0, 1])
        assert told.suspects == []


def test_nobody_who_is_lacking_stays_without_being_a_suspect() -> None:
    """Held by a mass removal, and fewer lacking later: those go or are held, each by its own evidence."""
    told = Told().hears(pods(*TEN)).hears(pods(0, 1, 2), at=0).hears(pods(0, 1), at=1)
    assert told.numbers == [0, 1, 3, 4, 5, 6, 7, 8, 9]  # one of three trusted ones is believed
    assert told.suspects == [3, 4, 5, 6, 7, 8, 9]


def test_a_failure_in_between_changes_no_agreement() -> None:
    told = Told().hears(pods(*TEN)).hears(pods(0), at=10).hears(FAILED).hears(FAILED, at=14)
    assert told.suspects == list(range(1, 10))
    assert told.hears(pods(0), at=15).numbers == [0]


def test_after_the_hold_any_answer_that_is_no_failure_settles() -> None:
    """Held by "nobody" at 0 and by a complete answer at 20 with a long TTL: the hold from 0 counts."""
    told = Told().hears(pods(*TEN)).hears(EMPTY, at=0).hears(pods(0, ttl=30), at=20)
    assert told.suspects == list(range(1, 10))
    assert told.hears(FAILED, at=40).suspects == list(range(1, 10))
    assert told.hears(pods(0, ttl=30), at=41).numbers == [0]


# resolved, partial


def test_a_partial_answer_only_adds() -> None:
    told = Told().hears(pods(0, 1, 2)).hears(partial(3, 4), at=5)
    assert told.numbers == [0, 1, 2, 3, 4]
    assert told.suspects == []


def test_partial_absence_counts_once_chance_is_below_one_in_a_million() -> None:
    """Half of the union in each answer: 2**-19 is above one in a million, 2**-20 below."""
    told = Told().hears(pods(*range(8)))
    for n in range(1, 20):
        told.hears(partial(*([0, 1, 2, 3] if n % 2 else [3, 2, 1, 0])), at=n * 5)
        assert told.numbers == list(range(8)), n
    told.hears(partial(3, 2, 1, 0), at=100)
    assert told.numbers == [0, 1, 2, 3]


def test_seen_in_a_partial_answer_begins_the_count_anew() -> None:
    told = Told().hears(pods(*range(8)))
    for n in range(1, 40):
        shown = [0, 1, 2, 3] if n % 15 else [4, 5, 6, 7]
        told.hears(partial(*(shown if n % 2 else reversed(shown))), at=n * 5)
    assert told.numbers == list(range(8))


def test_a_complete_answer_begins_the_count_anew() -> None:
    told = Told().hears(pods(*range(8)))
    for n in range(1, 40):
        answer = partial(*([0, 1, 2, 3] if n % 2 else [3, 2, 1, 0]))
        told.hears(pods(*range(8)) if n % 10 == 0 else answer, at=n * 5)
    assert told.numbers == list(range(8))


def test_in_a_fixed_order_absence_past_the_cut_says_nothing() -> None:
    told = Told().hears(pods(*range(8)))
    for n in range(1, 200):
        told.hears(partial(0, 1, 2, 3, ordered=True), at=n * 5)
    assert told.numbers == list(range(8))


def test_a_source_that_says_so_is_taken_at_its_word() -> None:
    """SRV is cut after so many bytes: what is behind the cut may differ from answer to answer."""
    told = Told().hears(pods(*range(8)))
    for n in range(1, 200):
        told.hears(partial(*([0, 1, 2, 3] if n % 2 else [3, 2, 1]), ordered=True), at=n * 5)
    assert told.numbers == list(range(8))


def test_the_same_order_again_is_no_independent_draw() -> None:
    """A cache hands out one shuffled answer again and again: that is one observation."""
    told = Told().hears(pods(*range(8)))
    for n in range(1, 200):
        told.hears(partial(2, 0, 3, 1), at=n * 5)
    assert told.numbers == list(range(8))


def test_two_peers_in_the_same_order_prove_no_order() -> None:
    """Of shuffled answers every second one has them so."""
    assert not is_same_order(("a", "b", "c"), ("a", "b", "d"))
    assert is_same_order(("a", "x", "b", "c"), ("a", "b", "y", "c"))
    assert not is_same_order(("a", "b", "c"), ("b", "a", "c"))


GONE = partial(0, 1, ordered=True, gone={"web-5"}).replace(gone_ttl=5.0)


def test_a_name_that_is_not_there_is_held_until_a_second_answer_agrees() -> None:
    """One wrong NXDOMAIN for a pod's own name must not remove it."""
    told = Told().hears(pods(*range(8))).hears(GONE, at=5)
    assert told.suspects == [5]
    assert told.wait == 0, "a second opinion is asked for at once"
    told.hears(GONE, at=5)
    assert told.asked_twice
    assert 5 in told.numbers, "it comes out of the same cache"
    assert told.wait == 5
    told.hears(FAILED, at=6).hears(GONE, at=10)
    assert told.numbers == [0, 1, 2, 3, 4, 6, 7]
    assert told.core.explain(10).count("web-5 at 10.0.0.5:80: its own name is gone, held for 5.0 s") == 1


def test_a_second_answer_whose_ttl_has_run_down_is_the_first_one() -> None:
    told = Told().hears(pods(*range(8))).hears(GONE.replace(gone_ttl=30.0), at=5)
    told.hears(GONE.replace(gone_ttl=5.0), at=30)
    assert 5 in told.numbers
    assert 5 not in told.hears(GONE.replace(gone_ttl=30.0), at=36).numbers


def test_a_name_that_is_not_there_is_cleared_when_it_is_seen() -> None:
    told = Told().hears(pods(*range(8))).hears(GONE, at=5).hears(pods(*range(8)), at=5)
    assert told.suspects == []
    assert 5 in told.hears(GONE, at=10).numbers, "that one is the first again"


def test_a_complete_answer_with_a_pod_of_which_its_own_name_is_not_there() -> None:
    """SRV lists it, and a question for its name says that it is not there: one against the other."""
    lacking = pods(0, 1).replace(gone=frozenset({"web-2"}), gone_ttl=5.0)
    told = Told().hears(pods(0, 1, 2)).hears(lacking, at=5).hears(lacking, at=5)
    assert told.suspects == [2]
    assert Told().hears(pods(0, 1, 2)).hears(lacking, at=5).hears(lacking, at=10).numbers == [0, 1]
    assert told.hears(pods(0, 1), at=6).numbers == [0, 1], "a complete answer without it is the second one"


def test_a_mass_removal_holds_who_was_held_by_its_name_as_well() -> None:
    told = Told().hears(pods(*range(8))).hears(GONE, at=5)
    told.hears(pods(0, 1, 2), at=6).hears(pods(0, 1, 2), at=7)
    assert told.suspects == [3, 4, 5, 6, 7]
    assert told.hears(pods(0, 1, 2), at=12).numbers == [0, 1, 2]


def test_what_partial_answers_lacked_is_forgotten_when_a_complete_one_has_it() -> None:
    told = Told().hears(pods(*range(8))).hears(partial(2, 0, 1), at=5).hears(pods(*range(8)), at=10)
    assert "web-7 at 10.0.0.7:80: in: the last answers have it" in told.core.explain(10)
    told.hears(partial(1, 2, 0), at=15)
    assert "web-7 at 10.0.0.7:80: in: missing from 1 partial answer," in told.core.explain(15)


def test_the_set_before_its_suspects_is_the_one_that_had_none() -> None:
    """Pickers measure against it how many peers are left."""
    told = Told().hears(pods(*TEN)).hears(pods(0, 1, 2, 3), at=5)
    told.hears(pods(*range(4), *range(10, 30)), at=6).hears(pods(*range(4), *range(10, 30)), at=7)
    assert told.suspects == [4, 5, 6, 7, 8, 9]
    assert told.core.view.before == 10


def test_who_is_held_by_a_mass_removal_is_not_held_by_its_name_alone() -> None:
    told = Told().hears(pods(*range(8))).hears(pods(0, 1, 2), at=5)
    told.hears(pods(0, 1, 2).replace(gone=frozenset({"web-3"}), gone_ttl=5.0), at=6)
    assert told.hears(pods(0, 1, 2), at=7).suspects == [3, 4, 5, 6, 7]
    assert told.hears(pods(0, 1, 2), at=11).numbers == [0, 1, 2]


def test_own_names_speak_for_their_own_ttl() -> None:
    lacking = pods(0, 1, ttl=1).replace(gone=frozenset({"web-2"}), gone_ttl=20.0)
    told = Told().hears(pods(0, 1, 2)).hears(lacking, at=5)
    assert told.hears(lacking.replace(gone_ttl=5.0), at=20).numbers == [0, 1, 2]
    assert told.hears(lacking.replace(gone_ttl=20.0), at=25).numbers == [0, 1]


def test_the_ask_names_those_unseen_for_longest_first() -> None:
    """Their own names are what a source should ask for, if it can ask for a few only."""
    told = Told().hears(pods(0, 1, 2, 3))
    told.hears(partial(0, 1, 2), at=5).hears(partial(1, 0, 3), at=10).hears(partial(0, 3, 1), at=15)
    told.hears(FAILED)
    assert next(iter(told.known)) == "web-2"
    assert told.known["web-0"] == ("10.0.0.0",)
    assert set(told.known) == {"web-0", "web-1", "web-2", "web-3"}


def test_nobody_waits_for_ever_for_being_asked_by_name() -> None:
    """Past a cut that is always at the same place each has its turn: who was seen goes to the end."""
    told = Told().hears(pods(*range(8)))
    for n, own_name in enumerate([4, 5, 6, 7, 4, 5]):
        told.hears(partial(0, 1, 2, 3, own_name, ordered=True), at=5 * n + 5)
        told.hears(FAILED)
        others = [f"web-{i}" for i in range(4, 8) if i != own_name]
        assert set(list(told.known)[:3]) == set(others)
    assert next(iter(told.known)) == "web-6"


def test_who_went_is_not_asked_for() -> None:
    gone = partial(0, gone={"web-1"})
    told = Told().hears(pods(0, 1, 2)).hears(partial(0), at=5).hears(gone, at=10).hears(gone, at=15)
    told.hears(EMPTY, at=16)
    assert told.core.report_failure(told.peer(2), 17)
    told.hears(FAILED, at=17)
    assert list(told.known) == ["web-0"]


def test_a_partial_answer_after_the_hold_settles_a_suspect() -> None:
    told = Told().hears(pods(0, 1)).hears(EMPTY, at=0).hears(partial(0, ordered=True), at=29)
    assert told.suspects == [1]
    assert told.hears(partial(0, ordered=True), at=30).numbers == [0]


# empty, not found


@NOBODY
def test_nobody_is_held_asked_twice_and_believed_after_the_hold(nobody: Answer) -> None:
    told = Told().hears(pods(0, 1, 2)).hears(nobody, at=10)
    assert told.suspects == [0, 1, 2]
    assert told.wait == 0
    told.hears(nobody)
    assert told.asked_twice
    for at, wait in [(10, 1), (11, 2), (13, 4), (17, 8), (25, 15)]:  # 15: it can be settled at 40
        if at > 10:
            told.hears(nobody, at=at)
            assert not told.asked_twice
        assert told.wait == wait
        assert told.numbers == [0, 1, 2]
    assert told.hears(nobody, at=39.999).numbers == [0, 1, 2]
    assert told.hears(nobody, at=40).numbers == []
    assert told.suspects == []
    assert told.generation == 2


@NOBODY
def test_one_wrong_nobody_among_good_answers_changes_nothing(nobody: Answer) -> None:
    told = Told().hears(pods(0, 1, 2)).hears(nobody, at=5).hears(pods(0, 1, 2))
    assert told.asked_twice
    assert told.generation == 1
    assert told.suspects == []
    assert told.wait == 5


@NOBODY
def test_a_failure_neither_ends_nor_restarts_the_hold(nobody: Answer) -> None:
    told = Told().hears(pods(0, 1, 2)).hears(nobody, at=10).hears(nobody)
    for second in range(11, 60):
        told.hears(FAILED, at=second)
        assert told.suspects == [0, 1, 2]
    assert told.hears(nobody, at=60).numbers == []


def test_a_failure_at_the_end_of_the_hold_does_not_empty() -> None:
    told = Told().hears(pods(0, 1, 2)).hears(EMPTY, at=0)
    assert told.hears(FAILED, at=500).numbers == [0, 1, 2]


def test_empty_and_not_found_are_one_kind_of_evidence() -> None:
    told = Told().hears(pods(0, 1, 2)).hears(EMPTY, at=0).hears(NOT_FOUND, at=15).hears(EMPTY, at=30)
    assert told.numbers == []


def test_somebody_seen_during_the_hold_begins_their_own_anew() -> None:
    told = Told().hears(pods(0, 1)).hears(EMPTY, at=0).hears(pods(0, 1), at=20).hears(EMPTY, at=25)
    assert told.hears(EMPTY, at=54.9).numbers == [0, 1]
    assert told.hears(EMPTY, at=55).numbers == []


def test_a_complete_answer_during_the_hold_is_judged_as_any_other() -> None:
    assert Told().hears(pods(0, 1)).hears(EMPTY, at=0).hears(pods(1), at=1).numbers == [1]


def test_a_hold_of_0_still_wants_a_second_answer() -> None:
    told = Told(Policy(hold=0)).hears(pods(0, 1)).hears(EMPTY, at=5)
    assert told.numbers == [0, 1]
    assert told.hears(EMPTY).numbers == []


@NOBODY
def test_keep_keeps_for_ever(nobody: Answer) -> None:
    told = Told(Policy(on_empty="keep")).hears(pods(0, 1, 2))
    for n in range(1, 100):
        told.hears(nobody, at=n * 30)
    assert told.numbers == [0, 1, 2]
    assert told.suspects == [0, 1, 2]
    assert told.hears(pods(2), at=10000).numbers == [2]


@NOBODY
def test_accept_empties_at_once(nobody: Answer) -> None:
    told = Told(Policy(on_empty="accept")).hears(pods(0, 1, 2)).hears(nobody, at=5)
    assert told.numbers == []
    assert told.wait == 1


@NOBODY
def test_an_empty_set_stays_empty(nobody: Answer) -> None:
    told = Told().hears(nobody).hears(nobody, at=1).hears(nobody, at=2)
    assert told.numbers == []
    assert told.generation == 0
    assert not told.asked_twice
    assert told.core.satisfies(0)
    assert not told.core.satisfies(1)


def test_a_complete_answer_without_anybody_is_an_empty_one() -> None:
    told = Told().hears(pods(0)).hears(Answer(outcome=Outcome.RESOLVED), at=5)
    assert told.numbers == [0]
    assert told.status.outcome is Outcome.EMPTY


# failed


def test_failures_never_remove() -> None:
    told = Told().hears(pods(0, 1, 2))
    for n in range(1, 1000):
        told.hears(FAILED, at=n * 30)
    assert told.numbers == [0, 1, 2]
    assert told.suspects == []
    assert told.generation == 1
    assert told.status.age == 999 * 30


def test_before_the_first_answer_failures_are_no_evidence() -> None:
    told = Told().hears(FAILED)
    assert not any("no peers yet" in text for _, text in told.core.pending_logs)
    assert not told.core.satisfies(0)
    assert told.status.outcome is Outcome.FAILED


def test_max_stale_is_the_one_exception() -> None:
    told = Told(Policy(max_stale=60)).hears(pods(0, 1, 2))
    for second in range(30, 60, 5):
        assert told.hears(FAILED, at=second).numbers == [0, 1, 2]
    assert told.core.next_wakeup <= 60  # it is looked at when it is due, whatever the back-off
    assert told.hears(FAILED, at=60).numbers == []
    assert "max_stale: no answer for 60.0 s" in told.core.explain(60)
    assert told.generation == 2
    assert told.wait > 0  # and it does not spin


def test_max_stale_does_not_wake_anybody_while_all_is_well() -> None:
    told = Told(Policy(max_stale=3)).hears(pods(0, ttl=30))
    assert told.wait == 30


# one family failed


def _both(i: int) -> Endpoint:
    return Endpoint((f"10.0.0.{i}", f"fd00::{i}"), 80, f"web-{i}")


def test_a_family_that_failed_keeps_its_peers_and_the_other_is_judged() -> None:
    told = Told().hears(Answer.of([_both(1), endpoint(2), Endpoint.parse("web-3=[fd00::3]:80")], ttl=5))
    told.hears(pods(1, 5).replace(failed_families=frozenset({6})), at=5)
    assert told.numbers == [1, 3, 5]  # web-2 had only the family that answered
    assert told.peer(1).addresses == ("10.0.0.1", "fd00::1")
    assert told.suspects == []
    assert told.status.stale is False


def test_a_family_that_failed_keeps_the_address_of_who_lost_the_other() -> None:
    told = Told().hears(Answer.of([_both(1), _both(2)], ttl=5))
    told.hears(pods(1).replace(failed_families=frozenset({6})), at=5)
    assert told.peer(2).addresses == ("fd00::2",)
    assert told.peer(2).address == "fd00::2"


def test_nobody_from_one_family_speaks_only_against_its_own() -> None:
    told = Told().hears(Answer.of([_both(1), endpoint(2), Endpoint.parse("web-3=[fd00::3]:80")], ttl=5))
    told.hears(NOT_FOUND.replace(failed_families=frozenset({6})), at=5)
    assert told.suspects == [2]
    assert told.status.age == 5  # what it says nothing about, it does not confirm
    told.hears(NOT_FOUND.replace(failed_families=frozenset({6})), at=35)
    assert told.numbers == [1, 3]


def test_a_suspect_of_a_family_that_failed_stays_one() -> None:
    told = Told().hears(Answer.of([endpoint(1), Endpoint.parse("web-3=[fd00::3]:80")], ttl=5))
    told.hears(EMPTY, at=5).hears(pods(1).replace(failed_families=frozenset({6})), at=6)
    assert told.suspects == [3]


def test_nobody_from_the_family_that_nobody_has_is_a_failure() -> None:
    no_v4 = EMPTY.replace(failed_families=frozenset({4}))
    told = Told().hears(pods(1, 2)).hears(no_v4, at=5)
    assert told.numbers == [1, 2]
    assert told.status.outcome is Outcome.FAILED
    assert told.status.stale
    assert told.status.error == "IPv4 could not be asked, and no peers are known to be elsewhere"
    told.hears(NOT_FOUND.replace(failed_families=frozenset({4}), error="A: SERVFAIL"), at=10)
    assert told.status.error == "A: SERVFAIL"
    assert told.status.failures == 2


def test_before_anybody_is_known_nobody_from_one_family_is_no_evidence() -> None:
    told = Told().hears(EMPTY.replace(failed_families=frozenset({4})))
    assert told.status.outcome is Outcome.FAILED
    assert not told.core.satisfies(0)
    told.hears(NOT_FOUND.replace(failed_families=frozenset({4})), at=1)  # the name itself is not there
    assert told.core.status(1).outcome is Outcome.NOT_FOUND
    assert told.core.satisfies(0)


def test_the_preferred_family_stays_the_preferred_one() -> None:
    told = Told().hears(Answer.of([_both(1)], ttl=5))
    told.hears(texts("web-1=[fd00::9]:80").replace(failed_families=frozenset({4})), at=5)
    assert told.peer(1).addresses == ("10.0.0.1", "fd00::9")


# authoritative


def test_the_source_of_truth_is_believed_at_once() -> None:
    told = Told().hears(pods(*TEN).replace(authoritative=True))
    assert told.hears(pods(0).replace(authoritative=True), at=1).numbers == [0]
    assert told.suspects == []
    assert told.hears(EMPTY.replace(authoritative=True), at=2).numbers == []
    assert told.status.stale is False
    assert told.wait == float("inf")


def test_while_the_watch_is_down_the_set_stays() -> None:
    told = Told().hears(pods(0, 1).replace(authoritative=True)).hears(FAILED, at=100)
    assert told.numbers == [0, 1]
    assert told.status.age == 100
    assert told.status.stale is True
    assert 0 < told.wait <= 1


def test_the_source_of_truth_settles_every_suspect() -> None:
    told = Told().hears(pods(*TEN)).hears(pods(0), at=5)
    assert told.hears(pods(0, 1).replace(authoritative=True), at=6).numbers == [0, 1]
    assert told.suspects == []


# those whose name could not be asked


def _unnamed(*addresses: str, named: tuple[int, ...] = (0, 1)) -> Answer:
    unnamed = tuple(Endpoint((address,), 80) for address in addresses)
    return pods(*named).replace(outcome=Outcome.RESOLVED, unnamed=unnamed)


def test_an_address_without_its_name_is_left_out_until_the_hold_has_passed() -> None:
    told = Told().hears(pods(0, 1)).hears(_unnamed("10.0.0.9"), at=10)
    assert told.keys == ["web-0", "web-1"]
    assert told.hears(_unnamed("10.0.0.9"), at=39.9).keys == ["web-0", "web-1"]
    assert told.hears(_unnamed("10.0.0.9"), at=40).keys == ["web-0", "web-1", "10.0.0.9:80"]


def test_it_comes_in_by_name_as_soon_as_names_are_told_again() -> None:
    told = Told().hears(pods(0, 1)).hears(_unnamed("10.0.0.9"), at=10).hears(pods(0, 1, 9), at=11)
    assert told.keys == ["web-0", "web-1", "web-9"]
    assert told.generation == 2


def test_failures_in_between_do_not_restart_its_wait() -> None:
    told = Told().hears(pods(0, 1)).hears(_unnamed("10.0.0.9"), at=10).hears(FAILED, at=20)
    assert len(told.hears(_unnamed("10.0.0.9"), at=40).keys) == 3


def test_an_address_that_went_away_waits_anew() -> None:
    told = Told().hears(pods(0, 1)).hears(_unnamed("10.0.0.9"), at=10).hears(_unnamed(), at=20)
    assert len(told.hears(_unnamed("10.0.0.9"), at=45).keys) == 2


def test_in_a_service_without_hostnames_addresses_are_welcome() -> None:
    told = Told().hears(texts("10.0.0.1:80"))
    told.hears(texts("10.0.0.1:80").replace(unnamed=(Endpoint(("10.0.0.2",), 80),)), at=5)
    assert told.keys == ["10.0.0.1:80", "10.0.0.2:80"]


def test_where_no_name_is_left_addresses_are_better_than_nobody() -> None:
    told = Told().hears(pods(0, 1)).hears(_unnamed("10.0.0.8", "10.0.0.9", named=()), at=5)
    assert told.keys == ["10.0.0.8:80", "10.0.0.9:80"]


# what the application reports


def test_a_suspect_that_failed_goes_at_once() -> None:
    told = Told().hears(pods(0, 1, 2)).hears(EMPTY, at=5)
    assert told.core.report_failure(told.peer(1), 6)
    assert told.numbers == [0, 2]
    assert told.suspects == [0, 2]
    assert told.generation == 2
    assert "a suspect that failed when the application called it" in told.core.explain(6)


def test_one_failure_of_a_confirmed_peer_removes_nobody() -> None:
    told = Told().hears(pods(0, 1, 2))
    assert not told.core.report_failure(told.peer(1), 1)
    assert told.numbers == [0, 1, 2]


def test_a_report_about_an_address_of_before_says_nothing() -> None:
    """Health hangs on key and address: a pod that came back elsewhere starts fresh."""
    told = Told().hears(pods(0, 1, 2))
    old = told.peer(1)
    told.hears(Answer.of([endpoint(0), endpoint(1, "10.0.0.77"), endpoint(2)]), at=1).hears(EMPTY, at=2)
    assert not told.core.report_failure(old, 3)
    assert told.numbers == [0, 1, 2]


def test_the_last_suspect_that_failed_leaves_an_empty_set() -> None:
    told = Told().hears(pods(0)).hears(EMPTY, at=5)
    assert told.core.report_failure(told.peer(0), 6)
    assert told.numbers == []
    assert told.status.stale is False


# names and keys


def test_a_hostname_that_a_second_pod_takes() -> None:
    told = Told().hears(texts("web=10.0.0.1:80")).hears(texts("web=10.0.0.1:80", "web=10.0.0.2:80"), at=5)
    assert told.keys == ["web@10.0.0.1", "web@10.0.0.2"]
    assert [peer.hostname for peer in told.core.peers] == ["web", "web"]
    assert told.generation == 2
    told.hears(texts("web=10.0.0.2:80"), at=10)
    assert told.keys == ["web"]


def test_two_ports_of_one_shared_hostname_and_address() -> None:
    """Pods on the network of one node, behind one hostname."""
    told = Told().hears(texts("web=10.0.0.1:80", "web=10.0.0.1:81"))
    assert told.keys == ["web@10.0.0.1:80", "web@10.0.0.1:81"]
    told.hears(texts("web=10.0.0.1:81", "web=10.0.0.1:80"), at=5)
    assert told.generation == 1, "keys do not depend on the order of an answer"


def test_a_listed_pod_without_an_address_stays_and_another_one_goes() -> None:
    told = Told().hears(pods(0, 1, 2, 3))
    for at in (5, 10):
        told.hears(pods(0, 2).replace(unresolved=frozenset({"web-1"})), at=at)
    assert told.numbers == [0, 1, 2]
    assert told.status.suspects == ()
    told.hears(pods(0, 2), at=15)
    assert told.numbers == [0, 2]


def test_the_same_endpoint_twice_is_one_peer() -> None:
    assert Told().hears(texts("10.0.0.1:80", "10.0.0.1:80")).keys == ["10.0.0.1:80"]


def test_a_peer_has_the_lowest_priority_that_it_is_listed_with() -> None:
    twice = [Endpoint(("10.0.0.1",), 80, priority=priority) for priority in (20, 10, 30)]
    told = Told().hears(Answer.of([*twice, Endpoint(("10.0.0.2",), 80)]))
    assert [(peer.key, peer.priority) for peer in told.core.peers] == [
        ("10.0.0.1:80", 10),
        ("10.0.0.2:80", 0),
    ]
    told.hears(Answer.of([Endpoint(("10.0.0.1",), 80, priority=5), Endpoint(("10.0.0.2",), 80)]), at=5)
    assert [peer.priority for peer in told.core.peers] == [5, 0]
    assert told.generation == 1


def test_ipv6_keys_have_brackets() -> None:
    assert Told().hears(texts("[fd00::1]:80")).keys == ["[fd00::1]:80"]


def test_an_address_reused_by_another_name_is_another_peer() -> None:
    told = Told().hears(pods(0, 1)).hears(Answer.of([endpoint(0), endpoint(2, "10.0.0.1")]), at=5)
    assert told.keys == ["web-0", "web-2"]
    assert told.peer(2).address == "10.0.0.1"


# generations


def test_generations_rise_by_one_and_only_on_change() -> None:
    told = Told()
    steps = [
        (pods(0), 1),
        (pods(0), 1),
        (FAILED, 1),
        (pods(0, 1), 2),
        (EMPTY, 2),
        (pods(1, 0), 2),
        (pods(1), 3),
    ]
    for second, (answer, generation) in enumerate(steps):
        assert told.hears(answer, at=second).generation == generation


def test_the_set_is_the_same_object_while_nothing_changes() -> None:
    told = Told().hears(pods(0, 1))
    before = told.core.peers
    assert told.hears(pods(1, 0), at=5).core.peers is before


def test_more_told_about_the_same_pods_is_shown_without_a_new_generation() -> None:
    told = Told().hears(texts("web-0=10.0.0.1:80"))
    told.hears(Answer.of([Endpoint(("10.0.0.1",), 80, "web-0", zone="a")]), at=5)
    assert told.generation == 1
    assert told.peer(0).zone == "a"


def test_a_zone_goes_with_the_address() -> None:
    """A pod that has another address may have been started in another zone."""
    told = Told().hears(Answer.of([Endpoint(("10.0.0.1",), 80, "web-0", zone="a", node="n")]))
    assert told.hears(texts("web-0=10.0.0.1:80"), at=5).peer(0).zone == "a"
    assert told.hears(Answer.of([Endpoint(("10.0.0.1",), 80, "web-0", zone="b")]), at=7).peer(0).zone == "b"
    assert told.hears(texts("web-0=10.0.0.9:80"), at=10).peer(0).zone is None


def test_nobody_is_held_at_an_address_that_somebody_else_has() -> None:
    """As when names change: nobody is to stand in the set twice."""
    told = Told().hears(pods(*range(6)))
    renamed = Answer.of([Endpoint((f"10.0.0.{i}",), 80, f"app-{i}") for i in range(6)], ttl=5)
    told.hears(renamed, at=5)
    assert sorted(told.keys) == [f"app-{i}" for i in range(6)]
    assert told.status.suspects == ()


def test_another_port_of_the_same_address_is_another_place() -> None:
    """Pods of one node's network share its address."""
    told = Told().hears(pods(*range(6)))
    others = Answer.of([Endpoint((f"10.0.0.{i}",), 81, f"app-{i}") for i in range(6)], ttl=5)
    told.hears(others, at=5)
    assert len(told.keys) == 12
    assert len(told.status.suspects) == 6
