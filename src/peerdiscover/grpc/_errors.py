"""Calls that ended on no pod, as gRPC's own calls end: an error that has a status."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from grpc import StatusCode

from peerdiscover.errors import NoPeersError


class EndedCall(grpc.RpcError):
    """A call that is an error, as gRPC's errors for threads are."""

    def __init__(self, code: StatusCode, text: str) -> None:
        super().__init__(text)
        self._code = code

    def code(self) -> StatusCode:
        return self._code

    def details(self) -> str:
        return str(self)

    debug_error_string = details

    def initial_metadata(self) -> Any:
        return ()

    trailing_metadata = initial_metadata

    def result(self) -> Any:
        raise grpc.FutureCancelledError if self._code is StatusCode.CANCELLED else self

    __next__ = result

    def exception(self) -> Exception:
        return self

    def traceback(self) -> TracebackType | None:
        return self.__traceback__

    def done(self) -> bool:
        return True


class GrpcNoPeersError(NoPeersError, EndedCall):
    """There is no pod to call; also a `grpc.RpcError`, UNAVAILABLE or (if it waited) DEADLINE_EXCEEDED."""


class AsyncGrpcNoPeersError(NoPeersError, grpc.aio.AioRpcError):
    """There is no pod to call; also a `grpc.aio.AioRpcError`."""

    def __init__(self, code: StatusCode, text: str) -> None:
        empty = grpc.aio.Metadata()
        grpc.aio.AioRpcError.__init__(self, code, empty, empty, text, text)
