"""Calls that ended on no pod, as gRPC's own calls end: an error that has a status."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import grpc
import grpc.aio
from grpc import StatusCode

from peerdiscover.errors import ClosedError, NoPeersError

LOCALLY_CANCELLED = StatusCode.CANCELLED, "Locally cancelled by application!"  # gRPC's words


def status_of(error: Exception) -> tuple[StatusCode, str]:
    """Return how a call ends that waited, and met this: its channel or discovery was closed, or its picker
    failed.
    """
    return StatusCode.CANCELLED if isinstance(error, ClosedError) else StatusCode.UNKNOWN, repr(error)


class EndedCall(grpc.RpcError):
    """A call for threads that is its own error, as gRPC's are."""

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

    def exception(self) -> Exception:
        if self._code is StatusCode.CANCELLED:
            raise grpc.FutureCancelledError
        return self

    def result(self) -> Any:
        raise self.exception()

    def traceback(self) -> TracebackType | None:
        return self.exception().__traceback__

    def done(self) -> bool:
        return True

    def __next__(self) -> Any:
        raise self


class GrpcNoPeersError(NoPeersError, EndedCall):
    """There is no pod to call; also a `grpc.RpcError`, UNAVAILABLE or (if it waited) DEADLINE_EXCEEDED."""


class AsyncEndedCall(grpc.aio.AioRpcError):
    """The error of a call for asyncio."""

    def __init__(self, code: StatusCode, text: str) -> None:
        empty = grpc.aio.Metadata()
        super().__init__(code, empty, empty, text, text)


class AsyncGrpcNoPeersError(NoPeersError, AsyncEndedCall):
    """There is no pod to call; also a `grpc.aio.AioRpcError`."""
