"""A request stream that begins anew for each attempt, until gRPC asks for its second message.

gRPC asks for it when the first one was sent; it may still wait for the first one when an attempt ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Any

_END = object()


class RequestStream:
    """What both kinds have in common."""

    consumed: bool = False
    """Whether gRPC asked for more than the first message: the stream cannot begin anew."""

    def attempt(self) -> Any:
        """Return the stream for one attempt, from its first message on."""
        raise NotImplementedError

    def close(self) -> None:
        """There is no further attempt."""


class Requests(RequestStream):
    """For threads."""

    def __init__(self, requests: Iterable[Any]) -> None:
        self._requests = iter(requests)
        self._lock = threading.Lock()
        self._first: list[Any] | None = None

    def attempt(self) -> Iterator[Any]:
        with self._lock:
            if self._first is None:
                self._first = list(islice(self._requests, 1))
        yield from self._first
        self.consumed = True
        yield from self._requests


class AsyncRequests(RequestStream):
    """For asyncio. None: the caller writes each message."""

    def __init__(self, requests: AsyncIterable[Any] | Iterable[Any] | None) -> None:
        self._requests = _awaited(requests) if isinstance(requests, Iterable) else requests
        self._first: asyncio.Future[Any] | None = None

    def attempt(self) -> AsyncIterator[Any] | None:
        return None if self._requests is None else self._messages(aiter(self._requests))

    async def _messages(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        if self._first is None:
            self._first = asyncio.ensure_future(anext(requests, _END))
        first = await asyncio.shield(self._first)  # it is for the next attempt if this one ends
        if first is _END:
            return
        yield first
        self.consumed = True
        async for request in requests:
            yield request

    def close(self) -> None:
        if self._first is not None:
            self._first.cancel()


async def _awaited(requests: Iterable[Any]) -> AsyncIterator[Any]:
    for request in requests:
        yield request
