"""The transport for `httpx.Client`. Its twin is `_async`: neither decides anything."""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from peerdiscover.discovery._changes import Pause
from peerdiscover.pickers import Picker

from ._attempts import CURRENT_ATTEMPT, Attempt, PodPool
from ._connections import PodBackend
from ._dispatch import Dispatch
from ._httpx import libraries
from ._options import TransportOptions
from ._state import TransportState

if TYPE_CHECKING:
    import httpx

    from peerdiscover.discovery.sync import Discovery

    _Base = httpx.BaseTransport
else:
    # Both libraries' own class, where both are there: their clients may look for it.
    _Base = type("_Base", tuple(library.api.BaseTransport for library in libraries()), {})

__all__ = ["PodTransport"]


class PodTransport(_Base):
    """Sends each request to a pod of a discovered service, and to another one where that is safe.

        with Discovery("web-headless.prod:8080") as web:
            client = httpx.Client(mounts={"http://web-headless": PodTransport(web)})

    The discovery is yours: it is not closed with the transport. Times are seconds.

    * `picker`: who is next; the discovery's `round_robin()` without one. One with `lease()` is leased
      until the answer has been read.
    * `host`: the `Host` of requests, and the name that certificates are verified for: as in the URL, or
      the pod's own ("peer"). Dialled is the pod's address, always.
    * `verify`, `cert`, `trust_env`, `http1`, `http2`: as of `httpx.HTTPTransport`. No proxy is used.
    * `limits`: of the connections to one pod.
    * `attempts`: how many may have been processed. Attempts that were never sent do not count.
    * `budget`: the share of requests that may be sent again, though one may have been processed.
    * `connect_timeout`: for dialling one pod, beside the request's own. After twice that a TLS handshake
      ends, and on Linux a pod that acknowledges nothing of a small request counts as gone.
    * `attempt_timeout`: for one attempt, until the head of the answer; without one, httpx's own hold.
    * `total_timeout`: for all attempts together, until the head of the answer. Without one, attempts
      begin as long as the request's own `connect` timeout is not over, and none is cut short.
    * `retry_503`: 503 with `Retry-After` goes to another pod, under the same rules.
    * `drain`: what a pod that left the set has for the answers that are under way.

    `response.extensions["peerdiscover"]` has `peer`, `attempts` (a number) and `failed` (those before).
    A request with `extensions={"peer": peer}` goes to that one, once. An error is the last attempt's, of
    the class that httpx has for it, and its text and notes say all attempts. With nobody to send it to:
    a `NoPeersError` that is a `ConnectError` of httpx, too. A URL with another host than the service's:
    `ConfigurationError`.
    """

    def __init__(
        self,
        discovery: Discovery,
        *,
        picker: Picker | None = None,
        host: Literal["service", "peer"] = "service",
        verify: Any = True,
        cert: Any = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: Any = None,
        attempts: int = 3,
        budget: float = 0.2,
        connect_timeout: float = 0.5,
        attempt_timeout: float | None = None,
        total_timeout: float | None = None,
        retry_503: bool = False,
        drain: float = 30.0,
    ) -> None:
        ways = TransportOptions(
            host=host,
            attempts=attempts,
            budget=budget,
            connect_timeout=connect_timeout,
            attempt_timeout=attempt_timeout,
            total_timeout=total_timeout,
            retry_503=retry_503,
            drain=drain,
        )
        options = {
            "verify": verify,
            "cert": cert,
            "trust_env": trust_env,
            "http1": http1,
            "http2": http2,
            "limits": limits,
        }
        self._discovery = discovery
        self._shared = TransportState(discovery, ways, picker, _pool, options)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; see the class."""
        shared = self._shared
        for pool in shared.pods.closing():
            pool.close()
        call = Dispatch(shared, request)
        while True:
            step = call.next()
            if isinstance(step, Pause):
                self._wait(step)
                continue
            under_way = CURRENT_ATTEMPT.set(step)
            try:
                answer = step.pod.pool.handle_request(call.request_for(step))
            except BaseException as error:
                final = call.failed(step, error)
                if final is error:
                    raise
                if final is not None:
                    raise final from error
                continue
            finally:
                CURRENT_ATTEMPT.reset(under_way)
            if call.answered(step, answer) is None:
                response: httpx.Response = call.response(
                    step, answer, call.library.Stream, partial(self._over, step)
                )
                return response
            try:
                answer.close()
            finally:
                shared.pods.end(step)

    def _over(self, attempt: Attempt) -> None:
        if self._shared.pods.end(attempt):
            for pool in self._shared.pods.closing():
                pool.close()

    def _wait(self, pause: Pause) -> None:
        """Until the set is another one, or the pause is over."""
        for change in self._discovery.changes(timeout=pause.seconds):
            if change.after.generation != pause.generation:
                return

    def close(self) -> None:
        """Close all connections. The discovery stays open."""
        for pool in self._shared.pods.close():
            pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()


def _pool(core: Any, pod: PodPool, options: dict[str, Any]) -> Any:
    return core.ConnectionPool(network_backend=PodBackend(core, pod), **options)
