"""The phases of a watch: which follows which, and what each asks the API server for. Tables; no state.

Invariants:

* What is not in the table cannot happen: a `KeyError` is a mistake in `_reflector`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from urllib.parse import urlencode

PAGE = 20
"""Slices of one page. A slice holds 100 endpoints by default, and 1,000 at most."""
MAX_PAGES = 500
"""Pages of one list."""


class Phase(enum.Enum):
    """What a watch is at."""

    SYNC = "a watch that begins with all that is there (`sendInitialEvents`), up to the bookmark that ends it"
    LIST = "a list, page by page, for servers that refuse that"
    SERVICE = "the Service itself, because there are no slices: is it there?"
    WATCH = "a watch from the last resourceVersion on, or the rest of the stream that SYNC began"


class Signal(enum.Enum):
    """What ends a phase."""

    COMPLETE = "the set is complete"
    NO_SLICES = "the set is complete, and there are no slices"
    CHECKED = "it is known whether there is such a Service"
    UNSUPPORTED = "the server does not know such watches"
    BROKEN = "the stream broke; it resumes at the version"
    FAILED = "an attempt failed; the next set must not be older than the version"
    STALE = "the version is forgotten: the watch's time ended, or what the server said casts doubt on it"


NEXT: Mapping[Phase, Mapping[Signal, Phase]] = {
    Phase.SYNC: {
        Signal.COMPLETE: Phase.WATCH,
        Signal.NO_SLICES: Phase.SERVICE,
        Signal.UNSUPPORTED: Phase.LIST,
        Signal.FAILED: Phase.SYNC,
        Signal.STALE: Phase.SYNC,
    },
    Phase.LIST: {
        Signal.COMPLETE: Phase.WATCH,
        Signal.NO_SLICES: Phase.SERVICE,
        Signal.FAILED: Phase.SYNC,
        Signal.STALE: Phase.SYNC,
    },
    Phase.SERVICE: {Signal.CHECKED: Phase.WATCH},
    Phase.WATCH: {Signal.BROKEN: Phase.WATCH, Signal.FAILED: Phase.SYNC, Signal.STALE: Phase.SYNC},
}

_QUERY: Mapping[Phase, Mapping[str, str]] = {
    Phase.SYNC: {"watch": "1", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"},
    Phase.LIST: {},
    Phase.WATCH: {"watch": "1"},
}


def request_path(
    phase: Phase, namespace: str, service: str, version: str, next_page: str, seconds: int
) -> str:
    """Path and query of a phase's request. `seconds`: for how long a watch is open."""
    if phase is Phase.SERVICE:
        return f"/api/v1/namespaces/{namespace}/services/{service}"
    query = {"labelSelector": f"kubernetes.io/service-name={service}", **_QUERY[phase]}
    if phase is Phase.LIST:
        query["limit"] = str(PAGE)
        if next_page:
            query["continue"] = next_page
    else:
        if version:
            query["resourceVersion"] = version
        query |= {"allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
    return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{urlencode(query)}"
