"""A request of httpx or httpx2: what `Dispatch` has to know of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Peer

from ._attempts import Attempt
from ._bodies import body_of
from ._dispatch import SMALL, Dispatch
from ._httpx_outcomes import as_core_error, classify_httpx, is_lost_count
from ._retry import AttemptOutcome, is_idempotent

if TYPE_CHECKING:
    import httpcore
    import httpx

    from ._httpx import HttpxFlavor
    from ._httpx_state import HttpxState


class HttpxDispatch(Dispatch):
    """One request of a client of httpx."""

    def __init__(self, state: HttpxState, request: httpx.Request, now: float) -> None:
        self.library: HttpxFlavor = state.library_of(request)
        library, url, extensions = self.library, request.url, request.extensions
        self._request = request
        self._raw_host, self._port = url.raw_host, url.port
        self._host = self._raw_host.decode("ascii")
        named = state.validate(url.scheme, self._host, self._port, library.wrong_host)
        peer: Peer | None = extensions.get("peer", named)
        if peer is not None and not isinstance(peer, Peer):
            raise ConfigurationError(f"extensions={{'peer': {quoted(peer)}}}: expected a Peer, as in `peers`")
        timeout = extensions.get("total_timeout", state.settings.total_timeout)
        if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
            raise ConfigurationError(
                f"extensions={{'total_timeout': {quoted(timeout)}}}: expected seconds above 0"
            )
        self._body: Any = request.stream
        if is_bytes := isinstance(self._body, library.api.ByteStream):
            replayable = True
        else:
            self._body, replayable = body_of(self._body, library.core)
        super().__init__(
            state,
            now,
            peer=peer,
            total_timeout=timeout,
            connect_timeout=extensions.get("timeout", {}).get("connect"),
            is_small=is_bytes and len(next(iter(self._body))) <= SMALL,
            replayable=replayable,
        )

    def _is_idempotent(self) -> bool:
        request = self._request
        return is_idempotent(request.method, request.headers, request.extensions.get("idempotent"))

    def _known(self, error: BaseException) -> BaseException:
        return as_core_error(error, self.library.core)

    def _error_class(self, error: BaseException) -> type[Exception] | None:
        return self.library.map_exception(error)

    def _classify(self, attempt: Attempt, error: Exception) -> AttemptOutcome:
        outcome = classify_httpx(attempt, error, self.library.core)
        if not outcome.sent and not self._replayable and self._body.consumed:
            return AttemptOutcome.REFUSED  # the pool began to send it and could not
        return outcome

    def _is_timeout(self, error: Exception) -> bool:
        return isinstance(error, self.library.core.TimeoutException)

    def _is_ours(self, error: Exception) -> bool:
        return is_lost_count(error)

    def _retry_after(self, response: httpcore.Response) -> str | None:
        if response.status != 503:
            return None
        after = (v for k, v in response.headers if k.lower() == b"retry-after")
        return next((value.decode("latin-1") for value in after), None)

    def _no_peers(self, text: str) -> Exception:
        return self.library.no_peers(text)

    def request_for(self, attempt: Attempt) -> httpcore.Request:
        """Return the request as the pool takes it."""
        request, core, pod = self._request, self.library.core, attempt.pod
        url, headers, extensions = request.url, request.headers.raw, request.extensions
        if self._state.uses_pod_names(self._host):
            host = pod.authority.encode("ascii")
            headers = [(b"Host", host)] + [(k, v) for k, v in headers if k.lower() != b"host"]
            extensions = {"sni_hostname": pod.name, **extensions}
        if attempt.deadline < math.inf:  # the pool limits the wait for a connection
            timeouts = extensions.get("timeout") or {}
            left, pool = attempt.deadline - attempt.started_at, timeouts.get("pool")
            timeouts = {**timeouts, "pool": left if pool is None else min(pool, left)}
            extensions = {**extensions, "timeout": timeouts}
        converted: httpcore.Request = core.Request(
            request.method,
            core.URL(scheme=url.raw_scheme, host=self._raw_host, port=self._port, target=url.raw_path),
            headers=headers,
            content=self._body,
            extensions=extensions,
        )
        return converted

    def response(
        self, attempt: Attempt, response: httpcore.Response, stream: type[Any], on_close: Callable[[], Any]
    ) -> httpx.Response:
        """Return what the caller gets."""
        response.extensions["peerdiscover"] = self.history(attempt)
        converted: httpx.Response = self.library.api.Response(
            status_code=response.status,
            headers=response.headers,
            stream=stream(response.stream, partial(self.body_failed, attempt), on_close),
            extensions=response.extensions,
        )
        return converted
