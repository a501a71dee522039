"""The way to the API server, and the credentials: folders and certificates made by the test."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest

from peerdiscover.errors import ConfigurationError
from peerdiscover.sources.environment import Environment
from peerdiscover.sources.kubernetes._config import ClusterConfig, check_arguments, find_cluster
from tests.tools.certificates import Authority, tls_server

SECRET = "canary-5e7a"


class Pod:
    """What the kubelet puts into a pod, in a folder of the test's."""

    def __init__(self, folder: Path) -> None:
        self.account = folder / "serviceaccount"
        self.account.mkdir()
        self.home = folder / "home"
        self.token = self.account / "token"
        self.ca = self.account / "ca.crt"
        self.token.write_text(f"{SECRET}\n")
        (self.account / "namespace").write_text("moon")

    def environment(self, environ: Mapping[str, str] | None = None) -> Environment:
        found = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
        return Environment(
            environ={"HOME": str(self.home), **(found if environ is None else environ)},
            namespace_file=self.account / "namespace",
        )


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"), "cluster-ca")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "other-ca")


# Where the server is


def test_a_pod_needs_no_settings(pod: Pod) -> None:
    access = find_cluster(environment=pod.environment())
    assert access.server == "https://10.96.0.1:443"
    assert access.authorization(0.0) == f"Bearer {SECRET}"
    assert str(pod.account) in access.describe()


@pytest.mark.parametrize(
    ("environ", "server"),
    [
        ({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, "https://[fd00::1]:6443"),
        ({"KUBERNETES_SERVICE_HOST": "kubernetes.default"}, "https://kubernetes.default:443"),
    ],
)
def test_what_the_environment_of_a_pod_says(pod: Pod, environ: Mapping[str, str], server: str) -> None:
    assert find_cluster(environment=pod.environment(environ)).server == server


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
def test_a_name_that_no_host_can_have(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is no server"):
        find_cluster(f"https://{host}:6443")


def test_a_port_of_the_environment_that_is_none(pod: Pod) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "tcp://10.96.0.1:443"}
    with pytest.raises(ConfigurationError, match="is no server"):
        find_cluster(environment=pod.environment(environ))


def test_what_is_given_goes_before_the_pod(pod: Pod) -> None:
    assert find_cluster("https://arguments:1", environment=pod.environment()).server == "https://arguments:1"
    assert find_cluster(environment=pod.environment()).server == "https://10.96.0.1:443"


def test_no_api_server_is_known_and_what_to_write_then(pod: Pod) -> None:
    """A kubeconfig is not read, wherever it lies."""
    kubeconfig = pod.home / ".kube" / "config"
    kubeconfig.parent.mkdir(parents=True)
    kubeconfig.write_text("{}")
    with pytest.raises(ConfigurationError) as raised:
        find_cluster(environment=pod.environment({"KUBECONFIG": str(kubeconfig)}))
    assert str(raised.value).startswith("no API server is known: ")
    for said in (
        "KUBERNETES_SERVICE_HOST",
        "Kubernetes(server=…, ca=…, token=…)",
        'server="http://127.0.0.1:8001"',
        "kubectl proxy",
    ):
        assert said in str(raised.value)
    assert "kubeconfig" not in str(raised.value).lower()


def test_a_server_that_is_given_gets_no_token_that_is_found(pod: Pod) -> None:
    access = find_cluster("https://other:6443/", environment=pod.environment())
    assert access.authorization(0.0) is None
    assert access.server == "https://other:6443"


def test_token_and_ca_win_over_what_is_found(pod: Pod, tmp_path: Path, authority: Authority) -> None:
    in_pod = find_cluster(token="given", ca=authority.ca, environment=pod.environment())
    assert in_pod.authorization(0.0) == "Bearer given"
    assert in_pod.ssl_context().cert_store_stats()["x509_ca"] == 1, "the pod has no ca.crt here: not read"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"server": "10.96.0.1:443"}, "https://HOST:PORT"),
        ({"server": ""}, "https://HOST:PORT"),
        ({"server": "https://"}, "https://HOST:PORT"),
        ({"server": "https://a:port"}, "https://HOST:PORT"),
        ({"server": "https://a:443 "}, "https://HOST:PORT"),
        ({"server": "https://a/?x=1"}, "https://HOST:PORT"),
        ({"server": "https://[fd00::1"}, "https://HOST:PORT"),
        ({"server": 5}, "https://HOST:PORT"),
        ({"server": f"https://me:{SECRET}@a:1"}, "user name"),
        ({"server": "http://127.0.0.1:8001", "token": SECRET}, "https only"),
        ({"server": "http://10.0.0.1:8001"}, "loopback only"),
        ({"token": ""}, "printable ASCII"),
        ({"token": f"{SECRET}\nx"}, "printable ASCII"),
        ({"token": f"{SECRET}ä"}, "printable ASCII"),
        ({"token": SECRET.encode()}, "printable ASCII"),
        ({"token": "/var/run/secrets/kubernetes.io/serviceaccount/token"}, "the token itself"),
        ({"ca": ""}, "the path of a file"),
        ({"ca": 5}, "the path of a file"),
    ],
)
def test_arguments_that_cannot_be_right(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        check_arguments(**arguments)  # type: ignore[arg-type]  # that is the point
    assert said in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("server", ["http://127.0.0.1:8001", "http://[::1]:8001", "http://localhost:8001/"])
def test_plain_http_on_loopback_without_a_token(server: str) -> None:
    assert find_cluster(server).server == server.rstrip("/")


# Tokens


def test_a_token_file_is_read_again_when_the_last_reading_is_old(pod: Pod) -> None:
    access = find_cluster(environment=pod.environment())
    assert access.authorization(1000.0) == f"Bearer {SECRET}"
    pod.token.write_text("second")
    assert access.authorization(1060.0) == f"Bearer {SECRET}"
    assert access.authorization(1060.5) == "Bearer second"


def test_a_refused_token_is_read_again_at_once(pod: Pod) -> None:
    access = find_cluster(environment=pod.environment())
    assert access.authorization(1000.0) == f"Bearer {SECRET}"
    pod.token.write_text("second")
    access.refused()
    assert access.authorization(1000.1) == "Bearer second"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"two\nlines", b"\xff\xfe", "folder"])
def test_the_old_token_stays_while_the_file_gives_none(pod: Pod, content: bytes | str | None) -> None:
    access = find_cluster(environment=pod.environment())
    access.authorization(1000.0)
    pod.token.unlink()
    if content == "folder":
        pod.token.mkdir()
    elif isinstance(content, bytes):
        pod.token.write_bytes(content)
    access.refused()
    assert access.authorization(1001.0) == f"Bearer {SECRET}"
    assert str(pod.token) in access.describe(), "and it says so"
    if pod.token.is_dir():
        pod.token.rmdir()
    pod.token.write_text("second")
    assert access.authorization(1002.0) == "Bearer second", "tried again each time"
    assert "older" not in access.describe()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "automountServiceAccountToken"),
        (b"", "empty"),
        (b"\n", "empty"),
        (f"{SECRET}\n{SECRET}".encode(), "printable ASCII"),
        (f"{SECRET}é".encode(), "printable ASCII"),
        (f"{SECRET}\0".encode(), "printable ASCII"),
    ],
)
def test_a_first_token_that_is_none_is_an_error_that_names_the_file(
    pod: Pod, content: bytes | None, said: str
) -> None:
    pod.token.unlink()
    if content is not None:
        pod.token.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as raised:
        find_cluster(environment=pod.environment()).authorization(0.0)
    assert str(pod.token) in str(raised.value)
    assert SECRET not in str(raised.value)


def test_no_secret_is_shown(pod: Pod) -> None:
    given = find_cluster("https://a:1", token=SECRET)
    for shown in given, find_cluster(environment=pod.environment()):
        assert shown.authorization(0.0) == f"Bearer {SECRET}"
        assert SECRET not in f"{shown!r} {shown} {shown.describe()} {vars(type(shown))}"


# Certificates


def shown_to(server: tuple[str, int], access: ClusterConfig) -> str:
    """What the server saw of the client."""
    context = access.ssl_context()
    with (
        socket.create_connection(server, timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=server[0]) as connection,
    ):
        return connection.recv(65536).decode()


def test_a_server_is_verified_against_the_ca(authority: Authority, other_authority: Authority) -> None:
    with tls_server(authority, *authority.sign("api", "IP:127.0.0.1")) as server:
        url = f"https://127.0.0.1:{server[1]}"
        assert shown_to(server, find_cluster(url, authority.ca)) == "None"
        for ca in other_authority.ca, None:  # None: the system's trust store
            access = find_cluster(url, ca)
            with pytest.raises(ssl.SSLCertVerificationError) as raised:
                shown_to(server, access)
            error = access.certificate_error(raised.value)
            assert url in str(error)
            assert str(ca or "trust store of the system") in str(error)


def test_the_host_is_verified_too(authority: Authority) -> None:
    with tls_server(authority, *authority.sign("named", "DNS:api.internal")) as server:
        url = f"https://127.0.0.1:{server[1]}"
        access = find_cluster(url, authority.ca)
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            shown_to(server, access)
        assert "IP address mismatch" in str(access.certificate_error(raised.value))


def test_certificates_are_read_anew_for_each_context(
    authority: Authority, other_authority: Authority, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text(other_authority.ca.read_text())
    access = find_cluster("https://127.0.0.1:1", ca)
    before = access.ssl_context().get_ca_certs()
    ca.write_text(authority.ca.read_text())
    assert access.ssl_context().get_ca_certs() != before


@pytest.mark.parametrize("content", [None, "", "no PEM", "folder"])
def test_a_ca_that_is_none_is_named(pod: Pod, content: str | None) -> None:
    if content == "folder":
        pod.ca.mkdir()
    elif content is not None:
        pod.ca.write_text(content)
    with pytest.raises(ConfigurationError) as raised:
        find_cluster(environment=pod.environment()).ssl_context()
    assert str(pod.ca) in str(raised.value)
