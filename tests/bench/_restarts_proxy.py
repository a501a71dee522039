"""HAProxy between a client and the pods: with `resolvers` and `server-template`, plain and tuned.

Plain is what its manual shows for a headless name, with the TTL as `hold valid`. Tuned adds what a
rolling restart asks for: checks each second, connections given up after 0.3 s, another server then, and for
a request that came to nothing, too. That is for POST as for GET: here each POST has a key.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.tools.cluster import Cluster

from ._restarts_client import PROXY

_COMMON = """
global
    maxconn 4000
resolvers cluster
    nameserver coredns {nameserver}:53
    accepted_payload_size 1232
    hold valid {ttl}s
defaults
    mode http
    timeout client 30s
    timeout server 5s
"""
_PLAIN = """
    timeout connect 5s
frontend in
    bind {proxy}
    default_backend web
backend web
    balance roundrobin
    server-template web 10 {fqdn}:{port} resolvers cluster init-addr none
"""
_TUNED = """
    timeout connect 300ms
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response response-timeout
frontend in
    bind {proxy}
    default_backend web
backend web
    balance roundrobin
    server-template web 10 {fqdn}:{port} resolvers cluster init-addr none check inter 1s
"""


@contextmanager
def haproxy(cluster: Cluster, fqdn: str, port: int, folder: Path, *, ttl: int, tuned: bool) -> Iterator[None]:
    """It runs in the cluster's network, and has found a pod."""
    text = (_COMMON + (_TUNED if tuned else _PLAIN)).format(
        nameserver=cluster.nameserver, proxy=PROXY, fqdn=fqdn, port=port, ttl=ttl
    )
    configuration = folder / "haproxy.cfg"
    configuration.write_text(text.lstrip())
    with cluster.inside(), (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(["haproxy", "-db", "-f", str(configuration)], stdout=log, stderr=log)
    try:
        with cluster.inside():
            _wait(process, folder / "haproxy.log")
        yield
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], log: Path, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            if httpx.get(f"http://{PROXY}/", trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"HAProxy does not answer: {log.read_text(errors='replace')}")
        time.sleep(0.1)
