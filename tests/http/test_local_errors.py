"""What is this process's own fault, or its client's, is no pod's: none is ejected, and the error names it."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.tools.certificates import Authority

from ._flavors import Web, web
from ._pods import Pod, Request, pods, scripted
from .test_protocols import SECURE, server, trusting


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "a CA of our own", complete=True)


def blames_no_pod(client: Web) -> bool:
    return bool(client.discovery.status.next_refresh > 100) and "in a row" not in client.discovery.explain()


@contextmanager
def no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = os.dup(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 50, hard))
    taken = [last]
    try:
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_descriptors_are_left(flavor: str) -> None:
    # No connection is kept: closing one would leave a descriptor for the next.
    options: dict[str, Any] = {
        "limits": httpx.Limits(max_keepalive_connections=0),
        "client": {"timeout": 600},
    }
    with pods(2) as service, web(flavor, service.source, **options) as client:
        for _ in service.all:  # the transport is in use
            assert client.get().status_code == 200
        for pod in service.all:
            assert pod.ended.acquire(timeout=20)
        with no_descriptors(), pytest.raises(client.api.ConnectError, match="no file descriptors left"):
            client.post()
        assert blames_no_pod(client)
        assert client.post().status_code == 200


def test_https_at_pods_that_speak_http(flavor: str, authority: Authority) -> None:
    verify = trusting(authority.ca)
    options: dict[str, Any] = {"verify": verify, "client": {"timeout": 600}}
    with pods(2) as service, web(flavor, service.source, **options) as client:
        with pytest.raises(client.api.ConnectError, match=r"2 attempts.*do not speak TLS"):
            client.post(host=SECURE)
        assert blames_no_pod(client)


def asking_for_certificates(authority: Authority) -> ssl.SSLContext:
    context = server(authority, "asking", "web.prod")
    context.load_verify_locations(authority.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_client_certificate_that_is_missing(flavor: str, authority: Authority) -> None:
    """TLS 1.3 says so after the handshake: the request was written, and no pod processed it."""
    options: dict[str, Any] = {"verify": trusting(authority.ca), "client": {"timeout": 600}}
    with (
        pods(2, asking_for_certificates(authority)) as service,
        web(flavor, service.source, **options) as client,
    ):
        with pytest.raises(client.api.TransportError, match=r"2 attempts.*refuse the client certificate"):
            client.post(host=SECURE)
        assert blames_no_pod(client)
        assert not service.requests


def test_certificates_that_are_renewed_on_disk(flavor: str, authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger", complete=True)
    files = {"cert": tmp_path / "mounted.pem", "key": tmp_path / "mounted.key", "ca": tmp_path / "mounted.ca"}

    def mount(signer: Authority) -> None:
        certificate, key = signer.sign("client", "DNS:client")
        shutil.copy(certificate, files["cert"])
        shutil.copy(key, files["key"])
        shutil.copy(signer.ca, files["ca"])

    mount(stranger)
    options: dict[str, Any] = {
        "verify": str(files["ca"]),
        "cert": (str(files["cert"]), str(files["key"])),
    }
    with (
        pods(1, asking_for_certificates(authority)) as service,
        web(flavor, service.source, **options) as client,
    ):
        with pytest.raises(client.api.ConnectError, match="not fix certificates"):
            client.post(host=SECURE)
        files["cert"].write_text("half written")
        with pytest.raises(client.api.ConnectError, match="not fix certificates"):
            client.post(host=SECURE)
        mount(authority)
        assert client.post(host=SECURE).status_code == 200


def large_head(_: Pod, sock: socket.socket, __: Request) -> bool:
    sock.sendall(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 300_000 + b"\r\ncontent-length: 0\r\n\r\n")
    return True


def test_a_head_that_is_too_large(flavor: str) -> None:
    with scripted(large_head, 3) as service, web(flavor, service.source) as client:
        with pytest.raises(client.api.RemoteProtocolError, match="the head of its response is larger"):
            client.get()
        assert len(service.requests) == 1
        assert blames_no_pod(client)


def rubbish(_: Pod, sock: socket.socket, __: Request) -> bool:
    sock.sendall(b"\x1b[31mHTTP" + b"x" * 5_000 + b" 200 OK\r\n\r\n")
    return False


def test_what_a_pod_wrote_colours_no_terminal_and_fills_no_log(flavor: str) -> None:
    with scripted(rubbish) as service, web(flavor, service.source) as client:
        with pytest.raises(client.api.RemoteProtocolError) as error:
            client.post()
        for text in (str(error.value), *error.value.__notes__):
            assert text.isprintable()
            assert len(text) < 700
