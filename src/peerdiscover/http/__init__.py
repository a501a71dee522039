"""Requests over the pods of a service, with httpx or httpx2.

    with Client("web-headless.prod:8080") as web:
        web.get("/hello")

    with Discovery("web-headless.prod:8080") as web:
        client = httpx.Client(mounts={"http://web-headless": PodTransport(web)})

A transport serves clients of either library. `Client` and `AsyncClient` are httpx's, or httpx2's if that
alone is loaded or installed; `Httpx2Client` and `Httpx2AsyncClient` are httpx2's always. With no pod to send
a request to, `HttpxNoPeersError` or `Httpx2NoPeersError` is raised: a `NoPeersError`, and a `ConnectError` of
that library.

`_retry` and `_budget` decide; `_attempts` and `_connections` know whether anything was written, `_outcomes`
what an end means; `_pools` keeps the connections. `_dispatch` puts these together for one request, and is
used by adapters of other libraries, too. `_httpx…`, `_sync`, `_async` and `_clients` are for httpx.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from peerdiscover._exports import lazy

if TYPE_CHECKING:
    from peerdiscover.errors import ConfigurationError as _ConfigurationError
    from peerdiscover.errors import NoPeersError as _NoPeersError

    from ._async import AsyncPodTransport
    from ._clients import AsyncClient, Client
    from ._sync import PodTransport

    class HttpxNoPeersError(_NoPeersError): ...

    class Httpx2NoPeersError(_NoPeersError): ...

    class HttpxWrongHostError(_ConfigurationError): ...

    class Httpx2WrongHostError(_ConfigurationError): ...

    Httpx2Client: Any
    Httpx2AsyncClient: Any

__all__ = [
    "AsyncClient",
    "AsyncPodTransport",
    "Client",
    "HttpxNoPeersError",
    "HttpxWrongHostError",
    "PodTransport",
]
if find_spec("httpx2") is not None:  # `from peerdiscover.http import *` works without it, too
    __all__ += ["Httpx2AsyncClient", "Httpx2Client", "Httpx2NoPeersError", "Httpx2WrongHostError"]
_MADE = {"HttpxNoPeersError", "HttpxWrongHostError", "Httpx2NoPeersError", "Httpx2WrongHostError"}
_MADE |= {"Httpx2AsyncClient", "Httpx2Client"}
# Loaded when used: adapters of other libraries share the rules of this package, and need no httpx.
_MODULES = {
    "_async": ("AsyncPodTransport",),
    "_clients": ("AsyncClient", "Client"),
    "_sync": ("PodTransport",),
}
_load, __dir__ = lazy(__name__, _MODULES)


def __getattr__(name: str) -> Any:
    """Load a name, or make the classes of a library that need not be installed."""
    if name not in _MADE:
        return _load(name)
    from . import _clients
    from ._httpx import named

    library = named("httpx2" if name.startswith("Httpx2") else "httpx")
    value: Any
    if name.endswith("NoPeersError"):
        value = library.no_peers
    elif name.endswith("WrongHostError"):
        value = library.wrong_host
    else:
        of_httpx = getattr(_clients, name.removeprefix("Httpx2"))
        bases = (of_httpx.__bases__[0], getattr(library.api, of_httpx.__name__))
        value = type(name, bases, {"__module__": __name__, "__doc__": of_httpx.__doc__})
    globals()[name] = value
    return value
