"""The way to the API server, and the credentials: folders and certificates made by the test."""

from __future__ import annotations

import json
import socket
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from peerdiscover.errors import ConfigurationError
from peerdiscover.sources.environment import Environment
from peerdiscover.sources.kubernetes._config import ClusterConfig, check_arguments, find_cluster
from peerdiscover.sources.kubernetes._kubeconfig import Context, Pem
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

    def surroundings(self, environ: Mapping[str, str] | None = None) -> Environment:
        found = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
        return Environment(
            environ={"HOME": str(self.home), **(found if environ is None else environ)},
            namespace_file=self.account / "namespace",
        )

    def kubeconfig(self, server: str, path: Path | None = None) -> Path:
        """A kubeconfig in the home folder, or at `path`."""
        path = path or self.home / ".kube" / "config"
        path.parent.mkdir(parents=True, exist_ok=True)
        config = {
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": path.name}}],
            "users": [{"name": "u", "user": {"token": SECRET}}],
        }
        path.write_text(json.dumps(config))
        return path


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
    access = find_cluster(surroundings=pod.surroundings())
    assert access.server == "https://10.96.0.1:443"
    assert access.authorization(0.0) == f"Bearer {SECRET}"
    assert access.namespace is None, "the pod's own is what surroundings tell"
    assert str(pod.account) in access.describe()


@pytest.mark.parametrize(
    ("environ", "server"),
    [
        ({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, "https://[fd00::1]:6443"),
        ({"KUBERNETES_SERVICE_HOST": "kubernetes.default"}, "https://kubernetes.default:443"),
    ],
)
def test_what_the_environment_of_a_pod_says(pod: Pod, environ: Mapping[str, str], server: str) -> None:
    assert find_cluster(surroundings=pod.surroundings(environ)).server == server


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
def test_a_name_that_no_host_can_have(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is no server"):
        find_cluster(f"https://{host}:6443")


def test_a_port_of_the_environment_that_is_none(pod: Pod) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "tcp://10.96.0.1:443"}
    with pytest.raises(ConfigurationError, match="is no server"):
        find_cluster(surroundings=pod.surroundings(environ))


def test_what_goes_first(pod: Pod, tmp_path: Path) -> None:
    in_pod = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    pod.kubeconfig("https://home:1")
    listed, given = tmp_path / "listed", tmp_path / "given"
    pod.kubeconfig("https://listed:1", listed)
    pod.kubeconfig("https://given:1", given)
    everything = pod.surroundings({**in_pod, "KUBECONFIG": f":{listed}:"})
    assert find_cluster("https://arguments:1", surroundings=everything).server == "https://arguments:1"
    assert find_cluster(kubeconfig=given, surroundings=everything).server == "https://given:1"
    assert find_cluster(surroundings=everything).server == "https://listed:1"
    assert find_cluster(surroundings=pod.surroundings(in_pod)).server == "https://10.96.0.1:443"
    at_home = find_cluster(surroundings=pod.surroundings({}))
    assert (at_home.server, at_home.namespace) == ("https://home:1", "config")


def test_nothing_found_says_what_was_looked_for(pod: Pod) -> None:
    with pytest.raises(ConfigurationError) as raised:
        find_cluster(surroundings=pod.surroundings({}))
    for said in (
        "KUBERNETES_SERVICE_HOST",
        "KUBECONFIG",
        str(pod.home / ".kube" / "config"),
        "server=",
        "token=",
    ):
        assert said in str(raised.value)


def test_a_server_that_is_given_gets_no_token_that_is_found(pod: Pod) -> None:
    pod.kubeconfig("https://home:1")
    access = find_cluster("https://other:6443/", surroundings=pod.surroundings())
    assert access.authorization(0.0) is None
    assert access.server == "https://other:6443"


def test_token_and_ca_win_over_what_is_found(pod: Pod, tmp_path: Path, authority: Authority) -> None:
    in_pod = find_cluster(token="given", ca=authority.ca, surroundings=pod.surroundings())
    assert in_pod.authorization(0.0) == "Bearer given"
    assert in_pod.ssl_context().cert_store_stats()["x509_ca"] == 1, "the pod has no ca.crt here: not read"
    with_file = find_cluster(token="given", kubeconfig=pod.kubeconfig("https://given:1", tmp_path / "given"))
    assert with_file.server == "https://given:1"
    assert with_file.authorization(0.0) == "Bearer given"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"server": "https://a:1", "kubeconfig": "x"}, "both say which server"),
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
        ({"kubeconfig": 5}, "the path of a file"),
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


def test_the_servers_of_files_are_checked_like_those_of_arguments(pod: Pod) -> None:
    path = pod.kubeconfig("http://127.0.0.1:8001")  # with a token
    with pytest.raises(ConfigurationError, match="https only") as raised:
        find_cluster(surroundings=pod.surroundings({}))
    assert str(path) in str(raised.value)


# Tokens


def test_a_token_file_is_read_again_when_the_last_reading_is_old(pod: Pod) -> None:
    access = find_cluster(surroundings=pod.surroundings())
    assert access.authorization(1000.0) == f"Bearer {SECRET}"
    pod.token.write_text("second")
    assert access.authorization(1060.0) == f"Bearer {SECRET}"
    assert access.authorization(1060.5) == "Bearer second"


def test_a_refused_token_is_read_again_at_once(pod: Pod) -> None:
    access = find_cluster(surroundings=pod.surroundings())
    assert access.authorization(1000.0) == f"Bearer {SECRET}"
    pod.token.write_text("second")
    access.refused()
    assert access.authorization(1000.1) == "Bearer second"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"two\nlines", b"\xff\xfe", "folder"])
def test_the_old_token_stays_while_the_file_gives_none(pod: Pod, content: bytes | str | None) -> None:
    access = find_cluster(surroundings=pod.surroundings())
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
        find_cluster(surroundings=pod.surroundings()).authorization(0.0)
    assert str(pod.token) in str(raised.value)
    assert SECRET not in str(raised.value)


def test_no_secret_is_shown(pod: Pod, authority: Authority) -> None:
    _, key = authority.sign("shown")
    text = Pem("client-key-data of user 'u'", text=f"{SECRET}{key.read_text()}")
    context = Context("https://a:1", "a test", token=SECRET, certificate=text, key=text)
    for shown in (ClusterConfig(context), context, text, find_cluster(surroundings=pod.surroundings())):
        assert SECRET not in f"{shown!r} {shown} {vars(type(shown))}"


# Certificates


def shown_to(server: tuple[str, int], access: ClusterConfig) -> str:
    """What the server saw of the client."""
    with socket.create_connection(server, timeout=5) as plain:
        name = access.tls_server_name or server[0]
        with access.ssl_context().wrap_socket(plain, server_hostname=name) as connection:
            return connection.recv(65536).decode()


def inline(path: Path, where: str) -> Pem:
    return Pem(where, text=path.read_text())


def test_a_server_is_verified_against_the_ca(authority: Authority, other_authority: Authority) -> None:
    with tls_server(authority, *authority.sign("api", "IP:127.0.0.1")) as server:
        url = f"https://127.0.0.1:{server[1]}"
        assert shown_to(server, find_cluster(url, authority.ca)) == "None"
        assert shown_to(server, ClusterConfig(Context(url, "", ca=inline(authority.ca, "text")))) == "None"
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
        ca = Pem("ca", path=authority.ca)
        assert (
            shown_to(server, ClusterConfig(Context(url, "", ca=ca, tls_server_name="api.internal"))) == "None"
        )


def test_a_client_certificate_from_files_and_from_text(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = authority.sign("client", subject="/O=readers/CN=reader")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    of_file = [Pem(str(path), path=path) for path in (certificate, key)]
    of_text = [inline(path, "text") for path in (certificate, key)]
    with tls_server(authority, *authority.sign("api2", "IP:127.0.0.1")) as server:
        for shown, secret in (of_file, of_file), (of_text, of_text), (of_file, of_text), (of_text, of_file):
            context = Context(
                f"https://127.0.0.1:{server[1]}",
                "",
                ca=Pem("ca", path=authority.ca),
                certificate=shown[0],
                key=secret[1],
            )
            assert "('commonName', 'reader')" in shown_to(server, ClusterConfig(context))
            assert list(tmp_path.iterdir()) == [], "the key was in a file only for a moment"


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
        find_cluster(surroundings=pod.surroundings()).ssl_context()
    assert str(pod.ca) in str(raised.value)


def test_client_certificates_that_cannot_be_used(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    certificate, key = authority.sign("right")
    _, others = authority.sign("others")
    locked = authority.with_passphrase(key)
    missing = certificate.with_name("missing.crt")
    ours = inline(certificate, "client-certificate-data of user 'u'")
    for shown, secret, said in (
        (ours, inline(others, "its key"), "another certificate's"),
        (ours, inline(locked, "its key"), "passphrase"),
        (ours, Pem("its key", text=f"-----BEGIN {SECRET}"), "not PEM"),
        (ours, Pem(str(missing), path=missing), "No such file"),
    ):
        with pytest.raises(ConfigurationError, match=said) as raised:
            ClusterConfig(Context("https://a:1", "", certificate=shown, key=secret)).ssl_context()
        assert secret.where in str(raised.value)
        assert SECRET not in str(raised.value)
        assert list(tmp_path.iterdir()) == []


def test_a_key_is_readable_by_us_alone_while_it_is_a_file(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = authority.sign("private")
    modes: list[int] = []

    class Watched(ssl.SSLContext):
        def load_cert_chain(self, *paths: Any, **rest: Any) -> None:
            modes.extend(path.stat().st_mode & 0o777 for path in paths)
            super().load_cert_chain(*paths, **rest)

    monkeypatch.setattr(ssl, "create_default_context", lambda: Watched(ssl.PROTOCOL_TLS_CLIENT))
    context = Context("https://a:1", "", certificate=inline(certificate, "c"), key=inline(key, "k"))
    ClusterConfig(context).ssl_context()
    assert modes == [0o600, 0o600]
