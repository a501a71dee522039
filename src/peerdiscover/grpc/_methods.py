"""A method of a service, whatever its kind: how a call of it begins, and how it is made on a pod."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ._dispatch import Attempt, Dispatch
from ._requests import RequestStream
from ._state import ChannelState, Pod


class CallOptions(NamedTuple):
    """What a call is given beside its request, in the order of gRPC's parameters."""

    timeout: float | None = None
    metadata: Any = None
    credentials: Any = None
    wait_for_ready: bool | None = None
    compression: Any = None


class Method:
    """A method of a service, as it is called on each pod.

    * `state`: of its channel.
    * `kind`: gRPC's function that makes its callables: `unary_unary` and so on.
    * `name`: its full name.
    * `arguments`: what that function is given after the name.
    """

    def __init__(self, state: ChannelState, kind: str, name: str, *arguments: Any) -> None:
        self.state = state
        self._kind = kind
        self._name = name
        self._arguments = arguments
        self._on: WeakKeyDictionary[Pod, Any] = WeakKeyDictionary()

    def dispatch(self, request: Any, options: CallOptions, now: float) -> Dispatch:
        """Return what decides about a call that begins now."""
        requests = request if isinstance(request, RequestStream) else None
        return Dispatch(self.state, self._name, options.timeout, options.wait_for_ready, requests, now)

    def start(self, attempt: Attempt, invoke: str, request: Any, options: CallOptions) -> Any:
        """Call it on the attempt's pod; `invoke` is the method of gRPC's callable."""
        callable_ = self._on.get(attempt.pod)
        if callable_ is None:
            make = getattr(attempt.pod.channel, self._kind)
            callable_ = self._on[attempt.pod] = make(self._name, *self._arguments)
        return getattr(callable_, invoke)(
            request.attempt() if isinstance(request, RequestStream) else request,
            timeout=attempt.timeout,
            metadata=options.metadata,
            credentials=options.credentials,
            compression=options.compression,
        )
