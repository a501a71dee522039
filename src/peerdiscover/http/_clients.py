"""Ready-made clients: httpx's own, over the pods of one service.

Invariants:

* A client owns its discovery, unless it was given one. The transport starts and closes it, since the library
  starts and closes its transport.
* The mixins have what is ours. They are mixed into the library's class, whichever library it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, Unpack

from peerdiscover._text import quoted
from peerdiscover.discovery._base import as_service_name
from peerdiscover.discovery._user_code import check_discovery
from peerdiscover.discovery.aio import AsyncDiscovery
from peerdiscover.discovery.broadcast import Late, Receipt
from peerdiscover.discovery.sync import Discovery
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName
from peerdiscover.policy import Policy

from ._async import AsyncPodTransport
from ._bodies import body_options, with_body
from ._httpx import libraries
from ._options import ClientOptions, TransportOptions, host_of
from ._sync import PodTransport

if TYPE_CHECKING:
    import httpx

    from peerdiscover.sources import SourceLike

    _Client = httpx.Client
    _AsyncClient = httpx.AsyncClient
else:
    _Client = libraries()[0].api.Client
    _AsyncClient = libraries()[0].api.AsyncClient


D = TypeVar("D", Discovery, AsyncDiscovery)

_TRANSPORT = TransportOptions.__annotations__.keys() - {"trust_env"}  # which both take


class _OwnTransport(PodTransport):
    """Starts its discovery when it is entered, or with the first request, and closes it."""

    def handle_request(self, request: Any) -> Any:
        if not self._discovery.is_open:
            self._discovery.start(wait=False)
        return super().handle_request(request)

    def __enter__(self) -> Self:
        self._discovery.start()
        return self

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._discovery.close()


class _AsyncOwnTransport(AsyncPodTransport):
    """The same, asynchronously."""

    async def handle_async_request(self, request: Any) -> Any:
        if not self._discovery.is_open:
            await self._discovery.start(wait=False)
        return await super().handle_async_request(request)

    async def __aenter__(self) -> Self:
        await self._discovery.start()
        return self

    async def aclose(self) -> None:
        try:
            await super().aclose()
        finally:
            await self._discovery.aclose()


class _BaseMixin(Generic[D]):
    """Makes a client of httpx or httpx2 one over pods."""

    _kinds: ClassVar[tuple[Any, Any, Any]]
    """Of a discovery, of a transport over one, and of a transport that owns it."""

    def __init__(
        self,
        service: str | ServiceName,
        *,
        source: SourceLike | None = None,
        policy: Policy | None = None,
        discovery: D | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        for name in {"transport", "proxy"}.intersection(options):
            raise ConfigurationError(f"{name}=: requests go to the pods; use httpx's own client for {name}=")
        parts = as_service_name(service)
        of_discovery, of_transport, of_own_transport = self._kinds
        self._owned_policy: Policy | None = None
        if discovery is None:
            self._owned_policy = Policy() if policy is None else policy
            discovery = of_discovery(parts, source=source, policy=self._owned_policy)
            of_transport = of_own_transport
        elif source is not None or policy is not None:
            raise ConfigurationError("source= and policy= cannot be given together with discovery=")
        else:
            check_discovery(discovery, of_discovery)
            if ServiceName.parse(discovery.peers.service) != parts:
                raise ConfigurationError(
                    f"{quoted(str(parts))}: the discovery is of another service, "
                    f"{quoted(discovery.peers.service)}"
                )
        self.discovery: D = discovery  # pyright: ignore[reportAttributeAccessIssue]  # it is not None here
        given: dict[str, Any] = dict(options)
        chosen = {name: given.pop(name) for name in _TRANSPORT.intersection(given)}
        if "trust_env" in given:
            chosen["trust_env"] = given["trust_env"]
        port = f":{parts.port}" if isinstance(parts.port, int) else ""
        service_url = f"http://{host_of(parts)}{port}"
        base_url = given.setdefault("base_url", service_url)
        if not str(base_url).lower().startswith(("http://", "https://")):
            raise ConfigurationError(f"base_url={quoted(base_url)}: expected a URL such as {service_url}/api")
        super().__init__(transport=of_transport(discovery, **chosen), **given)  # type: ignore[call-arg]  # the library's


def _pinned(peer: object, options: Mapping[str, Any]) -> dict[str, Any]:
    return {**options, "extensions": {**(options.get("extensions") or {}), "peer": peer}}


class _PodClientMixin(_BaseMixin[Discovery]):
    _kinds = Discovery, PodTransport, _OwnTransport

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
        if policy := self._owned_policy:
            self.discovery.start(wait=False)
            self.discovery.wait(policy.min_peers, policy.ready_timeout)
        if options := body_options(request_options):
            request = self.build_request(method, path, **options)  # type: ignore[attr-defined]
            request_options = with_body(request_options, request, request.read())

        def call(peer: Any) -> Any:
            return self.request(method, path, **_pinned(peer, request_options))  # type: ignore[attr-defined]

        return self.discovery.broadcast(
            call, late=late, timeout=timeout, limit=limit, include_self=include_self
        )


class _AsyncPodClientMixin(_BaseMixin[AsyncDiscovery]):
    _kinds = AsyncDiscovery, AsyncPodTransport, _AsyncOwnTransport

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
        if policy := self._owned_policy:
            await self.discovery.start(wait=False)
            await self.discovery.wait(policy.min_peers, policy.ready_timeout)
        if options := body_options(request_options):
            request = self.build_request(method, path, **options)  # type: ignore[attr-defined]
            is_async = hasattr(request.stream, "__aiter__")
            body = await request.aread() if is_async else request.read()
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
