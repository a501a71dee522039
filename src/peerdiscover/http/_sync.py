"""The transport for `httpx.Client`. Its twin is `_async`: neither decides anything."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Unpack

from peerdiscover.discovery._changes import Pause
from peerdiscover.discovery._user_code import check_discovery
from peerdiscover.discovery.sync import Discovery

from ._attempts import CURRENT_ATTEMPT, Attempt
from ._connections import PodBackend
from ._httpx import libraries
from ._httpx_dispatch import HttpxDispatch
from ._httpx_state import HttpxState
from ._options import TransportOptions, TransportSettings
from ._pauses import wait

if TYPE_CHECKING:
    import httpcore
    import httpx

    _Base = httpx.BaseTransport
else:
    # The class of both libraries, if both are loaded: their clients may check for it.
    _Base = type("_Base", tuple(library.api.BaseTransport for library in libraries()), {})


class PodTransport(_Base):
    """Sends each request to a pod of a discovered service, and to another one if that is safe.

        with Discovery("web-headless.prod:8080") as web:
            client = httpx.Client(mounts={"http://web-headless": PodTransport(web)})

    The discovery is yours: it is not closed with the transport. Times are seconds.

    * `picker`: chooses the pod of a first attempt (default: the discovery's `round_robin()`). One with
      `lease()` is leased until the response has been read.
    * `host`: the `Host` of requests, and the name that certificates are verified for: that of the URL
      ("service", the default), or the pod's own ("peer"). The connection goes to the pod's address, always.
    * `verify`, `cert`, `trust_env`, `http1`, `http2`: as of `httpx.HTTPTransport`. No proxy is used.
    * `limits`: of the connections to one pod (default: 100, of which 20 are kept for 4 s).
    * `attempts`: how many pods may have processed a request (default 3). Attempts that were never sent do
      not count.
    * `budget`: the share of requests that may be sent again, though one may have been processed (0.2).
    * `connect_timeout`: for connecting to one pod, beside the request's own (0.5). After twice that a TLS
      handshake ends, and on Linux a pod that acknowledges nothing of a small request counts as gone.
    * `attempt_timeout`: for one attempt, until the head of the response (default: httpx's own timeouts).
    * `total_timeout`: for all attempts together, until the head of the response. By default attempts
      begin until the request's own `connect` timeout has passed, and none is cut short.
    * `retry_503`: 503 with `Retry-After` goes to another pod, under the same rules (default False).
    * `drain`: how long responses in flight may take from a pod that left the set (default: as long as they
      last; the pod may be alive, and only not ready).

    `response.extensions["peerdiscover"]` has `peer`, `attempts` (a number) and `failed` (those before).
    A request with `extensions={"peer": peer}` goes to that pod, once; so does one whose URL names a pod of
    the set, as a redirect may. `extensions={"total_timeout": 0.2}` is that request's own. An error is the
    last attempt's, of the class that httpx has for it; its message and notes list all attempts. With no pod
    to send to: a `NoPeersError` that is also a `ConnectError` of httpx. A URL with another host than the
    service's: a `ConfigurationError` that is also a `RequestError` of httpx.
    """

    def __init__(self, discovery: Discovery, **options: Unpack[TransportOptions]) -> None:
        check_discovery(discovery, Discovery)
        self._discovery = discovery
        self._state = HttpxState(
            discovery,
            TransportSettings(**options),
            lambda core, pod, options: core.ConnectionPool(network_backend=PodBackend(core, pod), **options),
            time.monotonic,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; see the class."""
        pools = self._state.pools
        if pools.leaving:
            for pool in pools.closable():
                pool.close()
        now = time.monotonic()
        dispatch = HttpxDispatch(self._state, request, now)
        while True:
            step = dispatch.next(now)
            if isinstance(step, Pause):
                wait(self._discovery, step)
                now = time.monotonic()
                continue
            token = CURRENT_ATTEMPT.set(step)
            try:
                response: httpcore.Response = step.pod.pool.handle_request(dispatch.request_for(step))
            except BaseException as error:
                now = time.monotonic()
                final = dispatch.failed(step, error, now)
                if final is error:
                    raise
                if final is not None:
                    raise final from error
                continue
            finally:
                CURRENT_ATTEMPT.reset(token)
            now = time.monotonic()
            if dispatch.answered(step, response, now):
                on_close = partial(self._on_close, step)
                return dispatch.response(step, response, dispatch.library.Stream, on_close)
            try:
                response.close()
            finally:
                pools.end_attempt(step)

    def _on_close(self, attempt: Attempt) -> None:
        if self._state.pools.end_attempt(attempt):
            for pool in self._state.pools.closable():
                pool.close()

    def close(self) -> None:
        """Close all connections. The discovery stays open."""
        for pool in self._state.pools.close():
            pool.close()
