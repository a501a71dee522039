"""A request of requests: what `Dispatch` has to know of it."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from requests import ConnectionError as RequestsConnectionError
from requests import PreparedRequest, RequestException, Response, Timeout
from requests.exceptions import InvalidHeader, InvalidURL
from urllib3.util import Timeout as Urllib3Timeout

from peerdiscover.errors import ConfigurationError, NoPeersError
from peerdiscover.http._attempts import Attempt
from peerdiscover.http._dispatch import SMALL, Dispatch
from peerdiscover.http._retry import AttemptOutcome, is_idempotent
from peerdiscover.http._state import TransportState

_PATIENCE = 30.0  # seconds in which attempts begin without a timeout: requests has none by itself


class RequestsNoPeersError(NoPeersError, RequestsConnectionError):
    """There is no pod to send a request to; also a `requests.ConnectionError`."""


class RequestsWrongHostError(ConfigurationError, InvalidURL):
    """A URL, or a redirect, leads to another host; also a `requests.exceptions.InvalidURL`."""


class RequestsState(TransportState):
    """The state of a `PodAdapter`."""

    mounted = "session.mount('http://HOST/', PodAdapter(…))"
    marked: Callable[[PreparedRequest], bool | None] | None
    """The caller's `idempotent`."""


class RequestsDispatch(Dispatch):
    """One request of a session."""

    _state: RequestsState

    def __init__(self, state: RequestsState, request: PreparedRequest, timeout: object, now: float) -> None:
        self._request = request
        assert request.url is not None
        try:
            url = urlsplit(request.url)
            host, port = url.hostname or "", url.port
        except ValueError as error:
            raise InvalidURL(error, request=request) from error
        total: Any = timeout.total if isinstance(timeout, Urllib3Timeout) else None
        body: Any = request.body
        is_whole = body is None or isinstance(body, str | bytes)
        super().__init__(
            state,
            now,
            peer=state.validate(url.scheme, host, port, RequestsWrongHostError),
            total_timeout=total if isinstance(total, int | float) else state.settings.total_timeout,
            connect_timeout=_connect_timeout(timeout),
            is_small=is_whole and len(body or "") <= SMALL,
            replayable=is_whole or _can_rewind(request),
        )

    def _is_idempotent(self) -> bool:
        request, marked = self._request, self._state.marked
        answer = marked(request) if marked else None
        return is_idempotent(request.method or "", request.headers, answer)

    def _error_class(self, error: BaseException) -> type[Exception] | None:
        return type(error) if isinstance(error, RequestException) else None

    def _classify(self, attempt: Attempt, error: Exception) -> AttemptOutcome:
        if isinstance(error, InvalidHeader | InvalidURL):
            return AttemptOutcome.LOCAL_ERROR
        return super()._classify(attempt, error)

    @staticmethod
    def _is_about_size(error: BaseException) -> bool:
        return isinstance(error, http.client.LineTooLong) or type(error) is http.client.HTTPException

    def _is_timeout(self, error: Exception) -> bool:
        return isinstance(error, Timeout)

    def _retry_after(self, response: Response) -> str | None:
        return response.headers.get("retry-after") if response.status_code == 503 else None

    def _no_peers(self, text: str) -> Exception:
        return RequestsNoPeersError(text)

    def _message(self, attempt: Attempt, error: BaseException) -> str:
        inner = error.args[0] if error.args else None
        return super()._message(attempt, getattr(inner, "reason", None) or error)


def _connect_timeout(timeout: object) -> float:
    """Return the seconds of a `timeout=` of requests that are for connecting."""
    if isinstance(timeout, Urllib3Timeout):
        timeout = timeout.connect_timeout
    elif isinstance(timeout, tuple):
        timeout = timeout[0]
    return timeout if isinstance(timeout, int | float) else _PATIENCE


def _can_rewind(request: PreparedRequest) -> bool:
    """Whether the body is a file that `requests.utils.rewind_body` can rewind."""
    return isinstance(request._body_position, int) and hasattr(request.body, "seek")  # noqa: SLF001
