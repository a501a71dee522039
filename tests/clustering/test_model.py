"""The protocol in every interleaving, by a model that drives the real `decide`, with and without each rule.

A rule is deleted from the table that `decide` walks; the run that leads to two clusters is printed (`pytest
-s`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerdiscover.clustering import Form, Standing, Wait, _decision, decide

from .model import Model

FOUNDERS = ("web-0", "web-1", "web-2")
Rule = Callable[[_decision._Round], _decision.Decision | None]


@pytest.mark.parametrize(
    "model",
    [
        Model(),
        Model(disk=True),
        Model(founders=2, others=1),
        Model(founders=2, others=1, disk=True),
        Model(founders=2, others=1, hidden=True, crashes=1),
        Model(founders=1, others=2, disk=True),
        Model(founders=3, others=1, crashes=1),
        Model(founders=4, crashes=1),
        Model(founders=3, crashes=2, all_answers=True),
    ],
    ids=lambda model: (
        f"{model.founders} founders, {model.others} others, "
        f"{'any number of' if model.crashes is None else model.crashes} crashes"
        + ", disks" * model.disk
        + ", others hidden" * model.hidden
        + ", all answers" * model.all_answers
    ),
)
def test_one_cluster_at_most_and_one_in_the_end(model: Model) -> None:
    model.search()
    assert model.split is None
    assert model.stuck is None
    assert model.states > 70


def crashes_of(title: str, run: list[str]) -> int:
    """How many crashes led to a split; prints the run."""
    sys.stdout.write("\n  ".join([f"\n{title}:", *run]) + "\n")
    return sum("crashes" in step for step in run)


def deleted(rule: Rule) -> tuple[Rule, ...]:
    assert rule in _decision.RULES
    return tuple(other for other in _decision.RULES if other is not rule)


def form_without_asking(now: _decision._Round) -> _decision.Decision | None:
    """RabbitMQ's rule since 4.1."""
    return _decision._form(now) if now.me.name == now.me.founders[0] else None


def twice_in_any_lives(now: _decision._Round) -> _decision.Decision | None:
    asked_before = now.before is not None and {*now.before} == {*now.heard}
    return None if asked_before else _decision._twice(now)


RULES_WITHOUT = {
    "asking first": (form_without_asking, *_decision.RULES),
    "most founders": deleted(_decision._most_founders),
    "the first founder": deleted(_decision._first_founder),
    "every founder": deleted(_decision._every_founder),
    "every peer": deleted(_decision._every_peer),
    "nothing pending": deleted(_decision._nothing_pending),
    "a second round": deleted(_decision._twice),
    "the same lives": tuple(
        twice_in_any_lives if rule is _decision._twice else rule for rule in _decision.RULES
    ),
}


@pytest.mark.parametrize(
    ("without", "crashes", "model"),
    [
        ("asking first", 1, Model(crashes=1)),
        ("most founders", 1, Model(founders=2, others=1, hidden=True, crashes=1)),
        ("the first founder", 0, Model(crashes=0, all_answers=True)),
        ("every founder", 1, Model(crashes=1, hidden=True)),
        ("every peer", 2, Model(founders=2, others=1, crashes=2)),
        ("nothing pending", 1, Model(crashes=1)),
        ("a second round", 2, Model(crashes=2)),
        ("the same lives", 3, Model(crashes=3)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_a_rule_there_are_two_clusters(
    without: str, crashes: int, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_decision, "RULES", RULES_WITHOUT[without])
    model.search()
    assert model.split is not None
    assert crashes_of(f"without {without}", model.split) == crashes


def test_without_the_check_of_a_join_there_are_two_clusters() -> None:
    model = Model(crashes=1, join_checks=False).search()
    assert model.split is not None
    assert crashes_of("without the check of a join", model.split) == 1


def test_the_limit_that_the_documentation_names() -> None:
    """All founders forget the cluster, and DNS does not show those that hold it."""
    model = Model(founders=2, others=1, hidden=True, crashes=2).search()
    assert model.split is not None
    assert crashes_of("all founders forget, and the other is not in DNS", model.split) == 2


STANDINGS = st.builds(
    Standing,
    name=st.just(""),
    boot=st.sampled_from("ab"),
    founders=st.just(FOUNDERS),
    cluster=st.sampled_from([None, "c1", "c2"]),
    busy=st.booleans(),
)


@given(
    me=st.sampled_from(["web-1", "web-2", "web-7"]),
    heard=st.dictionaries(st.sampled_from(FOUNDERS), STANDINGS),
)
def test_answers_without_a_cluster_concern_the_first_founder_alone(
    me: str, heard: dict[str, Standing]
) -> None:
    """What lets the model leave them out."""
    heard.pop(me, None)
    standing = Standing(me, "b", FOUNDERS)
    with_cluster = {name: answer for name, answer in heard.items() if answer.cluster}
    decision, less = decide(standing, heard, {}, None), decide(standing, with_cluster, {}, None)
    assert not isinstance(decision, Form)
    if isinstance(decision, Wait):
        assert isinstance(less, Wait)
        assert decision.boots is less.boots is None
    else:
        assert decision == less


def test_a_state_that_leads_nowhere_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_decision, "RULES", deleted(_decision._join))
    model = Model(crashes=0, all_answers=True).search()
    assert model.split is None
    assert model.stuck is not None
