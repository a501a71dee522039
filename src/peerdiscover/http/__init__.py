"""Requests over the pods of a service, with httpx or httpx2.

    with Discovery("web-headless.prod:8080") as web:
        client = httpx.Client(mounts={"http://web-headless": PodTransport(web)})

Rules of this room:

* `_steps` decides, told the time: who is next, whether again, when it is over.
* `_lines` knows whether a byte of a request was handed to a socket; nothing is told from an error's text.
* `_pods` keeps one pool of connections a pod, and lets those of a pod that left go.
* `_shared` puts these together for one request. `_sync` and `_async` only do what it says.
"""

from __future__ import annotations

from ._async import AsyncPodTransport
from ._sync import PodTransport

__all__ = ["AsyncPodTransport", "PodTransport"]
