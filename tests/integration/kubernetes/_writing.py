"""EndpointSlices that are written in a hurry.

Invariants:

* One writer writes one change after the other, so each write is a moment: the Service's state is then the
  ready endpoints of all its slices. Where the API server does not answer, the writer looks whether its write
  was done, and else does it again.
* The writer need not be believed: etcd, which the API server stands on, keeps each revision and is asked
  for all of them. Both must tell the same story.
"""

from __future__ import annotations

import json
import random
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.tools.cluster import Api, ApiError, Cluster
from tests.tools.cluster._parts import ETCD

from ._history import Moment

Json = dict[str, Any]

PORT = 8080
PATIENCE = 60.0  # seconds for one write, a restart of the API server included
RETRY = 0.05


def endpoint(number: int, *, ready: bool = True) -> Json:
    """A pod that does not exist: nobody will connect to it."""
    return {
        "addresses": [f"10.245.{number // 250}.{number % 250 + 1}"],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        "targetRef": {"kind": "Pod", "name": f"pod-{number}", "uid": f"00000000-0000-0000-0000-{number:012}"},
        "nodeName": "node-1",
        "zone": "zone-a",
    }


def service(namespace: str, name: str) -> Json:
    """A headless Service without a selector: its slices are ours, no controller touches them."""
    ports = [{"name": "http", "port": PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": "None", "ports": ports},
    }


def slice_of(namespace: str, name: str, service: str, endpoints: Sequence[Json]) -> Json:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service, "service.kubernetes.io/headless": ""},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


@dataclass
class _Slice:
    endpoints: list[Json]
    version: str = ""


@dataclass(frozen=True)
class Write:
    """One change of one slice, and the state that began with it."""

    moment: Moment
    slice: str
    version: str
    """The resourceVersion; "" for the end of a slice, whose answer does not tell it."""


class Writer:
    """Writes the slices of one Service, and remembers what it wrote.

    Endpoints come, go, become ready and unready, and move to another slice, where for a moment they stand
    twice or not at all. Slices come and go. One endpoint of each of the first three slices is never without
    a slice and always ready.
    """

    def __init__(self, api: Api, namespace: str, service: str, *, seed: int) -> None:
        self._api, self._namespace, self._service = api, namespace, service
        self._random = random.Random(seed)
        self._numbers = iter(range(1, 50_000))
        self._slices: dict[str, _Slice] = {}
        self.writes: list[Write] = []
        self.retries = 0

    def begin(self) -> None:
        """Three slices of eight endpoints each."""
        self._api.post(self._api.path("Service", self._namespace), service(self._namespace, self._service))
        for _ in range(3):
            self._put(self._new_name(), [self._new() for _ in range(8)])
        self._anchors = {key(one.endpoints[0]) for one in self._slices.values()}

    def end(self) -> None:
        """A last write, which ends no slice: its revision is known, and is the last one."""
        name, one = next(iter(self._slices.items()))
        self._put(name, [*one.endpoints, self._new()])

    def changes(self) -> Iterator[None]:
        """Changes without end: one write each time it is asked."""
        while True:
            yield from self._one_change()

    def _one_change(self) -> Iterator[None]:
        name = self._random.choice(list(self._slices))
        endpoints = self._slices[name].endpoints
        others = [one for one in endpoints if key(one) not in self._anchors]
        kind = self._random.choice(["come", "come", "go", "flip", "swap", "move", "move", "slice"])
        if kind == "come" or not others:
            if len(endpoints) < 20:
                self._put(name, [*endpoints, self._new()])
                yield
            return
        chosen = self._random.choice(others)
        rest = [one for one in endpoints if one is not chosen]
        match kind:
            case "go":
                self._put(name, rest)
            case "flip":
                ready = not chosen["conditions"]["ready"]
                flipped = {**chosen, "conditions": {**chosen["conditions"], "ready": ready, "serving": ready}}
                self._put(name, [*rest, flipped])
            case "swap":
                self._put(name, [*rest, self._new()])
            case "move":
                yield from self._move(name, self._random.choice(endpoints))
                return
            case _:
                yield from self._slice_comes_or_goes()
                return
        yield

    def _move(self, name: str, chosen: Json) -> Iterator[None]:
        """To another slice, in two writes. One that must never be missing stands in both meanwhile."""
        to = self._random.choice([other for other in self._slices if other != name])
        there, rest = self._slices[to].endpoints, [e for e in self._slices[name].endpoints if e is not chosen]
        writes: list[Callable[[], None]] = [
            lambda: self._put(to, [*there, chosen]),
            lambda: self._put(name, rest),
        ]
        if key(chosen) not in self._anchors and self._random.random() < 0.5:
            writes.reverse()
        for write in writes:
            write()
            yield

    def _slice_comes_or_goes(self) -> Iterator[None]:
        """There are three to six; one with an endpoint that must stay stays."""
        free = [
            name
            for name, one in self._slices.items()
            if not self._anchors.intersection(map(key, one.endpoints))
        ]
        if free and (len(self._slices) == 6 or self._random.random() < 0.5) and len(self._slices) > 3:
            self._remove(self._random.choice(free))
            yield
        elif len(self._slices) < 6:
            self._put(self._new_name(), [self._new() for _ in range(3)])
            yield

    def _new(self) -> Json:
        return endpoint(next(self._numbers))

    def _new_name(self) -> str:
        return f"{self._service}-{next(self._numbers)}"

    # One write, until it is done.

    def _put(self, name: str, endpoints: list[Json]) -> None:
        began, before = time.monotonic(), self._slices.get(name)
        body = slice_of(self._namespace, name, self._service, endpoints)
        where = self._api.path("EndpointSlice", self._namespace, name if before else None)
        if before:
            body["metadata"]["resourceVersion"] = before.version
        method = self._api.put if before else self._api.post
        written = self._until_done(lambda: method(where, body), lambda: self._is_written(name, before))
        self._slices[name] = _Slice(endpoints, written["metadata"]["resourceVersion"])
        self._note(began, name, self._slices[name].version)

    def _remove(self, name: str) -> None:
        began = time.monotonic()
        where = self._api.path("EndpointSlice", self._namespace, name)
        self._until_done(lambda: self._api.delete(where), lambda: None if self._read(name) else {})
        del self._slices[name]
        self._note(began, name, "")

    def _until_done(self, write: Callable[[], Json], done: Callable[[], Json | None]) -> Json:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return write()
            except (httpx.HTTPError, ApiError) as error:
                if time.monotonic() > deadline or (isinstance(error, ApiError) and _is_ours(error)):
                    raise
            self.retries += 1
            while True:  # what came of it?
                time.sleep(RETRY)
                try:
                    if (found := done()) is not None:
                        return found
                    break
                except (httpx.HTTPError, ApiError):
                    if time.monotonic() > deadline:
                        raise

    def _is_written(self, name: str, before: _Slice | None) -> Json | None:
        found = self._read(name)
        version = found and found["metadata"]["resourceVersion"]
        return found if version and version != (before and before.version) else None

    def _read(self, name: str) -> Json | None:
        try:
            return self._api.get(self._api.path("EndpointSlice", self._namespace, name))
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def _note(self, began: float, name: str, version: str) -> None:
        ready = frozenset(
            one["addresses"][0]
            for kept in self._slices.values()
            for one in kept.endpoints
            if one["conditions"]["ready"]
        )
        self.writes.append(Write(Moment(began, ready), name, version))


def key(endpoint: Json) -> str:
    return str(endpoint["targetRef"]["uid"])


def _is_ours(error: ApiError) -> bool:
    """A mistake of the writer's own. A server that comes up refuses with 403 before it knows the rights,
    and with 409, 404 what an earlier try of the same write did already.
    """
    return error.status in (400, 405, 415, 422)


# The history that etcd has.


def revisions(cluster: Cluster, namespace: str, last: str) -> list[tuple[str, str]]:
    """Each revision of a namespace's slices, from the beginning to the one called `last`: the slice's name,
    and the revision, "" where that was its end.

    The beginning is the namespace's own: what was before it, etcd may have been told to forget. Raises
    `httpx.HTTPError` where etcd does not come to the last one, or has forgotten the first.
    """
    made = cluster.api.get(cluster.api.path("Namespace", None, namespace))["metadata"]["resourceVersion"]
    prefix = f"/registry/endpointslices/{namespace}/"
    begin, end = (b64encode(text.encode()).decode() for text in (prefix, prefix[:-1] + "0"))
    request = {"create_request": {"key": begin, "range_end": end, "start_revision": int(made)}}
    found: list[tuple[str, str]] = []
    with (
        cluster.inside(),
        httpx.Client(base_url=ETCD, timeout=30, trust_env=False) as etcd,
        etcd.stream("POST", "/v3/watch", json=request) as stream,
    ):
        rest = b""
        for chunk in stream.iter_bytes():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                result = json.loads(line)["result"]
                if result.get("canceled"):
                    raise httpx.StreamError(f"etcd: {result}")
                for event in result.get("events", ()):
                    name = b64decode(event["kv"]["key"]).decode().removeprefix(prefix)
                    revision = event["kv"]["mod_revision"]
                    found.append((name, "" if event.get("type") == "DELETE" else revision))
                    if revision == last:
                        return found
    raise httpx.StreamError("etcd ended its watch")
