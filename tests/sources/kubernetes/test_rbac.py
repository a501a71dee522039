"""What is said where the EndpointSlices may not be read: parsed as what it is, YAML to apply."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from peerdiscover.sources.kubernetes._rbac import forbidden_text, who_was_refused

yaml: Any = import_module("yaml")  # it has no types of its own

MANIFEST = Path(__file__).parents[3] / "examples" / "manifests" / "read-endpointslices.yaml"
# As the API server of Kubernetes 1.37 writes it.
MESSAGE = (
    'endpointslices.discovery.k8s.io is forbidden: User "{}" cannot list resource "endpointslices" '
    'in API group "discovery.k8s.io" in the namespace "prod"'
)


def to_apply(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Role and RoleBinding, from the line on that says what to do with them."""
    words, marked, manifest = text.partition(":\n")
    assert marked
    assert "kubectl apply -f -" in words
    role, binding = yaml.safe_load_all(manifest)
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Role",
        "name": role["metadata"]["name"],
    }
    return role, binding


@pytest.mark.parametrize(
    "who", ["system:serviceaccount:moon:web", "me@example.com", 'quo"ted', "back\\slash", "a/b%c"]
)
def test_who_was_refused_is_in_the_message_of_the_server(who: str) -> None:
    quoted = who.replace("\\", "\\\\").replace('"', '\\"')
    assert who_was_refused(MESSAGE.format(quoted)) == who


@pytest.mark.parametrize("message", ["", "Forbidden", 'User "x', r'User "\x7f" cannot list'])
def test_a_message_that_tells_nobody(message: str) -> None:
    assert who_was_refused(message) is None


def test_the_role_is_the_one_of_the_manifest() -> None:
    role, binding = to_apply(forbidden_text("moon", "web", "system:serviceaccount:moon:read-endpointslices"))
    _, ours, _ = yaml.safe_load_all(MANIFEST.read_text())
    assert role == ours
    assert role["rules"] == [
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    ]
    assert binding["metadata"]["namespace"] == "moon"


def test_an_account_of_the_same_namespace() -> None:
    text = forbidden_text("moon", "web", "system:serviceaccount:moon:default")
    assert "web" in text
    assert "another" not in text
    assert "alone" not in text
    _, binding = to_apply(text)
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "default", "namespace": "moon"}]


def test_an_account_of_another_namespace_is_told_so() -> None:
    text = forbidden_text("prod", "web", "system:serviceaccount:moon:default")
    assert "belongs to the namespace moon; a Role counts in its own namespace alone" in text
    role, binding = to_apply(text)
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "prod"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "default", "namespace": "moon"}]


def test_bindings_of_two_accounts_are_two() -> None:
    names = {
        to_apply(forbidden_text("prod", "web", f"system:serviceaccount:{who}"))[1]["metadata"]["name"]
        for who in ("prod:default", "moon:default", "prod:other")
    }
    assert len(names) == 3


@pytest.mark.parametrize("who", ["me@example.com", "a/b%c", 'x", kind: Group, name: "system:authenticated'])
def test_a_user_is_quoted(who: str) -> None:
    _, binding = to_apply(forbidden_text("prod", "web", who))
    assert binding["subjects"] == [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": who}]
    assert not {"/", "%"} & set(binding["metadata"]["name"])


def test_nobody_known_is_for_the_reader_to_put_in() -> None:
    text = forbidden_text("prod", "web", None, pod_namespace="moon")
    assert "put in the name" in text
    _, binding = to_apply(text)
    assert binding["subjects"][0]["namespace"] == "moon"


def test_whoever_came_without_credentials_gets_no_role() -> None:
    text = forbidden_text("prod", "web", "system:anonymous")
    assert "no credentials" in text
    assert "kind:" not in text
