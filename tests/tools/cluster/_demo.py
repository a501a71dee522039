"""The tutorial's classic example on a real control plane: `make cluster-demo`."""

# ruff: noqa: T201  it shows what it does

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import dns.resolver

from ._account import ENVIRONMENT, with_account
from ._binary import build
from ._cluster import Cluster
from ._workload import Workload

_MANIFESTS = Path(__file__).parents[3] / "examples" / "manifests"
_REGULAR, _HEADLESS = "regular-svc.moon", "headless-svc.moon"


def demo() -> None:
    """Applies trap.yaml, then right.yaml, and shows both Services by DNS and by the API."""
    build()
    with Cluster.start() as cluster:
        for file, port in (("trap.yaml", 8080), ("right.yaml", 80)):
            print(f"\n=== kubectl apply -f examples/manifests/{file} ===")
            cluster.api.apply(_MANIFESTS / file)
            pods = Workload(cluster, "Deployment", "app", "moon", "headless-svc").wait()
            _wait_for_dns(cluster, port)
            for service in (_REGULAR, _HEADLESS):
                print(f"\nDNS: {service}.svc.{cluster.cluster_domain}. A")
                print("\n".join(f"  {record}" for record in _ask_dns(cluster, service, "A")))
            for name in (
                f"{_REGULAR}:80",
                _HEADLESS,
                f"{_HEADLESS}:80",
                f"k8s:{_HEADLESS}",
                f"k8s:{_REGULAR}",
            ):
                _resolve(cluster, name)
            for number in (8080, 80):
                _connect(cluster, pods[0].ip, number)


def _wait_for_dns(cluster: Cluster, port: int) -> None:
    """CoreDNS keeps its last answer for as long as it said, some seconds."""
    while not any(str(record).split()[2] == str(port) for record in _ask_dns(cluster, _HEADLESS, "SRV")):
        time.sleep(0.2)


def _ask_dns(cluster: Cluster, service: str, kind: str) -> list[str]:
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = [cluster.nameserver]
    with cluster.inside():
        answer = resolver.resolve(f"{service}.svc.{cluster.cluster_domain}.", kind, raise_on_no_answer=False)
        return sorted(map(str, answer))


def _resolve(cluster: Cluster, name: str) -> None:
    print(f"\n$ peerdiscover resolve {name}", flush=True)
    command = [sys.executable, "-m", "peerdiscover", "resolve", name]
    in_pod = with_account(cluster.folder / "account", cluster.ca, cluster.admin_token, "default", command)
    subprocess.run(
        ["ip", "netns", "exec", cluster.name, *in_pod],
        env={**os.environ, **ENVIRONMENT},
        check=False,
        stderr=subprocess.STDOUT,
    )


def _connect(cluster: Cluster, address: str, port: int) -> None:
    with cluster.inside():
        try:
            socket.create_connection((address, port), timeout=2).close()
            print(f"\nA connection to {address}:{port}: accepted")
        except OSError as error:
            print(f"\nA connection to {address}:{port}: {error}")
