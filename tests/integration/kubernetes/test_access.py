"""Rights, tokens and certificates against a real API server, which decides what they are good for."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from peerdiscover.sources.environment import Environment
from peerdiscover.sources.kubernetes._config import ClusterConfig, find_cluster
from peerdiscover.sources.kubernetes._rbac import forbidden_text, who_was_refused
from tests.tools.certificates import Authority
from tests.tools.cluster import Cluster
from tests.waiting import eventually

MANIFESTS = Path(__file__).parents[3] / "examples" / "manifests"
ACCOUNT = "read-endpointslices"


def ask(access: ClusterConfig, path: str, now: float = 0.0) -> httpx.Response:
    """One request, as a watch makes it."""
    authorization = access.authorization(now)
    headers = {} if authorization is None else {"authorization": authorization}
    with httpx.Client(verify=access.ssl_context(), headers=headers, trust_env=False) as client:
        return client.get(access.server + path)


def slices(namespace: str, query: str = "") -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices{query}"


def given(cluster: Cluster, token: str | None = None) -> ClusterConfig:
    return find_cluster(cluster.server, str(cluster.ca), token)


def refusal(response: httpx.Response, namespace: str) -> str:
    """The text that a 403 is made into."""
    assert response.status_code == 403
    return forbidden_text(namespace, "web", who_was_refused(response.json()["message"]))


def to_apply(text: str) -> str:
    _, marked, manifest = text.partition(":\n")
    assert marked
    return manifest


def apply_for(cluster: Cluster, namespace: str) -> None:
    """The manifest, for another namespace than the one that stands in it."""
    manifest = (MANIFESTS / f"{ACCOUNT}.yaml").read_text()
    assert manifest.count("namespace: moon") == 4
    cluster.api.apply(manifest.replace("namespace: moon", f"namespace: {namespace}"))


def test_the_manifest_as_it_stands_is_enough_and_no_more(cluster: Cluster) -> None:
    cluster.api.apply(MANIFESTS / f"{ACCOUNT}.yaml")
    access = given(cluster, cluster.api.token("moon", ACCOUNT))
    eventually(lambda: ask(access, slices("moon")).status_code == 200)
    watch = "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    assert ask(access, slices("moon", f"{watch}&timeoutSeconds=1")).status_code == 200
    for path in (
        slices("default"),
        "/apis/discovery.k8s.io/v1/endpointslices",
        f"{slices('moon')}/any",
        "/api/v1/namespaces/moon/services/any",
        "/api/v1/namespaces/moon/pods",
        "/api/v1/namespaces/moon/secrets",
    ):
        assert ask(access, path).status_code == 403, path

    with httpx.Client(verify=access.ssl_context(), trust_env=False) as client:
        allowed = client.post(
            f"{cluster.server}/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
            headers={"authorization": access.authorization(0.0) or ""},
            json={"spec": {"namespace": "moon"}},
        ).json()["status"]["resourceRules"]
    everybody = {"authorization.k8s.io", "authentication.k8s.io", "certificates.k8s.io"}
    assert [rule for rule in allowed if not everybody & set(rule["apiGroups"])] == [
        {"verbs": ["list", "watch"], "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]}
    ]


def test_what_a_refusal_says_is_what_to_apply(cluster: Cluster, namespace: str) -> None:
    access = given(cluster, cluster.api.token(namespace))
    text = refusal(ask(access, slices(namespace)), namespace)
    assert f"by system:serviceaccount:{namespace}:default." in text
    cluster.api.apply(to_apply(text))
    eventually(lambda: ask(access, slices(namespace)).status_code == 200)


def test_an_account_of_another_namespace(cluster: Cluster, namespace: str) -> None:
    apply_for(cluster, namespace)
    access = given(cluster, cluster.api.token(namespace, ACCOUNT))
    elsewhere = cluster.namespace()
    text = refusal(ask(access, slices(elsewhere)), elsewhere)
    assert f"belongs to the namespace {namespace}; a Role counts in its own namespace alone" in text
    cluster.api.apply(to_apply(text))
    eventually(lambda: ask(access, slices(elsewhere)).status_code == 200)
    cluster.delete_namespace(elsewhere)


def test_without_credentials_no_role_is_offered(cluster: Cluster) -> None:
    text = refusal(ask(given(cluster), slices("default")), "default")
    assert "no credentials" in text
    assert "kind:" not in text


def test_another_ca_than_the_clusters(cluster: Cluster, tmp_path: Path) -> None:
    another = Authority(tmp_path, "another-ca").ca
    access = find_cluster(cluster.server, another, "any")
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        ask(access, slices("default"))


def test_a_token_that_is_over_is_read_again(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """A pod's folder, where the kubelet exchanges the token."""
    apply_for(cluster, namespace)
    token = tmp_path / "token"
    (tmp_path / "ca.crt").write_bytes(cluster.ca.read_bytes())
    host, _, port = cluster.server.removeprefix("https://").partition(":")
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    access = find_cluster(environment=Environment(environ=environ, namespace_file=tmp_path / "namespace"))
    token.write_text(cluster.api.token(namespace, ACCOUNT))
    eventually(lambda: ask(access, slices(namespace)).status_code == 200)
    token.write_text(cluster.api.token(namespace, ACCOUNT, -10))
    assert ask(access, slices(namespace), 1.0).status_code == 200, "not read yet"
    assert ask(access, slices(namespace), 100.0).status_code == 401, "read, and over"
    token.write_text(cluster.api.token(namespace, ACCOUNT))
    assert ask(access, slices(namespace), 101.0).status_code == 401, "not read yet"
    access.refused()
    assert ask(access, slices(namespace), 102.0).status_code == 200
