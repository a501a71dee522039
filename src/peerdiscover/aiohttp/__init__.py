"""Requests over the pods of a service, with aiohttp (3.12.7 or newer).

    async with AsyncDiscovery("web-headless.prod:8080") as web:
        async with aiohttp.ClientSession(middlewares=[pods(web)]) as session:
            async with session.get("http://web-headless.prod/hello") as response: ...

The rules are those of `peerdiscover.http`, and its code: `_retry` and `_dispatch` there decide what is sent
again, and `_pools` follows the set. The connections are those of the session's connector.
"""

from __future__ import annotations

from peerdiscover._extras import missing

if why := missing("aiohttp", "aiohttp", "3.12.7"):
    raise ImportError(why)

from ._dispatch import AiohttpNoPeersError, AiohttpWrongPortError
from ._middleware import pods

__all__ = ["AiohttpNoPeersError", "AiohttpWrongPortError", "pods"]
