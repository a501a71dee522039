"""The channel for threads. Its twin is `_async`: neither decides anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc

from peerdiscover.pickers import Picker

from ._errors import GrpcNoPeersError
from ._state import ChannelState, options_of
from ._sync_methods import StreamStream, StreamUnary, UnaryStream, UnaryUnary

if TYPE_CHECKING:
    from peerdiscover.discovery.sync import Discovery

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class PodChannel(grpc.Channel):
    """A channel over the pods of a discovered service, which generated stubs take as it is.

        with Discovery("echo-headless.prod:9090") as echo, PodChannel(echo) as channel:
            stub = EchoStub(channel)

    Each call goes to a pod that the picker chose, and to another one if no pod received it. The discovery is
    yours: it is not closed with the channel.

    * `credentials`: as of `grpc.secure_channel`; None: as of `grpc.insecure_channel`.
    * `options`: of the channel to each pod.
    * `picker`: chooses the pod of a first attempt (default: the discovery's `round_robin()`). One with
      `lease()` is leased until the call has ended.
    * `idempotent`: methods that may be called again though a pod may have processed the call: their names
      ("Get", or "/echo.Echo/Get"), or a function of the full name. Such a call reaches at most three pods;
      and of the calls of about ten seconds a fifth, and ten besides, are sent again.

    A call with `wait_for_ready=True` waits for pods until its deadline; any other ends once no pod could be
    connected to. An error is the last attempt's, and its notes list all attempts. With no pod to call it is
    a `GrpcNoPeersError`. `grpc.intercept_channel` takes it as any channel.
    """

    def __init__(
        self,
        discovery: Discovery,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] | None = None,
        *,
        picker: Picker | None = None,
        idempotent: Collection[str] | Callable[[str], bool] = (),
    ) -> None:
        connect = partial(grpc.insecure_channel, options=options_of(discovery.peers.service, options))
        if credentials is not None:
            connect = partial(grpc.secure_channel, credentials=credentials, **connect.keywords)
        self._discovery = discovery
        self._state = ChannelState(discovery, connect, picker, idempotent, GrpcNoPeersError)
        self._subscriptions: dict[Any, Callable[[], None]] = {}

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[_Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], _Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryUnaryMultiCallable[_Request, _Response]:
        return UnaryUnary(
            self._state, "unary_unary", method, request_serializer, response_deserializer, _registered_method
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[_Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], _Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.UnaryStreamMultiCallable[_Request, _Response]:
        return UnaryStream(
            self._state, "unary_stream", method, request_serializer, response_deserializer, _registered_method
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Callable[[_Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], _Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamUnaryMultiCallable[_Request, _Response]:
        return StreamUnary(
            self._state, "stream_unary", method, request_serializer, response_deserializer, _registered_method
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[_Request], bytes] | None = None,
        response_deserializer: Callable[[bytes], _Response] | None = None,
        _registered_method: bool | None = False,
    ) -> grpc.StreamStreamMultiCallable[_Request, _Response]:
        return StreamStream(
            self._state,
            "stream_stream",
            method,
            request_serializer,
            response_deserializer,
            _registered_method,
        )

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool | None = False,  # noqa: ARG002 - gRPC's
    ) -> None:
        """Call it with READY while there are pods, and CONNECTING while there are none; now, too."""
        self._subscriptions[callback] = self._discovery.on_change(
            lambda _: callback(self._state.connectivity)
        )
        callback(self._state.connectivity)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Call it no more."""
        self._subscriptions.pop(callback, lambda: None)()

    def close(self) -> None:
        """End all calls, and close the connections. The discovery stays open."""
        for channel in self._state.close():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
