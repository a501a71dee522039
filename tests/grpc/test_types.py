# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What a user's program looks like to type checkers, which read this file; and the twins have one signature.

Each `type: ignore` here has to be needed: mypy's `warn_unused_ignores`, and pyright's setting above, say so.
"""

from __future__ import annotations

import inspect
from typing import Any, assert_type

import grpc
import grpc.aio
import pytest

from peerdiscover import AsyncDiscovery, Discovery
from peerdiscover.grpc import AsyncPodChannel, PodChannel

NAME = "static:127.0.0.1:1"


class Stub:
    """As grpcio-tools generates it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.Say = channel.unary_unary(
            "/echo.Echo/Say", request_serializer=str.encode, response_deserializer=bytes.decode
        )


def test_a_program() -> None:
    with Discovery(NAME) as web, PodChannel(web, options=[("grpc.x", 1)], idempotent={"Say"}) as channel:
        assert_type(channel, PodChannel)
        assert_type(Stub(channel).Say, "grpc.UnaryUnaryMultiCallable[str, str]")
        intercepted: grpc.Channel = grpc.intercept_channel(channel)
        assert intercepted


def test_a_program_for_asyncio() -> None:
    channel = AsyncPodChannel(
        AsyncDiscovery(NAME), picker=None, idempotent=lambda name: name.endswith("/Get")
    )
    aio: grpc.aio.Channel = channel
    say = aio.unary_stream("/echo.Echo/Say", str.encode, bytes.decode)
    assert_type(say, "grpc.aio.UnaryStreamMultiCallable[str, str]")


def test_an_option_that_does_not_exist() -> None:
    with pytest.raises(TypeError, match="idempotant"):
        PodChannel(Discovery(NAME), idempotant=["Say"])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="idempotant"):
        AsyncPodChannel(AsyncDiscovery(NAME), idempotant=["Say"])  # type: ignore[call-arg]


def test_the_twins_are_alike() -> None:
    def shape(kind: Any) -> dict[str, object]:
        return {name: p.default for name, p in inspect.signature(kind).parameters.items()}

    threads, tasks = shape(PodChannel), shape(AsyncPodChannel)
    assert tasks.pop("interceptors") is None
    assert threads == tasks
    for kind in "unary_unary", "unary_stream", "stream_unary", "stream_stream":
        assert shape(getattr(PodChannel, kind)) == shape(getattr(AsyncPodChannel, kind))
