"""Clients of the API server: a synchronous one for tests, and what it shares with the agent's.

A test may call from any thread, inside the cluster's network or outside. Each request has a connection of its
own, so that nothing stays open between calls: a test that looks for leaks finds only its own.
"""

from __future__ import annotations

import builtins
import json
import ssl
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx

from ._certificates import ADMIN_TOKEN, sign_token
from ._network import API

Json = dict[str, Any]

# The group and version of each kind that tests use; the plural is the kind in lower case with an s.
_GROUPS = {
    "apps/v1": ("ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"),
    "v1": (
        "ConfigMap", "Endpoint", "Event", "Namespace", "Node", "PersistentVolumeClaim", "Pod", "Secret",
        "Service", "ServiceAccount",
    ),
    "rbac.authorization.k8s.io/v1": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "discovery.k8s.io/v1": ("EndpointSlice",),
    "batch/v1": ("Job",),
    "policy/v1": ("PodDisruptionBudget",),
}  # fmt: skip
_GROUP = {kind: group for group, kinds in _GROUPS.items() for kind in kinds}
_LEEWAY = 60.0
_CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "Namespace", "Node"}


class ApiError(Exception):
    """The API server refused: `status` is the HTTP status, `message` its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class Api:
    """The API server, as its administrator sees it."""

    def __init__(
        self, folder: Path, issuer: str, entered: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._folder, self._issuer, self._entered = folder, issuer, entered
        self._http = client(folder)

    def get(self, path: str) -> Json:
        """The object at a path such as `/api/v1/namespaces/default/pods/web-0`. Raises `ApiError`."""
        return self.request("GET", path)

    def post(self, path: str, body: Json) -> Json:
        """Creates an object in the collection at the path."""
        return self.request("POST", path, body)

    def put(self, path: str, body: Json) -> Json:
        """Replaces an object."""
        return self.request("PUT", path, body)

    def patch(self, path: str, body: object, kind: str = "strategic-merge-patch") -> Json:
        """Changes an object; `kind` is `strategic-merge-patch`, `merge-patch` or `json-patch`."""
        return self.request("PATCH", path, body, f"application/{kind}+json")

    def delete(self, path: str, body: Json | None = None) -> Json:
        """Deletes an object, or a collection."""
        return self.request("DELETE", path, body)

    def request(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Json:
        """Any request. Raises `ApiError` for a status of 400 and more, `httpx.HTTPError` without answer."""
        content = None if body is None else json.dumps(body)
        with self._entered():
            answer = self._http.request(method, path, content=content, headers={"content-type": kind})
        return read(answer)

    def list(self, kind: str, namespace: str | None = None, labels: str = "") -> builtins.list[Json]:
        """All objects of a kind, of one namespace or of all, that a label selector admits."""
        query = f"?labelSelector={quote(labels)}" if labels else ""
        items: builtins.list[Json] = self.get(self.path(kind, namespace) + query)["items"]
        return items

    def path(self, kind: str, namespace: str | None, name: str | None = None) -> str:
        """Where objects of a kind are, or one of them. `LookupError` names the kinds that are known here."""
        if kind not in _GROUP:
            raise LookupError(f"{kind!r} is no kind that is known here: {', '.join(sorted(_GROUP))}")
        return path(_GROUP[kind], kind, namespace, name)

    def apply(
        self, objects: Path | str | Json | Iterable[Json], namespace: str | None = None
    ) -> builtins.list[Json]:
        """Server-side apply, as `kubectl apply --server-side` does it; the objects as they are now.

        `objects`: one, several, YAML or JSON text, or the path of a file with such text. An object that names
        no namespace goes to `namespace`, else to `default`; a namespace that is not there is made.
        `ValueError` where something is no object, before any is applied.
        """
        applied = []
        for given in _objects(objects):
            item = {**given, "metadata": dict(given["metadata"])}
            kind, metadata = item["kind"], item["metadata"]
            if kind not in _CLUSTER_WIDE:
                metadata.setdefault("namespace", namespace or "default")
                self.ensure_namespace(metadata["namespace"])
            where = path(item["apiVersion"], kind, metadata.get("namespace"), metadata["name"])
            query = "?fieldManager=tests&force=true"
            applied.append(self.request("PATCH", where + query, item, "application/apply-patch+yaml"))
        return applied

    def ensure_namespace(self, name: str) -> None:
        """Makes a namespace, unless it is there, and waits for the account that its pods run as."""
        try:
            self.post("/api/v1/namespaces", {"metadata": {"name": name}})
        except ApiError as error:
            if error.status != 409:
                raise
        deadline = time.monotonic() + 30
        while True:  # a pod that is created before it is refused
            try:
                self.get(self.path("ServiceAccount", name, "default"))
                return
            except ApiError as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def token(self, namespace: str, serviceaccount: str = "default", seconds: float = 3600) -> str:
        """A token of a service account, good for that long.

        The API server gives none for less than ten minutes; a shorter one is signed here, with the same key.
        The server remembers for up to ten seconds that a token was good.
        """
        where = self.path("ServiceAccount", namespace, serviceaccount)
        if seconds >= 600:
            body = self.post(f"{where}/token", {"spec": {"expirationSeconds": int(seconds)}})
            return str(body["status"]["token"])
        uid = self.get(where)["metadata"]["uid"]
        return sign_token(self._folder, claims(self._issuer, namespace, serviceaccount, uid, seconds))

    def close(self) -> None:
        """Ends it."""
        self._http.close()


def path(group: str, kind: str, namespace: str | None, name: str | None = None) -> str:
    """Where the API has objects of a kind."""
    parts = ["/api/v1" if group == "v1" else f"/apis/{group}"]
    if namespace is not None and kind not in _CLUSTER_WIDE:
        parts.append(f"namespaces/{namespace}")
    parts.append(f"{kind.lower()}s")
    return "/".join(parts if name is None else [*parts, name])


def claims(issuer: str, namespace: str, account: str, uid: str, seconds: float) -> Json:
    """What a token of a service account says that is to be refused after so many seconds.

    The API server accepts a token for a minute more than it says (pkg/serviceaccount/claims.go, by the
    default of its library), so this one's time is over by its own word before.
    """
    end = time.time() + seconds - _LEEWAY
    return {
        "iss": issuer,
        "aud": [issuer],
        "sub": f"system:serviceaccount:{namespace}:{account}",
        "iat": int(end - seconds),
        "nbf": int(end - seconds),
        "exp": int(end),
        "jti": str(uuid.uuid4()),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
    }


def read(answer: httpx.Response) -> Json:
    """The object in an answer. Raises `ApiError` where it is a refusal."""
    try:
        body: Json = answer.json()
    except ValueError:
        body = {"message": answer.text[:500]}
    if answer.status_code >= 400:
        raise ApiError(answer.status_code, str(body.get("message", body)))
    return body


def client(folder: Path) -> httpx.Client:
    """A client with the administrator's rights that keeps no connection."""
    return httpx.Client(
        base_url=f"https://{API}",
        verify=ssl.create_default_context(cafile=str(folder / "ca.crt")),
        headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
        limits=httpx.Limits(max_keepalive_connections=0),
        timeout=30,
        trust_env=False,
    )


def async_client(folder: Path, connections: int) -> httpx.AsyncClient:
    """The same for the agent; it keeps its connections."""
    return httpx.AsyncClient(
        base_url=f"https://{API}",
        verify=ssl.create_default_context(cafile=str(folder / "ca.crt")),
        headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
        limits=httpx.Limits(max_connections=connections),
        timeout=httpx.Timeout(30, pool=None),
        trust_env=False,
    )


def _objects(what: Path | str | Json | Iterable[Json]) -> builtins.list[Json]:
    if isinstance(what, Path):
        what = what.read_text()
    objects: builtins.list[Json]
    if isinstance(what, str):
        yaml = import_module("yaml")  # JSON is YAML, too
        try:
            objects = [item for item in yaml.safe_load_all(what) if item]
        except yaml.YAMLError as error:
            raise ValueError(f"no YAML: {error}") from None
    elif isinstance(what, dict):
        one = cast("Json", what)
        objects = one["items"] if one.get("kind") == "List" else [one]
    else:
        objects = builtins.list(what)
    for given in objects:
        try:
            _ = given["apiVersion"], given["kind"], given["metadata"]["name"]
        except (KeyError, TypeError):
            raise ValueError(f"no object with apiVersion, kind and a name: {given!r:.100}") from None
    return objects
