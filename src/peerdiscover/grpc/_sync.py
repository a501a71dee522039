"""The channel for threads, and the callables of its stubs. Their twins are in `_async`: neither decides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import Any, Self

import grpc

from peerdiscover.discovery._changes import Pause
from peerdiscover.discovery._user_code import check_discovery
from peerdiscover.discovery.sync import Discovery
from peerdiscover.http._pauses import wait
from peerdiscover.pickers import Picker

from ._errors import GrpcNoPeersError
from ._methods import Method, makes
from ._requests import Requests
from ._state import ChannelState, connector
from ._sync_calls import PodCall


class _Method(Method):
    def _block(self, invoke: str, request: Any, *args: Any, **options: Any) -> Any:
        """Return the result of gRPC's `invoke` on a pod."""
        dispatch, start = self.begin(invoke, request, *args, **options)
        while True:
            step = dispatch.next(monotonic())
            if isinstance(step, Pause):
                wait(dispatch.state.discovery, step)
                continue
            try:
                result = start(step)
            except grpc.RpcError as error:
                if not dispatch.ended(step, error, error.code(), error.details(), monotonic()):
                    raise
                continue
            step.release()
            dispatch.answered(step)
            if invoke == "with_call":
                result[1].peerdiscover = dispatch.history
            return result


class _UnaryUnary(_Method, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]  # not generic at run time
    def __call__(self, request: Any, *args: Any, **options: Any) -> Any:
        return self._block("__call__", request, *args, **options)

    def with_call(self, request: Any, *args: Any, **options: Any) -> Any:
        return self._block("with_call", request, *args, **options)

    def future(self, request: Any, *args: Any, **options: Any) -> Any:
        return PodCall(*self.begin("future", request, *args, **options))


class _UnaryStream(_Method, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request: Any, *args: Any, **options: Any) -> Any:
        return PodCall(*self.begin("__call__", request, *args, **options))


class _StreamUnary(_Method, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request_iterator: Any, *args: Any, **options: Any) -> Any:
        return self._block("__call__", Requests(request_iterator), *args, **options)

    def with_call(self, request_iterator: Any, *args: Any, **options: Any) -> Any:
        return self._block("with_call", Requests(request_iterator), *args, **options)

    def future(self, request_iterator: Any, *args: Any, **options: Any) -> Any:
        return PodCall(*self.begin("future", Requests(request_iterator), *args, **options))


class _StreamStream(_Method, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request_iterator: Any, *args: Any, **options: Any) -> Any:
        return PodCall(*self.begin("__call__", Requests(request_iterator), *args, **options))


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

    What `with_call()`, `future()` and a call with a response stream return has `peerdiscover`: None, and
    from the first answer on `peer`, `attempts` (a number) and `failed` (those before).
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
        check_discovery(discovery, Discovery)
        connect = connector(grpc, discovery.peers.service, credentials, options)
        self._state = ChannelState(discovery, connect, picker, idempotent, GrpcNoPeersError)
        self._subscriptions: dict[Any, Callable[[], None]] = {}

    unary_unary = makes(_UnaryUnary, grpc.Channel.unary_unary)
    unary_stream = makes(_UnaryStream, grpc.Channel.unary_stream)
    stream_unary = makes(_StreamUnary, grpc.Channel.stream_unary)
    stream_stream = makes(_StreamStream, grpc.Channel.stream_stream)

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool | None = False,  # noqa: ARG002 - gRPC's
    ) -> None:
        """Call it with READY while there are pods, and CONNECTING while there are none; now, too."""
        self.unsubscribe(callback)
        self._subscriptions[callback] = self._state.discovery.on_change(
            lambda _: callback(self._state.connectivity)
        )
        callback(self._state.connectivity)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Call it no more."""
        self._subscriptions.pop(callback, lambda: None)()

    def close(self) -> None:
        """End all calls, and close the connections. The discovery stays open."""
        for callback in list(self._subscriptions):
            self.unsubscribe(callback)
        for channel in self._state.close():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
