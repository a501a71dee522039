"""Runs that must be survived, each by hand through the real rounds: what others met, and our first designs.

A `Life` is one life of a pod. A pod that restarts is a new one, and has forgotten everything.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from peerdiscover import ConfigurationError
from peerdiscover.clustering import Standing, Wait, decide, founders

from ._lives import FOUNDERS, Life, names

FIVE = founders("web", 5)


def three() -> tuple[Life, Life, Life]:
    return Life(0), Life(1), Life(2)


def formed(former: Life, *others: Life) -> str:
    """`former` forms, and the others join it."""
    former.hears(*others)
    former.hears(*others)
    former.enters()
    for other in others:
        other.hears(former)
        other.enters()
    assert former.cluster
    assert {other.cluster for other in others} <= {former.cluster}
    return former.cluster


def test_a_start_without_faults() -> None:
    zero, one, two = three()
    assert formed(zero, one, two) == f"web-0-{zero.standing.boot}"


# I1: the runs in which promises, and a number of pods that are enough, made two clusters


def test_two_of_three_are_not_enough() -> None:
    zero, one, two = three()
    for _ in range(3):
        zero.hears(one)
        one.hears(two)
    assert zero.does == one.does == "broadcast"
    assert zero.why == "waiting for web-2: no answer (2 s) from 10.0.0.3:80, 2 s"
    assert one.why == "waiting for web-0: no answer (2 s) from 10.0.0.1:80, 2 s"


def test_a_pod_that_restarted_with_an_empty_memory_is_not_enough_either() -> None:
    zero, one, two = three()
    zero.hears(one)
    one = Life(1)
    for life in one, two:
        life.hears(one if life is two else two)
        assert life.does == "broadcast"


def test_the_first_founder_forgets_while_a_join_is_in_flight() -> None:
    zero, one, two = three()
    zero.hears(one, two)
    zero.hears(one, two)
    zero.enters()
    one.hears(zero)
    assert one.does == "join web-0"
    again = Life(0)
    for _ in range(3):
        again.hears(one, two)
        assert again.does == "broadcast"
    assert again.why.startswith("waiting for web-1: it joins or forms")
    one.enters()
    two.hears(one)
    two.enters()  # through 1
    again.hears(Life(1), two)
    assert again.does == "join web-2"


# I2 to I5: pauses and restarts around a decision


def test_i2_a_decision_that_is_an_hour_old() -> None:
    zero, one, two = three()
    zero.hears(one, two)
    zero.hears(one, two)
    assert zero.does == "form"  # and there it stays
    assert zero.standing.busy
    one = Life(1)
    for _ in range(3600):
        one.hears(two, zero)
        two.hears(one, zero)
    assert one.does == two.does == "broadcast"
    zero.enters()
    one.hears(zero, two)
    assert one.does == "join web-0"


def test_i3_a_join_was_taken_and_the_former_forgot_before_the_answer_came() -> None:
    zero, one, two = three()
    zero.hears(one, two)
    zero.hears(one, two)
    zero.enters()
    one.hears(zero)
    again = Life(0)
    again.hears(one, two)
    again.hears(one, two)
    assert again.does == "broadcast"
    one.enters()
    again.hears(one, two)
    assert again.does == "join web-1"
    again.enters()
    assert again.cluster == one.cluster


def test_i4_a_join_that_was_decided_and_had_not_begun_is_refused() -> None:
    zero, one, two = three()
    zero.hears(one, two)
    zero.hears(one, two)
    zero.enters()
    before_the_decision = one.standing
    one.hears(zero)
    assert one.does == "join web-0"
    again = Life(0)
    again.hears(before_the_decision, two)
    again.hears(before_the_decision, two)
    again.enters()
    one.raises(ConnectionError("web-0 is not in that cluster"))  # what join must do
    assert (one.cluster, one.standing.busy) == (None, False)
    one.hears(again)
    one.enters()
    assert one.cluster == again.cluster != zero.cluster


def test_i5_restarts_between_two_rounds_and_within_one() -> None:
    zero, one, two = three()
    zero.hears(one, two)
    zero.hears(Life(1), two)
    assert zero.does == "broadcast"
    assert zero.why.startswith("every founder answered; asking once more")
    one = Life(1)
    zero.hears(one, Life(2))
    assert zero.does == "broadcast"
    zero.hears(one)  # a round that fails is none: the next one is the first again
    zero.hears(one, two)
    assert zero.does == "broadcast"
    zero.hears(one, two)
    assert zero.does == "form"


# I6 to I10: empty disks, wrong DNS, other founders, more pods, one-way networks


def test_i6_the_first_founder_with_an_empty_disk() -> None:
    zero, one, two = Life(0), Life(1, disk="c1"), Life(2, disk="c1")
    assert one.does == two.does == ""
    for _ in range(3):
        zero.hears()  # they are away
    assert zero.does == "broadcast"
    zero.hears(two)
    assert zero.does == "join web-2"
    zero.enters()
    assert zero.cluster == "c1"


def test_i7_dns_shows_one_pod_then_a_wrong_address_then_none() -> None:
    zero, _, two = three()
    zero.discovery.list(names(0))
    zero.hears()
    zero.hears()
    assert zero.why.startswith("waiting for web-1: it is not in the set, 1 s")
    zero.discovery.list(names(0, 1))
    zero.hears(two, at="web-1")
    assert zero.why.startswith(
        "waiting for web-1: no answer ('web-2' answers there: another pod has the address) from 10.0.0.2:80"
    )
    assert zero.discovery.reported == ["web-1"]
    zero.discovery.list(())
    zero.hears()
    assert zero.why.endswith("; no pod is listed: does the Service have publishNotReadyAddresses: true?")
    assert zero.does == "broadcast"


def test_i8_founders_are_changed_while_they_form() -> None:
    zero, one, two = three()
    new = [Life(n, founders=FIVE, listed=FIVE) for n in range(5)]
    for _ in range(2):
        zero.hears(one, new[2])
    assert zero.does == "broadcast"
    assert zero.why.startswith(
        "waiting for web-2: its founders are web-0, web-1, web-2, web-3, web-4, and here they are "
        "web-0, web-1, web-2"
    )
    new[0].hears(one, two, *new[3:])
    assert new[0].does == "broadcast"
    formed(*new)

    # `spec.ordinals.start` moves from 0 to 5: both lists have a first founder
    moved = founders("web", 3, start=5)
    seven = [*FOUNDERS, *moved]
    old = [Life(n, listed=seven) for n in range(3)]
    later = [Life(n, founders=moved, listed=seven) for n in range(5, 8)]
    for _ in range(3):
        old[0].hears(*old[1:], *later)
        later[0].hears(*old, *later[1:])
    assert old[0].does == later[0].does == "broadcast"


def test_i9_more_pods_while_the_founders_form() -> None:
    six = names(*range(6))
    zero, one, two = (Life(n, listed=six) for n in range(3))
    four = Life(4, listed=six)
    others = [Life(3, listed=six), four, Life(5, listed=six)]
    zero.hears(one, two)  # the new ones are listed, and do not run yet
    zero.hears(one, two)
    assert zero.why.startswith("waiting for web-3: no answer")
    for _ in range(2):
        zero.hears(one, two, *others)
    zero.enters()
    four.hears(zero, one, two)
    assert four.does == "broadcast"
    assert four.why.startswith("waiting for most founders (web-0, web-1, web-2) to be in web-0-")
    one.hears(zero)
    one.enters()
    four.hears(zero, one, two)
    assert four.does == "join web-0"


def test_i10_the_first_founder_reaches_all_and_none_reaches_it() -> None:
    zero, one, two = three()
    for _ in range(2):
        one.hears(two)
        two.hears(one)
        zero.hears(one, two)
    zero.enters()
    one.hears(two)
    assert one.does == "broadcast"
    assert one.why.startswith("waiting for web-0: no answer")
    one.hears(zero, two)  # it is mended
    one.enters()
    assert one.cluster == zero.cluster


# I11 to I15: everyone forgets, two clusters, failures that came too late, manifests, claims


def test_i11_all_founders_restart_at_once_and_others_hold_the_cluster() -> None:
    six = names(*range(6))
    zero, one, two = (Life(n, listed=six) for n in range(3))
    others = [Life(n, listed=six, disk="c1") for n in range(3, 6)]
    zero.hears(one, two, *others[:1])
    assert zero.does == "join web-3"
    zero.enters()
    two.hears(*others)
    assert two.does == "join web-3"
    two.raises(ConnectionError("refused"))
    assert two.does == "join web-4"  # the next one that says it
    assert two.standing.busy
    two.enters()
    one.hears(zero, two)
    one.enters()
    assert {life.cluster for life in (zero, one, two)} == {"c1"}


def test_i12_two_clusters_are_named_and_neither_is_joined() -> None:
    zero = Life(0)
    zero.hears(Life(1, disk="c1"), Life(2, disk="c2"))
    assert zero.does == "broadcast"
    assert zero.why.startswith(
        "there are two clusters, so none is joined: c1 (web-1) and c2 (web-2); end the pods"
    )


def test_i13_form_raises_after_it_wrote_the_disk() -> None:
    zero, one, two = three()
    for _ in range(2):
        zero.hears(one, two)
    zero.raises(OSError("no space left for the log"))
    assert (zero.cluster, zero.standing.busy) == (None, False)
    assert zero.why == "form failed: OSError('no space left for the log'), 0 s"
    first = f"web-0-{zero.standing.boot}"
    for _ in range(2):
        zero.hears(one, two)
    zero.enters()
    assert zero.cluster == first  # the same id: what is on the disk is no other cluster
    again = Life(0, disk=first)
    one.hears(again)
    assert one.does == "join web-0"


def test_i13_join_raises_after_it_was_taken() -> None:
    zero, one, two = three()
    for _ in range(2):
        zero.hears(one, two)
    zero.enters()
    one.hears(zero)
    one.raises(TimeoutError("the answer was lost"))
    assert (one.cluster, one.standing.busy) == (None, False)
    one.hears(zero)
    one.enters()  # so a second join of the same pod must do no harm
    assert one.cluster == zero.cluster


def test_i14_ordered_ready_waits_for_itself_and_says_so() -> None:
    zero = Life(0, listed=names(0))
    zero.hears()
    assert zero.why == (
        "waiting for web-1: it is not in the set, 0 s; web-1 was never listed: with podManagementPolicy: "
        "OrderedReady it is not created before web-0 is Ready; use Parallel"
    )
    alone = Life(0, founders=names(0), listed=names(0))
    for _ in range(2):
        alone.hears()
    alone.enters()  # with one founder it works


def test_i15_two_that_form_at_once_and_a_store_that_knows_one() -> None:
    written: list[str] = []

    def claim(cluster: str) -> str:
        written.append(cluster)
        return written[0]

    twins = [Life(0, claim=claim) for _ in range(2)]  # one name twice: a pod was deleted by force
    others = Life(1), Life(2)
    for _ in range(2):
        for twin in twins:
            twin.hears(*others)
    for twin in twins:
        assert twin.does == "claim"
        twin.returns(claim(f"web-0-{twin.standing.boot}"))
    assert [twin.does for twin in twins] == ["form", "broadcast"]
    assert f"claimed by '{written[0]}': waiting for a pod that is in it" in twins[1].why


def test_i15_the_claimant_dies_before_it_forms() -> None:
    zero = Life(0, claim=lambda cluster: cluster)
    others = Life(1), Life(2)
    for _ in range(2):
        zero.hears(*others)
    zero.returns("web-0-an-earlier-life")
    assert zero.does == "broadcast"
    assert "if none is, delete the claim" in zero.why


def test_i15_the_store_is_away() -> None:
    zero = Life(0, claim=lambda cluster: cluster)
    others = Life(1), Life(2)
    for _ in range(2):
        zero.hears(*others)
    zero.raises(ConnectionError("store"))
    assert (zero.does, zero.standing.busy) == ("broadcast", False)
    assert zero.why == "form failed: ConnectionError('store'), 0 s"


# What answers and the set may contain


def test_what_this_pod_answers_itself_counts_for_nothing() -> None:
    zero, one, two = three()
    zero.discovery.peers = Life(9).discovery.peers  # DNS lists web-0, and not that it is this pod
    assert zero.discovery.peers.me is None
    for _ in range(2):
        zero.hears(Standing("web-0", "an earlier life", FOUNDERS, "c1"), one, two)
    assert zero.does == "form"


def test_what_other_pods_write_is_shown_on_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    odd = "c\x1b[31m\n" + "x" * 5_000

    def of_web_1(cluster: str | None = None, founders: tuple[str, ...] = FOUNDERS) -> Standing:
        return Standing("web-1", "b", founders, cluster)

    caplog.set_level("INFO", logger="peerdiscover")
    for standings in (
        (of_web_1(odd), Standing("web-2", "b", FOUNDERS, "c2")),
        (of_web_1(founders=(odd,)), Life(2).standing),
        (replace(of_web_1(), name=odd),),
        (of_web_1(odd),),
    ):
        for life in Life(0), Life(3, listed=names(0, 1, 2, 3)):
            life.hears(*standings, at="web-1" if len(standings) == 1 else "")
            if life.does.startswith("join"):
                life.raises(ConnectionError(odd))
            assert life.why
            assert len(life.why) < 1_000
            assert life.why.isprintable()
    zero = Life(0)
    zero.hears(of_web_1(odd), Standing("web-2", "b", FOUNDERS, odd))
    zero.raises(ConnectionError(odd))
    zero.enters()
    for record in caplog.records:
        assert record.getMessage().isprintable()
        assert len(record.getMessage()) < 1_000
    assert "in cluster c\\x1b[31m" in caplog.text


def test_names_of_other_pods_are_shown_on_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    odd, other = "web\x1b[31m\n-1", "web\x1b[31m\n-2"
    me = Standing("web-0", "a", ("web-0", odd))
    it = Standing(odd, "b", me.founders)
    for who, heard, silent in (
        (me, {}, {}),
        (me, {}, {odd: OSError(odd)}),
        (me, {odd: replace(it, busy=True)}, {}),
        (me, {odd: replace(it, founders=FOUNDERS)}, {}),
        (replace(me, name="web-9", founders=(odd,)), {odd: it}, {}),
    ):
        decision = decide(who, heard, silent, None)
        assert isinstance(decision, Wait)
        assert decision.why.isprintable()
        assert "x1b" in decision.why
    zero = Life(0, founders=("web-0", odd, other), listed=("web-0", odd, other))
    zero.hears(replace(it, cluster="c1"), Standing(other, "b", ("web-0", odd, other), "c1"))
    zero.raises(ConnectionError("refused"))
    assert r"web\x1b[31m\n-1 did not take the join" in caplog.text
    zero = Life(0, founders=("web-8", "web-9"), listed=("web-0", odd, other))
    zero.hears()
    assert r"its keys are web-0, web\x1b[31m\n-1" in zero.why


def test_a_join_that_cannot_work_is_not_tried_at_the_next_peer() -> None:
    zero = Life(0)
    zero.hears(Life(1, disk="c1"), Life(2, disk="c1"))
    with pytest.raises(ConfigurationError):
        zero.raises(ConfigurationError("no certificate"))
    assert not zero.standing.busy


@pytest.mark.parametrize("cancelled", [KeyboardInterrupt(), GeneratorExit()])
def test_busy_ends_however_form_ends(cancelled: BaseException) -> None:
    zero, one, two = three()
    for _ in range(2):
        zero.hears(one, two)
    assert zero.standing.busy
    with pytest.raises(type(cancelled)):
        zero.raises(cancelled)
    assert not zero.standing.busy
