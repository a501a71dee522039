"""Policies: the defaults, and contradictions that are refused."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import pytest

from peerdiscover import ConfigurationError, Policy


def test_defaults() -> None:
    assert asdict(Policy()) == {
        "min_refresh": 1.0,
        "max_refresh": 30.0,
        "jitter": 0.2,
        "timeout": 5.0,
        "hold": 30.0,
        "on_empty": "hold",
        "max_stale": None,
        "retry_initial": 1.0,
        "retry_max": 30.0,
        "mass_removal": 0.5,
        "ready_timeout": 60.0,
        "min_peers": 1,
        "eject_after": 1,
        "eject_initial": 1.0,
        "eject_max": 30.0,
        "max_ejected": 0.5,
        "slow_start": 0.0,
    }


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"min_refresh": 31}, "min_refresh=31): must not be above max_refresh=30.0"),
        ({"max_refresh": 0.5}, "must not be above max_refresh=0.5"),
        ({"retry_initial": 60}, "must not be above retry_max=30.0"),
        ({"min_refresh": 0}, "must be above 0"),
        ({"min_refresh": -1}, "must be above 0"),
        ({"timeout": 0}, "timeout=0): must be above 0"),
        ({"retry_initial": 0}, "must be above 0"),
        ({"hold": -1}, "must not be negative"),
        ({"ready_timeout": -0.1}, "must not be negative"),
        ({"min_peers": -1}, "must not be negative"),
        ({"min_peers": 1.5}, "must be a whole number"),
        ({"jitter": 1.1}, "must lie between 0 and 1"),
        ({"jitter": -0.1}, "must lie between 0 and 1"),
        ({"mass_removal": 2}, "must lie between 0 and 1"),
        ({"max_stale": 0}, "must be above 0, or None"),
        ({"max_stale": -5}, "must be above 0, or None"),
        ({"on_empty": "wipe"}, "use one of 'hold', 'keep', 'accept'"),
        ({"on_empty": None}, "use one of"),
        ({"eject_after": 0}, "must be at least 1"),
        ({"eject_after": 1.5}, "must be a whole number"),
        ({"eject_initial": 0}, "must be above 0"),
        ({"eject_initial": 31}, "must not be above eject_max=30.0"),
        ({"max_ejected": 1.5}, "must lie between 0 and 1"),
        ({"slow_start": -1}, "must not be negative"),
        ({"hold": "30"}, "expected a finite number"),
        ({"hold": None}, "expected a finite number"),
        ({"hold": True}, "expected a finite number"),
        ({"hold": math.inf}, "expected a finite number"),
        ({"hold": 10**400}, "expected a finite number"),
        ({"max_refresh": 10**5000}, "Policy(max_refresh=<int>): expected a finite number"),
        ({"min_peers": 10**400}, "expected a finite number"),
        ({"max_stale": [1]}, "expected a finite number"),
        ({"on_empty": "\x1b[31m" * 1000}, "use one of"),
        ({"timeout": math.nan}, "expected a finite number"),
    ],
)
def test_contradictions(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Policy(**wrong)
    assert says in str(caught.value)
    assert str(caught.value).startswith("Policy(")
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "right",
    [
        {"hold": 0},
        {"jitter": 0},
        {"jitter": 1},
        {"mass_removal": 0},
        {"min_peers": 0},
        {"ready_timeout": 0},
        {"min_refresh": 30, "max_refresh": 30},
        {"max_stale": 60},
        {"on_empty": "keep"},
    ],
)
def test_limits_are_allowed(right: dict[str, Any]) -> None:
    policy = Policy(**right)
    assert {name: getattr(policy, name) for name in right} == right


def test_policies_are_immutable_equal_and_copied_with_changes() -> None:
    with pytest.raises(FrozenInstanceError):
        Policy().hold = 1  # type: ignore[misc]
    assert Policy() == Policy()
    assert hash(Policy()) == hash(Policy())
    assert replace(Policy(), hold=5) == Policy(hold=5)
    with pytest.raises(ConfigurationError):
        replace(Policy(), hold=-1)
    assert copy.deepcopy(Policy(hold=5)) == pickle.loads(pickle.dumps(Policy(hold=5))) == Policy(hold=5)


def test_only_by_keyword() -> None:
    with pytest.raises(TypeError):
        Policy(1)  # type: ignore[call-arg]
