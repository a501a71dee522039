# pyright: reportUnnecessaryTypeIgnoreComment=true
"""A wrong option is an error: at run time, and for the type checkers, which read this file, too.

Each `type: ignore` here has to be needed: mypy's `warn_unused_ignores`, and pyright's setting above, say so.
"""

from __future__ import annotations

import pytest

from peerdiscover import AsyncDiscovery, ConfigurationError, Discovery
from peerdiscover.http import AsyncClient, AsyncPodTransport, Client, PodTransport

NAME = "static:127.0.0.1:1"


def test_an_option_that_does_not_exist() -> None:
    with pytest.raises(TypeError, match="conect_timeout"):
        PodTransport(Discovery(NAME), conect_timeout=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="conect_timeout"):
        AsyncPodTransport(AsyncDiscovery(NAME), conect_timeout=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="conect_timeout"):
        Client(NAME, conect_timeout=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="conect_timeout"):
        AsyncClient(NAME, conect_timeout=1)  # type: ignore[call-arg]


def test_a_value_of_another_type() -> None:
    with pytest.raises(ConfigurationError):
        Client(NAME, connect_timeout="1")  # type: ignore[arg-type]


def test_options_of_the_transport_and_of_httpx() -> None:
    client = Client(NAME, connect_timeout=1, total_timeout=None, headers={"x": "y"}, timeout=5, host="peer")
    assert client.headers["x"] == "y"
    client.close()
