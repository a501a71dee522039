# pyright: reportUnnecessaryTypeIgnoreComment=true
"""What users' programs look like to type checkers, which read this file.

Each `type: ignore` here has to be needed: mypy's `warn_unused_ignores`, and pyright's setting above, say so.
"""

from __future__ import annotations

import asyncio
from typing import assert_type

import aiohttp
import pytest
import requests
from aiohttp.client_middlewares import ClientMiddlewareType

from peerdiscover import AsyncDiscovery, ConfigurationError, Discovery, NoPeersError, Peer
from peerdiscover.aiohttp import AiohttpNoPeersError, AiohttpWrongPortError, pods
from peerdiscover.requests import PodAdapter, PodResponse, RequestsNoPeersError, RequestsWrongHostError

NAME = "static:127.0.0.1:1"


def is_search(request: requests.PreparedRequest) -> bool | None:
    return request.path_url == "/search" or None


def pod_of(session: requests.Session) -> Peer | None:
    """As a program asks which pod answered."""
    try:
        response = session.get("http://static/", timeout=(1, 5))
    except RequestsNoPeersError as error:
        no_pod: NoPeersError | requests.ConnectionError = error
        raise no_pod from None
    except RequestsWrongHostError as error:
        wrong: requests.exceptions.InvalidURL = error
        raise wrong from None
    if not isinstance(response, PodResponse):
        return None
    assert_type(response.peerdiscover["attempts"], int)
    assert_type([failed.seconds for failed in response.peerdiscover["failed"]], list[float])
    return response.peerdiscover["peer"]


def test_a_program_of_requests() -> None:
    with Discovery(NAME) as web, requests.Session() as session:
        adapter = PodAdapter(web, idempotent=is_search, picker=web.round_robin(), total_timeout=0.05)
        assert_type(adapter, PodAdapter)
        session.mount("http://static", adapter)
        with pytest.raises(requests.ConnectionError):
            pod_of(session)


def test_a_wrong_program_of_requests() -> None:
    discovery = Discovery(NAME)
    with pytest.raises(TypeError):
        PodAdapter(discovery, verify=False)  # type: ignore[call-arg]  # that is the session's
    with pytest.raises(ConfigurationError):
        PodAdapter(discovery, connect_timeout="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        PodAdapter(discovery, is_search)  # type: ignore[call-arg]  # by its name only


def is_query(request: aiohttp.ClientRequest) -> bool | None:
    return request.url.path == "/search" or None


async def text_of(session: aiohttp.ClientSession) -> str:
    try:
        async with session.get("http://static/", timeout=aiohttp.ClientTimeout(total=5)) as response:
            return await response.text()
    except AiohttpNoPeersError as error:
        no_pod: NoPeersError | aiohttp.ClientConnectionError = error
        raise no_pod from None
    except AiohttpWrongPortError as error:
        wrong: aiohttp.ClientError = error
        raise wrong from None


def test_a_program_of_aiohttp() -> None:
    async def run() -> None:
        async with AsyncDiscovery(NAME) as web:
            middleware = pods(web, idempotent=is_query, picker=web.round_robin(), total_timeout=0.05)
            assert_type(middleware, ClientMiddlewareType)
            async with aiohttp.ClientSession(middlewares=[middleware]) as session:
                with pytest.raises(aiohttp.ClientConnectionError):
                    await text_of(session)

    asyncio.run(run())


def test_a_wrong_program_of_aiohttp() -> None:
    discovery = AsyncDiscovery(NAME)
    with pytest.raises(TypeError):
        pods(discovery, verify=False)  # type: ignore[call-arg]  # that is the connector's
    with pytest.raises(ConfigurationError):
        pods(discovery, connect_timeout="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pods(discovery, is_query)  # type: ignore[call-arg]  # by its name only
