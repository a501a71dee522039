"""The twins have the same names, arguments and defaults; the options are written alike in both places."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

from peerdiscover.http import AsyncClient, AsyncPodTransport, Client, PodTransport
from peerdiscover.http._options import TransportOptions, TransportSettings


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


def test_options_and_settings_are_the_same() -> None:
    hints = get_type_hints(TransportSettings)
    names = [field.name for field in fields(TransportSettings)]
    assert get_type_hints(TransportOptions) == {name: hints[name] for name in names}
    for name in names:
        assert f"`{name}`" in (PodTransport.__doc__ or "")
