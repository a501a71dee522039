"""The retry budget, given the time."""

from __future__ import annotations

from peerdiscover.http._budget import RetryBudget


def spent(budget: RetryBudget, now: float, most: int = 10_000) -> int:
    return next((n for n in range(most) if not budget.try_spend(now)), most)


def test_the_budget_is_a_share_and_ten() -> None:
    budget = RetryBudget(0.2)
    assert spent(budget, 0.0) == 10
    for _ in range(100):
        budget.add_request(0.0)
    assert spent(budget, 0.0) == 20


def test_old_requests_fade() -> None:
    budget = RetryBudget(0.2)
    for _ in range(1000):
        budget.add_request(0.0)
    assert spent(budget, 0.0) == 210
    assert spent(budget, 300.0) == 10  # a share of what was is none of what is


def test_the_budget_over_time() -> None:
    """A thousand seconds of a hundred requests, each to be sent again."""
    budget = RetryBudget(0.2)
    retries = 0
    for n in range(100_000):
        budget.add_request(n / 100)
        retries += budget.try_spend(n / 100)
    assert 0.19 < retries / 100_000 < 0.22


def test_no_budget_is_none() -> None:
    budget = RetryBudget(0.0)
    budget.add_request(0.0)
    assert not budget.try_spend(0.0)
