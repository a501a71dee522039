"""Reading a namespace from the API server, by one GET a kind. Nothing is decided here.

Invariants:

* A kind that may not be read is an item with the account and the verb, and the others are read all the same.
* Reading ends in time, however slowly or without pause the API server sends.
* The token goes nowhere but to the pod's own API server, and is never shown, not even if that sends it back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore

from peerdiscover._text import printable
from peerdiscover.errors import ConfigurationError
from peerdiscover.sources.environment import Environment
from peerdiscover.sources.kubernetes._config import find_cluster
from peerdiscover.sources.kubernetes._network import InterruptibleBackend
from peerdiscover.sources.kubernetes._rbac import forbidden_text, who_was_refused
from peerdiscover.sources.kubernetes._redaction import Redactor

from ._objects import Objects

KINDS = {
    "Service": "api/v1",
    "Pod": "api/v1",
    "ServiceAccount": "api/v1",
    "EndpointSlice": "apis/discovery.k8s.io/v1",
    "StatefulSet": "apis/apps/v1",
    "Deployment": "apis/apps/v1",
    "DaemonSet": "apis/apps/v1",
    "Job": "apis/batch/v1",
    "CronJob": "apis/batch/v1",
    "NetworkPolicy": "apis/networking.k8s.io/v1",
    "Role": "apis/rbac.authorization.k8s.io/v1",
    "RoleBinding": "apis/rbac.authorization.k8s.io/v1",
}
"""The kinds that checks read, and where the API server serves them."""
MAX_BYTES = 32_000_000
"""Of one kind in one namespace."""
FAILURES = (
    OSError,
    ConfigurationError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
)


def read_namespace(
    environment: Environment, namespace: str, service: str, seconds: float, kinds: Iterable[str] = KINDS
) -> tuple[Objects, str]:
    """The objects of a namespace, and the error if its EndpointSlices may not be read ("": they may)."""
    end = time.monotonic() + seconds
    found: list[tuple[Mapping[str, Any], None, None]] = []
    unread: dict[str, str] = {}
    refused = ""
    left = list(kinds)
    redactor = Redactor()
    try:
        config = find_cluster(environment=environment)
        redactor = config.redactor
        authorization = config.authorization(time.monotonic())
        headers = {"accept": "application/json"} | ({"authorization": authorization} if authorization else {})
        backend = InterruptibleBackend(lambda: end)
        with httpcore.ConnectionPool(ssl_context=config.ssl_context(), network_backend=backend) as pool:
            while left:
                kind, plural = left[0], plural_of(left[0])
                url = f"{config.server}/{KINDS[kind]}/namespaces/{namespace}/{plural}"
                status, body = _get(pool, url, headers)
                body = redactor.raw(body)
                left.pop(0)
                what = f"{plural} of {namespace}"
                if status == 200:
                    listed = _field(body, "items")
                    if isinstance(listed, list):
                        found += [
                            ({**one, "kind": kind}, None, None) for one in listed if isinstance(one, dict)
                        ]
                    else:
                        unread[kind] = f"{what}: more than {MAX_BYTES:,} bytes, or no JSON"
                    continue
                reason = _field(body, "message") or "no reason is given"
                message = printable(str(reason), 300)
                unread[kind] = f"{what}: {status} {message}"
                said = f"the API server does not accept the token: {message}"
                if status == 403:
                    who = who_was_refused(message)
                    unread[kind] = f"{what}: may not be listed by {who or 'this account'}"
                    said = forbidden_text(namespace, service, who, environment.namespace())
                if kind == "EndpointSlice" and status in (401, 403):
                    refused = said
    except FAILURES as error:
        # For all kinds alike: that there is no server, no token, no answer.
        said = "no answer in time" if isinstance(error, TimeoutError) else redactor.text(str(error))
        first = said.partition(". ")[0] or type(error).__name__
        unread |= dict.fromkeys(left, f"the API server: {printable(first, 300)}")
        if isinstance(error, ConfigurationError):
            refused = refused or str(error)
    objects = Objects.of(found, namespace)
    objects.unread, objects.is_asked = unread, True
    return objects, refused


def plural_of(kind: str) -> str:
    """What the API calls several of a kind."""
    return f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s"


def _get(pool: httpcore.ConnectionPool, url: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Status and body, little more than `MAX_BYTES` of it."""
    with pool.stream("GET", url, headers=list(headers.items())) as response:
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > MAX_BYTES:
                break
        return response.status, bytes(body)


def _field(body: bytes, key: str) -> Any:
    """A field of a JSON object; None if it is too long, or there is none."""
    try:
        return json.loads(body)[key] if len(body) <= MAX_BYTES else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
