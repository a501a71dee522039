"""A request of httpx as one of httpcore, for one attempt."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from peerdiscover.peers import Peer

from ._attempts import Attempt

if TYPE_CHECKING:
    import httpcore
    import httpx

__all__ = ["core_request"]


def core_request(
    core: Any,
    request: httpx.Request,
    host: tuple[bytes, int | None],
    body: Any,
    named_as: Peer | None,
    attempt: Attempt,
) -> httpcore.Request:
    """Return the request for the pool of this attempt's pod.

    * `core`: httpcore or httpcore2.
    * `host`: the host and port of the URL.
    * `body`: what is sent.
    * `named_as`: the pod whose own name is the `Host`, and in its certificate; None: the URL's host is.
    * `attempt`: its deadline limits how long it may wait for a connection.
    """
    headers, extensions = request.headers.raw, request.extensions
    if named_as is not None:
        name = named_as.fqdn.rstrip(".") if named_as.fqdn else named_as.address
        authority = f"{name}:{named_as.port}" if named_as.fqdn else named_as.hostport
        headers = [(k, v) for k, v in headers if k.lower() != b"host"]
        headers.insert(0, (b"Host", authority.encode("ascii")))
        extensions = {"sni_hostname": name, **extensions}
    if attempt.deadline < math.inf:
        timeouts = extensions.get("timeout") or {}
        left = attempt.deadline - attempt.started_at
        pool = timeouts.get("pool")
        extensions = {
            **extensions,
            "timeout": {**timeouts, "pool": left if pool is None else min(pool, left)},
        }
    url = request.url
    converted: httpcore.Request = core.Request(
        method=request.method,
        url=core.URL(scheme=url.raw_scheme, host=host[0], port=host[1], target=url.raw_path),
        headers=headers,
        content=body,
        extensions=extensions,
    )
    return converted
