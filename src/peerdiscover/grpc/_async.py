"""The channel for asyncio. Its twin is `_sync`: neither decides anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
import grpc.aio

from peerdiscover.pickers import Picker

from ._async_methods import StreamStream, StreamUnary, UnaryStream, UnaryUnary
from ._errors import AsyncGrpcNoPeersError
from ._state import ChannelState, options_of

if TYPE_CHECKING:
    from peerdiscover.discovery.aio import AsyncDiscovery

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class AsyncPodChannel(grpc.aio.Channel):
    """A channel over the pods of a discovered service, which generated stubs take as it is.

        async with AsyncDiscovery("echo-headless.prod:9090") as echo, AsyncPodChannel(echo) as channel:
            stub = EchoStub(channel)

    For asyncio (gRPC knows no other event loop). The arguments, and what becomes of a call, are those of
    `PodChannel`; the error for having no pod is an `AsyncGrpcNoPeersError`.

    * `interceptors`: as of `grpc.aio.insecure_channel`. Each attempt of a call goes through them.
    """

    def __init__(
        self,
        discovery: AsyncDiscovery,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] | None = None,
        *,
        picker: Picker | None = None,
        idempotent: Collection[str] | Callable[[str], bool] = (),
        interceptors: Sequence[grpc.aio.ClientInterceptor] | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "options": options_of(discovery.peers.service, options),
            "interceptors": interceptors,
        }
        connect = partial(grpc.aio.insecure_channel, **given)
        if credentials is not None:
            connect = partial(grpc.aio.secure_channel, credentials=credentials, **given)
        self._discovery = discovery
        self._state = ChannelState(discovery, connect, picker, idempotent, AsyncGrpcNoPeersError)

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[_Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], _Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryUnaryMultiCallable[_Request, _Response]:
        return UnaryUnary(
            self._state, "unary_unary", method, request_serializer, response_deserializer, _registered_method
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[_Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], _Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.UnaryStreamMultiCallable[_Request, _Response]:
        return UnaryStream(
            self._state, "unary_stream", method, request_serializer, response_deserializer, _registered_method
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Callable[[_Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], _Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamUnaryMultiCallable[_Request, _Response]:
        return StreamUnary(
            self._state, "stream_unary", method, request_serializer, response_deserializer, _registered_method
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[_Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], _Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.aio.StreamStreamMultiCallable[_Request, _Response]:
        return StreamStream(
            self._state,
            "stream_stream",
            method,
            request_serializer,
            response_deserializer,
            _registered_method,
        )

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: ARG002 - gRPC's
        """READY while there are pods, CONNECTING while there are none."""
        return self._state.connectivity

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return once the state is another one."""
        async for _ in self._discovery.changes():
            if self._state.connectivity is not last_observed_state:
                return

    async def channel_ready(self) -> None:
        """Return once there is a pod."""
        await self._discovery.wait(include_self=False)

    async def close(self, grace: float | None = None) -> None:
        """End all calls, after `grace` seconds, and close the connections. The discovery stays open."""
        await asyncio.gather(*(channel.close(grace) for channel in self._state.close()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
