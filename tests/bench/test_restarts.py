"""The benchmark of rolling restarts runs, and its figures say what happened. No speed is asserted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.http._load import Answered, Load
from tests.tools.cluster import Cluster

from ._restarts_figures import HEAD, busiest, by_second, gap, line, lost, nothing, reasons, sent_once
from ._restarts_run import Plan, Run, run
from ._restarts_saved import save, saved


def hand_made() -> Run:
    """Ten seconds, ten requests in each, every answer after 2 ms; none of the fourth and fifth second."""
    answered = [Answered(str(n), n / 10, 0.002, f"web-{n % 3}", 1) for n in range(100)]
    for one in answered[30:50]:
        one.pod, one.error, one.latency = "", "ReadError: gone", 5.0
    answered[99].error, answered[99].pod = "status UNAVAILABLE: nobody", ""
    executed = Counter(one.id for one in answered if not one.error)
    executed["7"] += 1  # though it was sent once
    del executed["8"]  # though it was answered
    return Run("grpc", Load(answered, late=3), 0.1, 0.02, [(1.0, 2.0)], executed)


def test_figures_of_a_run_that_was_made_by_hand() -> None:
    made = hand_made()
    assert reasons(made.load) == ["20 ReadError", "1 status UNAVAILABLE"]
    assert round(gap(made.load), 3) == 2.1, "from the answer to the 30th request to that of the 51st"
    assert [second[""] for second in by_second(made.load)] == [0, 0, 0, 10, 10, 0, 0, 0, 0, 1]
    assert busiest(made.load) == 0.4, "of ten requests to three pods in turn"
    assert (sent_once(made), lost(made)) == (1, 1)
    told = line(made)
    assert told._asdict() == {
        "client": "gRPC, round_robin", "requests": "100",
        "failed": "21: 20 ReadError, 1 status UNAVAILABLE", "gap": "2.10 s", "p50": "2.0 ms",
        "p99": "5,000.0 ms", "p999": "5,000.0 ms", "busiest": "0.40", "again": "1", "late": "3",
    }  # fmt: skip
    assert len(nothing("grpc")) == len(HEAD)


def test_what_was_saved_is_what_was_run(tmp_path: Path) -> None:
    made = hand_made()
    for _ in range(2):
        save(made, tmp_path / "runs")
    assert saved(tmp_path / "runs") == [made, made]


def test_grpc_goes_through_a_restart(shared_cluster: Cluster) -> None:
    """What gRPC promises is asserted, and what the harness writes down. When gRPC connects to which pod, and
    how long it takes to notice a restart, is its own affair.
    """
    done = run(shared_cluster, "grpc", Plan(requests=200, rate=50, restarts=1, ttl=5, ready=0, quiet=1))
    assert len(done.load.answered) >= 200
    assert (sent_once(done), lost(done)) == (0, 0)
    assert set(done.executed) <= {one.id for one in done.load.answered}
    assert done.load.shares()
    assert set(done.load.shares()) <= {"web-0", "web-1", "web-2"}
    assert all(one.error.startswith("status ") for one in done.load.failed)
    ((begun, end),) = done.restarts
    assert 0 < begun < end
    assert any(one.intended < begun for one in done.load.answered), "the load began before the restart"
