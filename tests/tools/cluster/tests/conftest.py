"""A workload of each kind of pod: served by the agent, and processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.cluster import Workload

SERVER = Path(__file__).with_name("_answers.py")


@pytest.fixture(params=["served", "commanded"])
def any_workload(request: pytest.FixtureRequest, statefulset: Callable[..., Workload]) -> Workload:
    """Two pods that answer HTTP on port 8080 with their name."""
    if request.param == "served":
        return statefulset("web", 2)
    probe = {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
    return statefulset("web", 2, command=[sys.executable, "-S", str(SERVER)], container=probe)
