"""The twins have the same names, arguments and defaults."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from peerdiscover.http import AsyncClient, AsyncPodTransport, Client, PodTransport


def shape(kind: Any) -> dict[str, object]:
    return {name: p.default for name, p in inspect.signature(kind).parameters.items()}


@pytest.mark.parametrize(
    ("threads", "tasks"),
    [
        (PodTransport, AsyncPodTransport),
        (Client, AsyncClient),
        (Client.broadcast, AsyncClient.broadcast),
    ],
)
def test_arguments(threads: Any, tasks: Any) -> None:
    assert shape(threads) == shape(tasks)


def test_names() -> None:
    def public(kind: Any) -> set[str]:
        names = {name for name in vars(kind) if not name.startswith("_")}
        return {name.replace("_async_", "_").removeprefix("a") for name in names}

    assert public(PodTransport) == public(AsyncPodTransport) == {"handle_request", "close"}
