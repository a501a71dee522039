"""Requests over the pods of a service, with requests.

    with Discovery("web-headless.prod:8080") as web:
        session = requests.Session()
        session.mount("http://web-headless.prod", PodAdapter(web))

The rules are those of `peerdiscover.http`, and its code: `_retry` and `_dispatch` there decide what is sent
again, and `_pools` keeps the pods' connections. Here are the connections of urllib3 (`_connections`), and the
adapter that makes attempts with them (`_adapter`).
"""

from __future__ import annotations

from peerdiscover._extras import missing

if why := missing("requests", "requests", "2.32.3") or missing("requests", "urllib3", "2.2"):
    raise ImportError(why)

from ._adapter import PodAdapter
from ._dispatch import RequestsNoPeersError, RequestsWrongHostError
from ._response import PodResponse

__all__ = ["PodAdapter", "PodResponse", "RequestsNoPeersError", "RequestsWrongHostError"]
