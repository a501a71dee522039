"""gRPC over the pods of a service.

    with Discovery("echo-headless.prod:9090") as echo, PodChannel(echo) as channel:
        stub = EchoStub(channel)

Invariants:

* `_dispatch` decides, given the time: which pod is next, whether a call is made again, when it ends. It
  follows the rules of `http._retry`, and `http._budget` limits how often.
* `_state` keeps a gRPC channel for each pod.
* `_requests` lets a request stream begin anew.
* `_methods` makes a call on a pod. `_sync` is the channel for threads, `_sync_calls` its calls in flight, and
  `_sync_attempts` what these are made of. Their twins are for asyncio. All only do what `_dispatch` says.
"""

from __future__ import annotations

from peerdiscover._extras import missing

if why := missing("grpc", "grpcio", "1.68", module="grpc"):
    raise ImportError(why)

from ._async import AsyncPodChannel
from ._errors import AsyncGrpcNoPeersError, GrpcNoPeersError
from ._sync import PodChannel

__all__ = ["AsyncGrpcNoPeersError", "AsyncPodChannel", "GrpcNoPeersError", "PodChannel"]
