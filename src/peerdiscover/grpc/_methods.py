"""A method of a service, and a call of it that is in flight: what both kinds of channels have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from operator import methodcaller
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

from ._dispatch import Attempt, Dispatch
from ._requests import RequestStream

if TYPE_CHECKING:
    from peerdiscover.http._history import History

    from ._state import ChannelState, Pod

_logger = logging.getLogger("peerdiscover")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def makes(kind: type[Method], as_in_grpc: _Function) -> _Function:
    """Return the method of a channel that makes callables of this kind; its parameters are gRPC's own."""

    @wraps(as_in_grpc, updated=())  # without its `__dict__`, which says that it is abstract
    def make(self: Any, *args: Any, **options: Any) -> Method:
        return kind(self._state, as_in_grpc.__name__, *args, **options)

    return cast("_Function", make)


class Method:
    """A method of a service, as it is called on each pod.

    * `state`: of its channel.
    * `kind`: gRPC's function that makes its callables: `unary_unary` and so on.
    * `method`: its full name.
    * `arguments`, `options`: what that function is given beside the name.
    """

    def __init__(self, state: ChannelState, kind: str, method: str, *arguments: Any, **options: Any) -> None:
        self._state = state
        self._name = method
        self._make = methodcaller(kind, method, *arguments, **options)
        self._on: WeakKeyDictionary[Pod, Any] = WeakKeyDictionary()

    def begin(
        self,
        invoke: str,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> tuple[Dispatch, Callable[[Attempt], Any]]:
        """Return what decides about a call that begins now, and what makes it on a pod.

        `invoke` is the method of gRPC's callable; the other parameters are gRPC's own, in its order.
        """
        requests = request if isinstance(request, RequestStream) else None
        given = {
            "metadata": None if metadata is None else tuple(metadata),  # an interceptor may change its own
            "credentials": credentials,
            "compression": compression,
        }

        def start(attempt: Attempt) -> Any:
            message = request if requests is None else requests.attempt()
            try:
                on_pod = self._on.get(attempt.pod)
                if on_pod is None:
                    on_pod = self._on[attempt.pod] = self._make(attempt.pod.channel)
                return getattr(on_pod, invoke)(message, timeout=attempt.timeout, **given)
            except BaseException:  # gRPC refuses what it was given; or a call that blocks has failed
                attempt.release()
                raise

        return Dispatch(self._state, self._name, timeout, wait_for_ready, requests, monotonic()), start


class Call:
    """A call in flight. `start` makes it on a pod."""

    def __init__(self, dispatch: Dispatch, start: Callable[[Attempt], Any]) -> None:
        self._dispatch = dispatch
        self._start = start
        self._attempt: Attempt
        self._call: Any = None
        """The call on a pod, or the error that it ended with; None while there is neither."""
        self._cancelled = self._ended = False
        self._callbacks: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._call!r}>"

    @property
    def peerdiscover(self) -> History | None:
        """`peer`, `attempts` (a number) and `failed` (those before); None until a pod answered."""
        return self._dispatch.history

    def time_remaining(self) -> Any:
        return self._dispatch.time_remaining(monotonic())

    def _run_callbacks(self) -> None:
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                _logger.exception("a callback of a gRPC call failed")
