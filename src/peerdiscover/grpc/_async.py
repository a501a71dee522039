"""The channel for asyncio, and the callables of its stubs. Their twins are in `_sync`: neither decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

import grpc
import grpc.aio

from peerdiscover.discovery._user_code import check_discovery
from peerdiscover.discovery.aio import AsyncDiscovery
from peerdiscover.pickers import Picker

from ._async_calls import StreamStreamCall, StreamUnaryCall, UnaryStreamCall, UnaryUnaryCall
from ._errors import AsyncGrpcNoPeersError
from ._methods import Method, makes
from ._requests import AsyncRequests
from ._state import ChannelState, connector


class _UnaryUnary(Method, grpc.aio.UnaryUnaryMultiCallable):  # type: ignore[type-arg]  # not generic at run time
    def __call__(self, request: Any, *args: Any, **options: Any) -> Any:
        return UnaryUnaryCall(*self.begin("__call__", request, *args, **options))


class _UnaryStream(Method, grpc.aio.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request: Any, *args: Any, **options: Any) -> Any:
        return UnaryStreamCall(*self.begin("__call__", request, *args, **options))


class _StreamUnary(Method, grpc.aio.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request_iterator: Any = None, *args: Any, **options: Any) -> Any:
        return StreamUnaryCall(*self.begin("__call__", AsyncRequests(request_iterator), *args, **options))


class _StreamStream(Method, grpc.aio.StreamStreamMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request_iterator: Any = None, *args: Any, **options: Any) -> Any:
        return StreamStreamCall(*self.begin("__call__", AsyncRequests(request_iterator), *args, **options))


class AsyncPodChannel(grpc.aio.Channel):
    """A channel over the pods of a discovered service, which generated stubs take as it is.

        async with AsyncDiscovery("echo-headless.prod:9090") as echo, AsyncPodChannel(echo) as channel:
            stub = EchoStub(channel)

    For asyncio (gRPC knows no other event loop). The arguments, and what becomes of a call, are those of
    `PodChannel`; the error for having no pod is an `AsyncGrpcNoPeersError`. Each call has `peerdiscover`.

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
        check_discovery(discovery, AsyncDiscovery)
        service = discovery.peers.service
        connect = connector(grpc.aio, service, credentials, options, interceptors=interceptors)
        self._state = ChannelState(discovery, connect, picker, idempotent, AsyncGrpcNoPeersError)

    unary_unary = makes(_UnaryUnary, grpc.aio.Channel.unary_unary)
    unary_stream = makes(_UnaryStream, grpc.aio.Channel.unary_stream)
    stream_unary = makes(_StreamUnary, grpc.aio.Channel.stream_unary)
    stream_stream = makes(_StreamStream, grpc.aio.Channel.stream_stream)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: ARG002 - gRPC's
        """READY while there are pods, CONNECTING while there are none."""
        return self._state.connectivity

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return once the state is another one."""
        async for _ in self._state.discovery.changes():
            if self._state.connectivity is not last_observed_state:
                return

    async def channel_ready(self) -> None:
        """Return once there is a pod."""
        await self._state.discovery.wait(include_self=False)

    async def close(self, grace: float | None = None) -> None:
        """End all calls, after `grace` seconds, and close the connections. The discovery stays open."""
        await asyncio.gather(*(channel.close(grace) for channel in self._state.close()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
