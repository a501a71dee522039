"""Through the public door: what a user sees of rights, tokens and certificates, and of secrets never."""

from __future__ import annotations

import logging
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerdiscover import (
    DNS,
    ConfigurationError,
    Discovery,
    Fallback,
    Kubernetes,
    PeerDiscoverError,
    resolve,
)
from tests.cli.running import COMMAND, SECONDS, environment
from tests.tools.certificates import Authority
from tests.tools.cluster import ApiError, Cluster
from tests.tools.cluster._account import ENVIRONMENT, with_account
from tests.waiting import LONG, eventually

from ._pod import Pod

MANIFESTS = Path(__file__).parents[3] / "examples" / "manifests"
ACCOUNT = "read-endpointslices"
# Seconds. The API server remembers for ten more that a token was good.
NEARLY_OVER, OVER = 3.0, -10.0


class Secrets:
    """What must not be shown, and everything that was."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._secrets: list[str] = []
        self._shown: list[str] = []

    def keep(self, secret: str) -> str:
        self._secrets.append(secret)
        return secret

    def show(self, *things: object) -> str:
        """Notes what a user would see of these, and returns it."""
        text = "\n".join(f"{thing} {thing!r}" for thing in things)
        self._shown.append(text)
        return text

    def check(self) -> None:
        records = self._caplog.get_records("call")
        loggers = {record.name.partition(".")[0] for record in records}
        assert {"peerdiscover", "httpcore"} <= loggers, "DEBUG of everything that could show one"
        shown = "\n".join([*self._shown, *(record.getMessage() for record in records)])
        assert self._secrets
        for secret in self._secrets:
            # Of a token a part is enough: the middle says who it is for, and the end is the signature.
            assert not any(part in shown for part in secret.split("."))


@pytest.fixture
def secrets(caplog: pytest.LogCaptureFixture) -> Iterator[Secrets]:
    """Every line that anybody logs during the test is searched for secrets at its end."""
    caplog.set_level(logging.DEBUG)
    found = Secrets(caplog)
    yield found
    found.check()


@pytest.fixture
def reader(cluster: Cluster, namespace: str) -> str:
    """A namespace where the ServiceAccount of the manifest may read, and three pods are ready."""
    manifest = (MANIFESTS / f"{ACCOUNT}.yaml").read_text()
    cluster.api.apply(manifest.replace("namespace: moon", f"namespace: {namespace}"))
    cluster.statefulset("web", 3, namespace=namespace).wait(3)
    return namespace


def test_in_a_pod_nothing_is_set(cluster: Cluster, reader: str, secrets: Secrets, tmp_path: Path) -> None:
    pod = Pod(tmp_path, cluster, reader)
    pod.token.write_text(secrets.keep(cluster.api.token(reader, ACCOUNT)))
    source = pod.source()
    with Discovery("k8s:web:http", source=source) as web:
        assert [peer.key for peer in web.peers] == ["web-0", "web-1", "web-2"]
        secrets.show(source, web, web.explain(), web.status, web.peers)


def test_what_a_refusal_says_is_what_to_apply(
    cluster: Cluster, namespace: str, secrets: Secrets, tmp_path: Path
) -> None:
    pod = Pod(tmp_path, cluster, namespace)
    pod.token.write_text(secrets.keep(cluster.api.token(namespace)))
    cluster.statefulset("web", 2, namespace=namespace).wait(2)
    with pytest.raises(ConfigurationError) as raised:
        resolve("k8s:web:http", source=pod.source())
    assert f"system:serviceaccount:{namespace}:default" in secrets.show(raised.value)
    _, _, manifest = str(raised.value).partition(":\n")
    cluster.api.apply(manifest)
    eventually(lambda: len(resolved_or_nobody(pod)) == 2)


@pytest.mark.parametrize("command", ["wait", "watch", "resolve"])
def test_the_command_line_shows_what_to_apply_once(
    cluster: Cluster, namespace: str, tmp_path: Path, command: str
) -> None:
    token = cluster.api.token(namespace)
    in_pod = with_account(
        tmp_path / "account", cluster.ca, token, namespace, [COMMAND, command, "k8s:web:http"]
    )
    done = subprocess.run(
        in_pod, capture_output=True, text=True, env=environment(**ENVIRONMENT), timeout=SECONDS
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("kind: RoleBinding") == 1
    assert token not in done.stderr
    cluster.api.apply(done.stderr.partition("`kubectl apply -f -`:\n")[2])


def resolved_or_nobody(pod: Pod) -> list[object]:
    """The API server hears of a new Role a moment later."""
    try:
        return list(resolve("k8s:web:http", source=pod.source()))
    except ConfigurationError:
        return []


def test_another_namespace_than_the_roles(
    cluster: Cluster, reader: str, secrets: Secrets, tmp_path: Path
) -> None:
    pod = Pod(tmp_path, cluster, reader)
    pod.token.write_text(secrets.keep(cluster.api.token(reader, ACCOUNT)))
    with pytest.raises(ConfigurationError) as raised:
        resolve("k8s:web.default:http", source=pod.source())
    text = secrets.show(raised.value)
    assert f"belongs to the namespace {reader}; a Role counts in its own namespace alone" in text
    assert 'namespace: "default"' in text


def test_a_certificate_that_does_not_verify(
    cluster: Cluster, namespace: str, secrets: Secrets, tmp_path: Path
) -> None:
    token = secrets.keep(cluster.api.token(namespace))
    another = Authority(tmp_path, "another-ca").ca
    source = Kubernetes(cluster.server, str(another), token)
    with pytest.raises(ConfigurationError) as raised:
        resolve(f"web.{namespace}:http", source=source)
    text = secrets.show(raised.value, source)
    assert cluster.server in text
    assert str(another) in text


def test_a_token_file_that_is_empty(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    pod = Pod(tmp_path, cluster, namespace)
    pod.token.write_text("\n")
    with pytest.raises(ConfigurationError, match="empty") as raised:
        resolve("k8s:web:http", source=pod.source())
    assert str(pod.token) in str(raised.value)


def test_a_token_that_is_over_from_the_start(
    cluster: Cluster, reader: str, secrets: Secrets, tmp_path: Path
) -> None:
    pod = Pod(tmp_path, cluster, reader)
    pod.token.write_text(secrets.keep(cluster.api.token(reader, ACCOUNT, OVER)))
    with pytest.raises(PeerDiscoverError, match="401") as raised:
        resolve("k8s:web:http", source=pod.source(), timeout=3)
    assert str(pod.token.parent) in secrets.show(raised.value)


def test_a_token_that_is_exchanged_in_time_and_one_that_is_late(
    cluster: Cluster, reader: str, secrets: Secrets, tmp_path: Path
) -> None:
    """Both begin with the same token. Their watches begin anew each second; at some time it is over."""
    token = secrets.keep(cluster.api.token(reader, ACCOUNT, NEARLY_OVER))
    pods = [Pod(tmp_path / name, cluster, reader) for name in ("in-time", "late")]
    for pod in pods:
        pod.token.write_text(token)
    in_time, late = (Discovery("k8s:web:http", source=pod.source(timeout_seconds=1)) for pod in pods)
    with in_time, late:
        pods[0].token.write_text(secrets.keep(cluster.api.token(reader, ACCOUNT)))
        eventually(lambda: late.status.failures > 1, timeout=60)
        assert len(late.peers) == 3, "a failure removes nobody"
        assert "401" in secrets.show(late.status.error, late.explain(), late.status)

        lookups = in_time.status.lookups
        eventually(lambda: in_time.status.lookups > lookups + 1)
        assert in_time.status.failures == 0, "refused, read again, and nobody noticed"
        secrets.show(in_time.explain(), in_time.status)

        pods[1].token.write_text(secrets.keep(cluster.api.token(reader, ACCOUNT)))
        eventually(lambda: not late.status.stale, timeout=40)


def test_with_a_fallback_a_right_that_comes_late_is_used(
    cluster: Cluster, namespace: str, secrets: Secrets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pod = Pod(tmp_path, cluster, namespace)
    pod.token.write_text(secrets.keep(cluster.api.token(namespace)))
    cluster.statefulset("web", 2, namespace=namespace).wait(2)
    source = Fallback(pod.source(), DNS([cluster.nameserver], namespace=namespace))
    with Discovery("auto:web:http", source=source) as web:
        web.wait(2, timeout=LONG)
        assert web.status.next_refresh < math.inf, "DNS is asked"
        assert "may not be read" in secrets.show(web.status.watch_error)
        over_dns = list(web.peers)
        cluster.api.apply(resolve_refusal(pod))
        eventually(lambda: web.status.next_refresh == math.inf, timeout=60)
        assert web.status.watch_error is None
        assert list(web.peers) == over_dns
        secrets.show(web.explain(), web.status, source)
    warnings = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    said = [text for text in warnings if text.startswith("auto:web:http: watch failed, falling back to DNS")]
    assert len(said) == 1
    assert f"system:serviceaccount:{namespace}:default" in said[0]


def resolve_refusal(pod: Pod) -> str:
    """What the error says is to be applied."""
    with pytest.raises(ConfigurationError) as raised:
        resolve("k8s:web:http", source=pod.source())
    return str(raised.value).partition(":\n")[2]


@pytest.mark.parametrize("scheme", ["k8s", "auto"])
def test_a_program_in_a_pod(cluster: Cluster, reader: str, scheme: str) -> None:
    """A process in a pod of its own, which has the account and a name, and nothing else."""
    cluster.statefulset(
        "program",
        1,
        namespace=reader,
        command=[sys.executable, str(MANIFESTS.parent / "endpointslices.py")],
        env={"PEERS": f"{scheme}:web:http"},
        pod={"serviceAccountName": ACCOUNT},
    )
    eventually(lambda: "added" in logs(cluster, reader), timeout=60)
    lines = logs(cluster, reader).splitlines()
    assert [re.sub(r" at .*, zone zone-[abc]", "", line) for line in lines[:4]] == [
        "web-0",
        "web-1",
        "web-2",
        "3 added, 0 removed",
    ]


def logs(cluster: Cluster, namespace: str) -> str:
    try:
        return cluster.logs("program-0", namespace)
    except (ApiError, FileNotFoundError):  # there is no such pod yet, or it printed nothing
        return ""
