"""A response of requests that knows which pod it is of, and reports a pod whose response breaks off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from requests import RequestException, Response
from requests.exceptions import ChunkedEncodingError

from peerdiscover.http._attempts import Attempt
from peerdiscover.http._dispatch import Dispatch
from peerdiscover.http._history import History


class PodResponse(Response):
    """What a session gets from a `PodAdapter`.

    `peerdiscover` has `peer`, `attempts` (a number) and `failed` (those before).
    """

    peerdiscover: History

    def __init__(self, response: Response, dispatch: Dispatch, attempt: Attempt) -> None:
        vars(self).update(vars(response))  # all that `Response.__init__` would set
        self.peerdiscover = dispatch.history(attempt)
        self._dispatch = dispatch
        self._attempt = attempt

    def iter_content(self, *args: Any, **options: Any) -> Iterator[Any]:
        return self._reported(super().iter_content(*args, **options))

    def _reported(self, parts: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from parts
            raw = self.raw
            if self._attempt.pod.aborted and not raw.chunked and raw.length_remaining is None:
                # It ended with its connection, and so looks whole though it was cut.
                raise ChunkedEncodingError("this connection was cut")
        except RequestException as error:
            described = self._dispatch.body_failed(self._attempt, error)
            assert described is not None, "it is requests' own"
            raise described from error
