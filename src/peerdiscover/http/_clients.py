"""Ready-made clients: httpx's own, over the pods of one service.

Invariants:

* A client owns its discovery, unless it was given one: it starts and ends with the client.
* The mixins have what is ours. They are mixed into the library's class, whichever library it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from peerdiscover.discovery._base import as_service_name
from peerdiscover.discovery.aio import AsyncDiscovery
from peerdiscover.discovery.broadcast import Late, Receipt
from peerdiscover.discovery.sync import Discovery
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName
from peerdiscover.policy import Policy

from ._async import AsyncPodTransport
from ._bodies import body_options, with_body
from ._httpx import preferred
from ._options import ClientOptions, TransportOptions, host_of
from ._sync import PodTransport

if TYPE_CHECKING:
    import httpx

    from peerdiscover.sources import SourceLike

    _Client = httpx.Client
    _AsyncClient = httpx.AsyncClient
else:
    _Client = preferred().api.Client
    _AsyncClient = preferred().api.AsyncClient

__all__ = ["AsyncClient", "Client", "_AsyncPodClientMixin", "_PodClientMixin"]

_TRANSPORT = TransportOptions.__annotations__.keys() - {"trust_env"}  # which both take


class _ClientConfig:
    """The arguments of a client, validated, and sorted into those of the transport and of httpx."""

    def __init__(
        self,
        service: str | ServiceName,
        kind: Any,
        source: SourceLike | None,
        policy: Policy | None,
        discovery: Any,
        options: Any,
    ) -> None:
        for name in {"transport", "proxy"}.intersection(options):
            raise ConfigurationError(f"{name}=: requests go to the pods; use httpx's own client for {name}=")
        parts = as_service_name(service)
        self.owned = discovery is None
        self.policy = policy or Policy()
        if discovery is None:
            discovery = kind(parts, source=source, policy=self.policy)
        elif source is not None or policy is not None:
            raise ConfigurationError("source= and policy= cannot be given together with discovery=")
        elif ServiceName.parse(discovery.peers.service) != parts:
            raise ConfigurationError(
                f"{str(parts)!r}: the discovery is of another service, {discovery.peers.service!r}"
            )
        self.discovery = discovery
        self.transport = {key: options.pop(key) for key in _TRANSPORT.intersection(options)}
        if "trust_env" in options:
            self.transport["trust_env"] = options["trust_env"]
        port = f":{parts.port}" if isinstance(parts.port, int) else ""
        self.options = {"base_url": f"http://{host_of(parts)}{port}", **options}


def _pinned(peer: object, options: Mapping[str, Any]) -> dict[str, Any]:
    return {**options, "extensions": {**(options.get("extensions") or {}), "peer": peer}}


class _PodClientMixin:
    """Makes a client of httpx or httpx2 one over pods."""

    def __init__(
        self,
        service: str | ServiceName,
        *,
        source: SourceLike | None = None,
        policy: Policy | None = None,
        discovery: Discovery | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        config = _ClientConfig(service, Discovery, source, policy, discovery, options)
        self.discovery: Discovery = config.discovery
        self._policy, self._owned = config.policy, config.owned
        transport = PodTransport(self.discovery, **config.transport)
        super().__init__(transport=transport, **config.options)  # type: ignore[call-arg]  # the library's

    def _start(self) -> None:
        """Start a discovery that the client owns, with its first use; this does not wait for pods."""
        if self._owned and not self.discovery.is_open and not self.is_closed:  # type: ignore[attr-defined]
            self.discovery.start(wait=False)

    def _wait(self) -> None:
        """Wait for pods as entering a discovery does, if the client owns it."""
        self._start()
        if self._owned:
            self.discovery.wait(self._policy.min_peers, self._policy.ready_timeout)

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request, as httpx's client does."""
        self._start()
        return super().send(request, **options)  # type: ignore[misc]  # the library's

    def __enter__(self) -> Self:
        was_open = self.discovery.is_open
        try:
            self._wait()
            super().__enter__()  # type: ignore[misc]  # the library's
        except BaseException:
            if not was_open:
                self._end()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        try:
            super().__exit__(exc_type, exc_value, traceback)  # type: ignore[misc]  # the library's
        finally:
            self._end()

    def close(self) -> None:
        """Close the client, and the discovery if the client owns it."""
        try:
            super().close()  # type: ignore[misc]  # the library's
        finally:
            self._end()

    def _end(self) -> None:
        if self._owned:
            self.discovery.close()

    def broadcast(
        self,
        method: str,
        path: str,
        *,
        late: Late = "report",
        timeout: float | None = None,
        limit: int = 32,
        include_self: bool = False,
        **request_options: Any,
    ) -> Receipt[httpx.Response]:
        """Send a request to every pod, once each; the `Receipt` has the response of each.

        Any response is a result: look at its status. With `late="include"` pods that join meanwhile receive
        it, too, until the set has been stable for the time between two questions of the discovery; those
        that came and went before that are in `joined`. `timeout` (s) is for all of it; pods that have not
        responded by then are in `errors`. `request_options` are those of `request`; a body that is a stream
        is read first, whole, so that each pod gets all of it.
        """
        self._wait()
        if options := body_options(request_options):
            request = self.build_request(method, path, **options)  # type: ignore[attr-defined]
            request_options = with_body(request_options, request, request.read())

        def call(peer: Any) -> Any:
            return self.request(method, path, **_pinned(peer, request_options))  # type: ignore[attr-defined]

        return self.discovery.broadcast(
            call, late=late, timeout=timeout, limit=limit, include_self=include_self
        )


class _AsyncPodClientMixin:
    """Makes an asynchronous client of httpx or httpx2 one over pods."""

    def __init__(
        self,
        service: str | ServiceName,
        *,
        source: SourceLike | None = None,
        policy: Policy | None = None,
        discovery: AsyncDiscovery | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        config = _ClientConfig(service, AsyncDiscovery, source, policy, discovery, options)
        self.discovery: AsyncDiscovery = config.discovery
        self._policy, self._owned = config.policy, config.owned
        transport = AsyncPodTransport(self.discovery, **config.transport)
        super().__init__(transport=transport, **config.options)  # type: ignore[call-arg]  # the library's

    async def _start(self) -> None:
        """Start a discovery that the client owns, with its first use; this does not wait for pods."""
        if self._owned and not self.discovery.is_open and not self.is_closed:  # type: ignore[attr-defined]
            await self.discovery.start(wait=False)

    async def _wait(self) -> None:
        """Wait for pods as entering a discovery does, if the client owns it."""
        await self._start()
        if self._owned:
            await self.discovery.wait(self._policy.min_peers, self._policy.ready_timeout)

    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request, as httpx's client does."""
        await self._start()
        return await super().send(request, **options)  # type: ignore[misc]  # the library's

    async def __aenter__(self) -> Self:
        was_open = self.discovery.is_open
        try:
            await self._wait()
            await super().__aenter__()  # type: ignore[misc]  # the library's
        except BaseException:
            if not was_open:
                await self._end()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        try:
            await super().__aexit__(exc_type, exc_value, traceback)  # type: ignore[misc]  # the library's
        finally:
            await self._end()

    async def aclose(self) -> None:
        """Close the client, and the discovery if the client owns it."""
        try:
            await super().aclose()  # type: ignore[misc]  # the library's
        finally:
            await self._end()

    async def _end(self) -> None:
        if self._owned:
            await self.discovery.aclose()

    async def broadcast(
        self,
        method: str,
        path: str,
        *,
        late: Late = "report",
        timeout: float | None = None,
        limit: int = 32,
        include_self: bool = False,
        **request_options: Any,
    ) -> Receipt[httpx.Response]:
        """Send a request to every pod, once each; see `Client.broadcast`."""
        await self._wait()
        if options := body_options(request_options):
            request = self.build_request(method, path, **options)  # type: ignore[attr-defined]
            aread = request.aread if hasattr(request.stream, "__aiter__") else None
            body = await aread() if aread is not None else request.read()
            request_options = with_body(request_options, request, body)

        async def call(peer: Any) -> Any:
            return await self.request(method, path, **_pinned(peer, request_options))  # type: ignore[attr-defined]

        return await self.discovery.broadcast(
            call, late=late, timeout=timeout, limit=limit, include_self=include_self
        )


class Client(_PodClientMixin, _Client):
    """`httpx.Client` over the pods of a service: `client.get("/x")` goes to one of them.

        with Client("web-headless.prod:8080") as web:
            web.get("/hello")

    * `service`, `source`, `policy`: those of `Discovery`, which starts with the first use and ends with the
      client.
    * `discovery`: one of yours instead, which stays open.
    * `base_url`: by default the service's, `http://web-headless.prod:8080`; for TLS give one with https.
    * all others: those of `httpx.Client` and of `PodTransport`.

    Entering a client waits for pods, as entering a discovery does. A client need not be entered: then each
    request waits for pods, for as long as it may.
    """


class AsyncClient(_AsyncPodClientMixin, _AsyncClient):
    """`httpx.AsyncClient` over the pods of a service, for asyncio and trio; see `Client`.

        async with AsyncClient("web-headless.prod:8080") as web:
            await web.get("/hello")

    It need not be entered, and `aclose()` may be called from any task of its event loop.
    """
