"""A request of aiohttp: what `Dispatch` has to know of it.

aiohttp itself repeats some requests that end with a `ServerDisconnectedError` or a `ClientOSError`. The rules
here have decided already, so these come out as the `ClientConnectionError` that both are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
from peerdiscover.http._outcomes import causes_of, classify
from peerdiscover.http._retry import AttemptOutcome, is_idempotent
from peerdiscover.http._state import TransportState

_PATIENCE = 30.0  # seconds in which attempts begin: a middleware does not see the session's timeouts


class AiohttpNoPeersError(NoPeersError, ClientConnectionError):
    """There is no pod to send a request to; also an `aiohttp.ClientConnectionError`."""


class AiohttpWrongPortError(ConfigurationError, ClientError):
    """A URL has another port than the service; also an `aiohttp.ClientError`."""


class AiohttpState(TransportState):
    """The state of a middleware."""

    def is_of_service(self, host: str) -> bool:
        """Return whether a request to this host is for the pods. Others go the usual way."""
        return stands_for(host, self._service)


class AiohttpDispatch(Dispatch):
    """One request of a session."""

    __slots__ = ("_marked", "_request")

    def __init__(
        self,
        state: AiohttpState,
        request: ClientRequest,
        marked: Callable[[ClientRequest], bool | None] | None,
        now: float,
    ) -> None:
        self._request = request
        self._marked = marked
        url, body = request.url, request.body
        super().__init__(
            state,
            now,
            peer=state.validate(url.scheme, url.raw_host or "", url.explicit_port, AiohttpWrongPortError),
            total_timeout=state.settings.total_timeout,
            connect_timeout=_PATIENCE,
            is_small=not body or (isinstance(body, BytesPayload) and (body.size or 0) <= SMALL),
            replayable=_can_be_sent_again(body),
        )

    def _is_idempotent(self) -> bool:
        request = self._request
        marked = self._marked(request) if self._marked else None
        return is_idempotent(request.method, ((name.encode(), b"") for name in request.headers), marked)

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
        outcome = classify(attempt, error)
        if outcome is AttemptOutcome.MAYBE_PROCESSED and any(map(_is_about_size, causes_of(error))):
            return AttemptOutcome.HEAD_TOO_LARGE
        return outcome

    def _is_timeout(self, error: Exception) -> bool:
        return isinstance(error, TimeoutError)

    def _retry_after(self, response: ClientResponse) -> str | None:
        return response.headers.get("retry-after") if response.status == 503 else None

    def _no_peers(self, text: str) -> Exception:
        return AiohttpNoPeersError(text)


def _can_be_sent_again(body: Any) -> bool:
    """Whether a body is of bytes, or of files that can seek: aiohttp rewinds these."""
    if not body or isinstance(body, BytesPayload):
        return True
    if isinstance(body, MultipartWriter):
        return all(_can_be_sent_again(part) for part, *_ in body)
    return isinstance(body, IOBasePayload) and body._value.seekable()  # noqa: SLF001 - it has no public name


def _is_about_size(error: BaseException) -> bool:
    return isinstance(error, LineTooLong)
