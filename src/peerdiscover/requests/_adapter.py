"""The adapter for a session of requests. It decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Unpack

from requests import PreparedRequest, RequestException
from requests.adapters import HTTPAdapter
from requests.utils import rewind_body

from peerdiscover._text import quoted
from peerdiscover.discovery._changes import Pause
from peerdiscover.discovery._user_code import check_discovery
from peerdiscover.discovery.sync import Discovery
from peerdiscover.errors import ConfigurationError
from peerdiscover.http._attempts import CURRENT_ATTEMPT, Attempt, PodPool, current_attempt
from peerdiscover.http._options import PodOptions, PodSettings
from peerdiscover.http._pauses import wait
from peerdiscover.peers import Peer

from ._connections import PodManager
from ._dispatch import RequestsDispatch, RequestsState
from ._response import PodResponse

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool


class PodAdapter(HTTPAdapter):
    """Sends each request to a pod of a discovered service, and to another one if that is safe.

        with Discovery("web-headless.prod:8080") as web:
            session = requests.Session()
            session.mount("http://web-headless.prod", PodAdapter(web))

    The discovery is yours: it is not closed with the session. For all threads. Times are seconds.

    * `idempotent`: called with a request that may have been processed; True: it may be sent again; False: it
      may not; None: its method and an `Idempotency-Key` say so (the default for all).
    * `pool_maxsize`: how many idle connections are kept to each pod (20), for 4 s.
    * `picker`, `host`, `attempts`, `budget`, `connect_timeout`, `attempt_timeout`, `total_timeout`,
      `retry_503`, `drain`: as of `peerdiscover.http.PodTransport`. Without `total_timeout` attempts begin
      until the session's own connect timeout has passed; if it has none, for 30 s. A request with
      `timeout=urllib3.Timeout(total=0.2)` has a `total_timeout` of its own.

    `verify`, `cert` and `timeout` are the session's; no proxy is used. A response is a `PodResponse`, whose
    `peerdiscover` has `peer`, `attempts` and `failed`. An error is the last attempt's, of the class that
    requests has for it; its message and notes list all attempts. With no pod to send to:
    `RequestsNoPeersError`. A URL with another host than the service's: `RequestsWrongHostError`.
    """

    def __init__(
        self,
        discovery: Discovery,
        *,
        idempotent: Callable[[PreparedRequest], bool | None] | None = None,
        pool_maxsize: int = 20,
        **options: Unpack[PodOptions],
    ) -> None:
        check_discovery(discovery, Discovery)
        if not (idempotent is None or callable(idempotent)):
            raise ConfigurationError(f"idempotent={quoted(idempotent)}: expected a function of a request")
        if not (isinstance(pool_maxsize, int) and pool_maxsize >= 1):
            raise ConfigurationError(f"pool_maxsize={quoted(pool_maxsize)}: expected at least 1")
        self._discovery = discovery
        self._state = RequestsState(discovery, PodSettings(**options), self._make_pod)
        self._state.marked = idempotent
        super().__init__(pool_maxsize=pool_maxsize)

    def _make_pod(self, peer: Peer) -> PodPool:
        pod = PodPool(peer, self._state.settings.connect_timeout, time.monotonic)
        pod.pool = PodManager(pod, self._on_end, self._pool_maxsize)
        return pod

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,  # noqa: ARG002 - requests' interface; pods are connected to directly
    ) -> PodResponse:
        """Send it; see the class."""
        if self._state.pools.leaving:
            self._close_pools()
        now = time.monotonic()
        dispatch = RequestsDispatch(self._state, request, timeout, now)
        is_first = True
        while True:
            step = dispatch.next(now)
            if isinstance(step, Pause):
                wait(self._discovery, step)
                now = time.monotonic()
                continue
            token = CURRENT_ATTEMPT.set(step)
            try:
                if not is_first and hasattr(request.body, "seek"):
                    rewind_body(request)
                is_first = False
                response = super().send(request, stream, timeout, verify, cert)
            except BaseException as error:
                now = time.monotonic()
                final = dispatch.failed(step, error, now)
                if final is error:
                    raise
                if isinstance(final, RequestException):
                    final.request = request
                if final is not None:
                    raise final from error
                continue
            finally:
                CURRENT_ATTEMPT.reset(token)
            now = time.monotonic()
            if dispatch.answered(step, response, now):
                return PodResponse(response, dispatch, step)
            response.close()

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: Any,
        proxies: Any = None,  # noqa: ARG002 - as above
        cert: Any = None,
    ) -> HTTPConnectionPool:
        """Return the pool of the pod that the current attempt goes to."""
        attempt = current_attempt()
        host, context = self.build_connection_pool_key_attributes(request, verify, cert)
        if self._state.uses_pod_names(host["host"]):
            host["host"], host["port"] = attempt.pod.name, attempt.pod.peer.port
        pool: HTTPConnectionPool = attempt.pod.pool.connection_from_host(**host, pool_kwargs=context)
        return pool

    def _on_end(self, attempt: Attempt) -> None:
        if self._state.pools.end_attempt(attempt):
            self._close_pools()

    def _close_pools(self) -> None:
        for pool in self._state.pools.closable():
            pool.clear()

    def close(self) -> None:
        """Close all connections. The discovery stays open."""
        for pool in self._state.pools.close():
            pool.clear()
        super().close()

    def __reduce__(self) -> Any:
        raise TypeError("a PodAdapter has connections and threads, and cannot be copied: make another one")
