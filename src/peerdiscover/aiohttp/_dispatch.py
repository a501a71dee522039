"""A request of aiohttp: what `Dispatch` has to know of it.

aiohttp itself repeats some requests that end with a `ServerDisconnectedError` or a `ClientOSError`. The rules
here have decided already, so these come out as the `ClientConnectionError` that both are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import (
    ClientConnectionError,
    ClientError,
    ClientPayloadError,
    ClientRequest,
    ClientResponse,
    ClientResponseError,
    MultipartWriter,
    ServerTimeoutError,
)
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.payload import BytesPayload, IOBasePayload

from peerdiscover.errors import ConfigurationError, NoPeersError
from peerdiscover.http._attempts import Attempt
from peerdiscover.http._dispatch import SMALL, Dispatch
from peerdiscover.http._options import stands_for
from peerdiscover.http._retry import AttemptOutcome, is_idempotent
from peerdiscover.http._state import TransportState

if TYPE_CHECKING:
    from yarl import URL

_PATIENCE = 30.0  # seconds in which attempts begin: a middleware does not see the session's timeouts


class AiohttpNoPeersError(NoPeersError, ClientConnectionError):
    """There is no pod to send a request to; also an `aiohttp.ClientConnectionError`."""


class AiohttpWrongPortError(ConfigurationError, ClientError):
    """A URL has another port than the service; also an `aiohttp.ClientError`."""


class AiohttpState(TransportState):
    """The state of a middleware."""

    marked: Callable[[ClientRequest], bool | None] | None
    """The caller's `idempotent`."""

    def serves(self, url: URL) -> bool:
        """Return whether a request to this URL is for the pods; others go the usual way.

        `AiohttpWrongPortError` if the port is not the service's.
        """
        host, port = url.raw_host or "", url.explicit_port
        if (host, port) in self._hosts and self.pools.unsubscribe is not None:
            return True  # `validate` has nothing to do
        if not stands_for(host, self._service):
            return False
        return self.validate(url.scheme, host, port, AiohttpWrongPortError) is None  # no pod's own URL


class AiohttpDispatch(Dispatch):
    """One request of a session, once its `first_attempt` failed, or there was none."""

    _state: AiohttpState

    def __init__(self, state: AiohttpState, request: ClientRequest, now: float) -> None:
        self._request = request
        super().__init__(
            state,
            now,
            peer=None,
            total_timeout=state.settings.total_timeout,
            connect_timeout=_PATIENCE,
            is_small=is_small(request.body),
            replayable=_can_be_sent_again(request.body),
        )
        self._retry_state = self._retry  # so `next` goes on after the first attempt

    def _is_idempotent(self) -> bool:
        request, marked = self._request, self._state.marked
        answer = marked(request) if marked else None
        return is_idempotent(request.method, request.headers, answer)

    def failed(self, attempt: Attempt, error: BaseException, now: float) -> BaseException | None:
        if isinstance(error, TimeoutError) and not isinstance(error, ServerTimeoutError):
            self._retry.deadline = now  # the session's `total` has passed
        return super().failed(attempt, error, now)

    def _error_class(self, error: BaseException) -> type[Exception] | None:
        if isinstance(error, ServerTimeoutError | ClientPayloadError):
            return type(error)
        if isinstance(error, TimeoutError):
            return ServerTimeoutError
        if isinstance(error, ClientConnectionError | OSError):
            return ClientConnectionError
        if isinstance(error, ClientResponseError) and isinstance(error.__cause__, HttpProcessingError):
            return ClientError  # what came is no response
        return None

    def _classify(self, attempt: Attempt, error: Exception) -> AttemptOutcome:
        if not attempt.sent and not attempt.connecting and isinstance(error, TimeoutError):
            return AttemptOutcome.POOL_TIMEOUT
        return super()._classify(attempt, error)

    @staticmethod
    def _is_about_size(error: BaseException) -> bool:
        return isinstance(error, LineTooLong)

    def _is_timeout(self, error: Exception) -> bool:
        return isinstance(error, TimeoutError)

    def _retry_after(self, response: ClientResponse) -> str | None:
        return response.headers.get("retry-after") if response.status == 503 else None

    def _no_peers(self, text: str) -> Exception:
        return AiohttpNoPeersError(text)


def is_small(body: Any) -> bool:
    """Return whether a pod's kernel takes the request whole, though the pod may be slow to read it."""
    return not body or (isinstance(body, BytesPayload) and (body.size or 0) <= SMALL)


def _can_be_sent_again(body: Any) -> bool:
    """Whether a body is of bytes, or of files that can seek: aiohttp rewinds these."""
    if not body or isinstance(body, BytesPayload):
        return True
    if isinstance(body, MultipartWriter):
        return all(_can_be_sent_again(part) for part, *_ in body)
    with suppress(ValueError):  # it is closed
        return isinstance(body, IOBasePayload) and body._value.seekable()  # noqa: SLF001 - it has no public name
    return False
