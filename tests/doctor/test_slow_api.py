"""An API server that sends without pause, or byte by byte: doctor reads it no longer than it has time."""

from __future__ import annotations

import pytest

from peerdiscover.doctor import _api
from peerdiscover.sources.environment import Environment
from peerdiscover.sources.kubernetes._config import ClusterConfig
from tests.sources.kubernetes.test_drivers import EARLY_HINTS, Fake, Script, drips, floods


@pytest.mark.parametrize("script", [floods(EARLY_HINTS), drips], ids=["floods", "drips"])
def test_it_ends_in_time(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    with Fake(script) as fake:
        config = ClusterConfig(fake.url, "this test")
        monkeypatch.setattr(_api, "find_cluster", lambda **_: config)
        objects, refused = _api.read_namespace(Environment({}), "prod", "web", 1.0)
    assert set(objects.unread) == set(_api.KINDS)
    assert set(objects.unread.values()) == {"the API server: no answer in time"}
    assert not refused
